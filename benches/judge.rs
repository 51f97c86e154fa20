//! `cargo bench --bench judge`: how often a line is wrongly found down that only loses packets now and then, by the rule of
//! before 0.2 and by the law of silence. Simulated over the real core; prints a table and asserts nothing.

#[path = "../tests/fixtures/judged.rs"]
mod judged;
#[allow(dead_code, reason = "nothing is forwarded in here")]
#[path = "../tests/fixtures/model_kernel.rs"]
mod model_kernel;
#[allow(dead_code, reason = "the model can do more than lose packets")]
#[path = "../tests/fixtures/model_router.rs"]
mod model_router;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use judged::{Judged, two_links};
use model_router::{Condition, Dice};

const SILENCES: [u64; 3] = [3, 6, 10];
const BEATS: [u64; 3] = [1, 2, 60];
const DAY: f64 = 86_400.0;
/// Of each cell, by the law. The old rule costs next to nothing.
const RUNS: u32 = 50_000;
const OLD_ROUNDS: u32 = 10_000_000;
/// One every ten minutes.
const BURSTS_A_DAY: u32 = 144;
const BURSTS: u32 = 10 * BURSTS_A_DAY;

#[derive(Clone, Copy)]
enum Weather {
    /// Percent, each request by itself, and so many targets.
    Loss(u32, usize),
    /// Nothing comes back for so many seconds.
    Burst(u64),
}

/// The rule of before the law: a failed round adds one, a good one takes one away, and at three the line is down.
#[derive(Default)]
struct OldRule(u32);

impl OldRule {
    fn is_down_after(&mut self, good_round: bool) -> bool {
        self.0 = if good_round { self.0.saturating_sub(1) } else { self.0 + 1 };
        self.0 == 3
    }
}

/// 0 to 1.
fn share(dice: &mut Dice) -> f64 {
    dice.roll() as f64 / u64::MAX as f64
}

/// False failovers a day: one request a target and round, a round a beat.
fn by_the_old_rule(weather: Weather, beat: u64) -> f64 {
    let (mut dice, mut wrong) = (Dice::default(), 0);
    match weather {
        Weather::Loss(percent, targets) => {
            let mut rule = OldRule::default();
            let lost = (f64::from(percent) / 100.0).powi(targets as i32);
            for _ in 0..OLD_ROUNDS {
                if rule.is_down_after(share(&mut dice) >= lost) {
                    (rule, wrong) = (OldRule::default(), wrong + 1);
                }
            }
            f64::from(wrong) / (f64::from(OLD_ROUNDS) * beat as f64 / DAY)
        }
        Weather::Burst(seconds) => {
            for _ in 0..BURSTS {
                let (mut rule, begins) = (OldRule::default(), share(&mut dice) * beat as f64);
                let rounds = (1..).map(|round| (round * beat) as f64);
                let in_the_burst = rounds.skip_while(|at| *at < begins);
                let mut failed = in_the_burst.take_while(|at| *at < begins + seconds as f64);
                wrong += u32::from(failed.any(|_| rule.is_down_after(false)));
            }
            f64::from(wrong) * f64::from(BURSTS_A_DAY) / f64::from(BURSTS)
        }
    }
}

/// The same by the real core. A wrong verdict is counted and forgotten at once, lest the next ones be missed while the
/// backup carries the traffic.
fn by_the_law(weather: Weather, silence: u64, beat: u64) -> f64 {
    let targets = if let Weather::Loss(_, targets) = weather { targets } else { 1 };
    let fresh = Judged::new(two_links(targets, Duration::from_secs(silence)));
    let beat = Duration::from_secs(beat);
    let (mut lines, mut wrong) = (fresh.clone(), 0);
    let mut forget_failover = |lines: &mut Judged| {
        if !lines.is_on_the_primary() {
            wrong += 1;
            // The dice roll on, and the clock stands where it was.
            lines.state = fresh.state.clone();
            lines.router.now = fresh.router.now.plus(beat);
        }
    };
    match weather {
        Weather::Loss(percent, _) => {
            lines.router.set("eth0", Condition::Loss(percent));
            for _ in 0..RUNS {
                lines.check(beat, |_| ());
                forget_failover(&mut lines);
            }
            f64::from(wrong) / (f64::from(RUNS) * beat.as_secs_f64() / DAY)
        }
        Weather::Burst(seconds) => {
            let mut dice = Dice::default();
            for _ in 0..BURSTS {
                let begins = lines.router.elapsed + beat.mul_f64(share(&mut dice));
                let ends = begins + Duration::from_secs(seconds);
                let happens = [(begins, Condition::Silent), (ends, Condition::Good)];
                lines.router.schedule = happens.map(|(at, line)| (at, "eth0".to_owned(), line)).to_vec();
                while lines.router.elapsed < ends + beat {
                    lines.check(beat, |_| ());
                }
                forget_failover(&mut lines);
            }
            f64::from(wrong) * f64::from(BURSTS_A_DAY) / f64::from(BURSTS)
        }
    }
}

fn main() {
    let start = Instant::now();
    let losses = [1, 5, 10, 20, 30]
        .into_iter()
        .flat_map(|percent| [1, 2].map(|targets| Weather::Loss(percent, targets)));
    let weathers: Vec<Weather> = losses.chain((1..=6).map(Weather::Burst)).collect();
    type Cell = Box<dyn Fn() -> f64 + Send + Sync>;
    let cells = weathers.iter().flat_map(|&weather| {
        BEATS.into_iter().flat_map(move |beat| {
            let old: Cell = Box::new(move || by_the_old_rule(weather, beat));
            let law = move |silence| Box::new(move || by_the_law(weather, silence, beat)) as Cell;
            std::iter::once(old).chain(SILENCES.map(law))
        })
    });
    let cells: Vec<(Cell, OnceLock<f64>)> = cells.map(|cell| (cell, OnceLock::new())).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((cell, result)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    result.get_or_init(cell);
                }
            });
        }
    });
    println!(
        "\nFalse failovers a day: by the old rule (three net failed rounds), and by `silence` 3s, 6s and 10s"
    );
    let beats = BEATS.map(|beat| format!("{:>34}", format!("a run every {beat} s")));
    println!("{:<22}{}", "", beats.concat());
    println!("{:<22}{}", "", ["       old      3s      6s     10s"; 3].concat());
    for (weather, row) in weathers.iter().zip(cells.chunks(BEATS.len() * (1 + SILENCES.len()))) {
        let what = match weather {
            Weather::Loss(percent, 1) => format!("{percent} % loss, 1 target"),
            Weather::Loss(percent, targets) => format!("{percent} % loss, {targets} targets"),
            Weather::Burst(seconds) => format!("{BURSTS_A_DAY} gaps of {seconds} s"),
        };
        let told = row.iter().enumerate().map(|(column, (_, result))| {
            let width = if column % (1 + SILENCES.len()) == 0 { 10 } else { 8 };
            match *result.get().expect("every cell was reckoned") {
                0.0 => format!("{:>width$}", 0),
                rate if rate < 0.05 => format!("{:>width$}", "<0.1"),
                rate => format!("{:>width$}", format!("{rate:.*}", usize::from(rate < 100.0))),
            }
        });
        println!("{what:<22}{}", told.collect::<String>());
    }
    let days = |runs: u32| BEATS.map(|beat| format!("{:.1}", f64::from(runs) * beat as f64 / DAY)).join(", ");
    println!(
        "0 is none in {} days of loss by the law, in {} days by the old rule,",
        days(RUNS),
        days(OLD_ROUNDS)
    );
    println!("and in {BURSTS} gaps. With a run every 60 s the old rule is told without `recheck`.");
    println!("Simulated in {:.0} s.", start.elapsed().as_secs_f64());
}
