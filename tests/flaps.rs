//! A primary that flaps, in every pattern of up time and down time, for six simulated hours each.
//!
//! `cargo test --test flaps -- --nocapture` prints the table. Unoptimized code takes every second step; all of them:
//! `cargo test --release --test flaps -- --nocapture`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use judged::{Judged, two_links};
use model_router::Condition;

#[path = "fixtures/judged.rs"]
mod judged;
#[path = "fixtures/model_kernel.rs"]
mod model_kernel;
#[allow(dead_code, reason = "the model can do more than flap")]
#[path = "fixtures/model_router.rs"]
mod model_router;

/// Seconds, of up time as of down time.
const STEPS: [u64; 11] = [1, 2, 4, 7, 15, 30, 60, 120, 300, 600, 1200];
const HOURS: u64 = 6;
const HOUR: Duration = Duration::from_secs(3600);
const SILENCE: Duration = Duration::from_secs(6);
const BEAT: Duration = Duration::from_secs(2);
/// Where nothing changes for a while before and after, runs so far apart find the same.
const SLOW_BEAT: Duration = Duration::from_secs(10);
const STEADY: Duration = Duration::from_secs(20);
const MOST_FAILOVERS: usize = 2;
/// A run may be under way when the line dies.
const JITTER: Duration = Duration::from_millis(250);

struct Flapped {
    /// Failovers in the worst hour after the first.
    worst_hour: usize,
    all: usize,
    /// For how long at most a dead primary was kept, the backup being up.
    dead: Duration,
}

fn flap(up: u64, down: u64) -> Flapped {
    let mut lines = Judged::new(two_links(1, SILENCE));
    let origin = lines.router.elapsed;
    let [up, period] = [up, up + down].map(Duration::from_secs);
    let into =
        |time: Duration| Duration::from_millis(((time - origin).as_millis() % period.as_millis()) as u64);
    let (mut planned, mut dead, mut failovers) = (origin, Duration::ZERO, Vec::new());
    while lines.router.elapsed - origin < HOUR * HOURS as u32 {
        let now = lines.router.elapsed;
        while planned < now + Duration::from_secs(60) {
            let happens = [(planned + up, Condition::Silent), (planned + period, Condition::Good)];
            lines.router.schedule.extend(happens.map(|(at, condition)| (at, "eth0".to_owned(), condition)));
            planned += period;
        }
        let time = into(now);
        let (steady_for, steady_until) = match time < up {
            true => (time, up - time),
            false => (time - up, period - time),
        };
        let beat = if steady_for > STEADY && steady_until > STEADY { SLOW_BEAT } else { BEAT };
        let mut was_on_the_primary = lines.is_on_the_primary();
        lines.check(beat, |lines| {
            let (now, is_on_the_primary) = (lines.router.elapsed, lines.is_on_the_primary());
            if was_on_the_primary {
                dead = dead.max(into(now).saturating_sub(up));
            }
            if was_on_the_primary && !is_on_the_primary {
                failovers.push(now - origin);
            }
            was_on_the_primary = is_on_the_primary;
        });
    }
    let late: Vec<Duration> = failovers.iter().copied().filter(|at| *at >= HOUR).collect();
    let within_an_hour =
        |from: &Duration| late.iter().filter(|at| (*from..*from + HOUR).contains(at)).count();
    Flapped { worst_hour: late.iter().map(within_an_hour).max().unwrap_or(0), all: failovers.len(), dead }
}

#[test]
fn after_an_hour_of_flapping_there_are_few_failovers_and_a_dead_line_is_never_kept() {
    let steps: Vec<u64> = STEPS.into_iter().step_by(if cfg!(debug_assertions) { 2 } else { 1 }).collect();
    let patterns: Vec<(u64, u64)> =
        steps.iter().flat_map(|down| steps.iter().map(|up| (*up, *down))).collect();
    let (next, flapped) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&(up, down)) = patterns.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = flap(up, down);
                    flapped.lock().unwrap().push(((down, up), result));
                }
            });
        }
    });
    let mut flapped = flapped.into_inner().unwrap();
    flapped.sort_by_key(|(pattern, _)| *pattern);
    println!(
        "Failovers in the worst hour after the first / in all {HOURS} hours, by the seconds that the primary is up (across) \
         and down"
    );
    println!("{:>6}{}", "", steps.iter().map(|up| format!("{up:>8}")).collect::<String>());
    for (row, down) in flapped.chunks(steps.len()).zip(&steps) {
        let cells = row.iter().map(|(_, flapped)| format!("{:>4}/{:<3}", flapped.worst_hour, flapped.all));
        println!("{down:>6}{}", cells.collect::<String>());
    }
    let dead = flapped.iter().map(|(_, flapped)| flapped.dead).max().unwrap_or_default();
    println!("A dead primary was kept for {:.2} s at the most.", dead.as_secs_f64());
    let bad: Vec<String> = (flapped.iter())
        .filter(|(_, flapped)| flapped.worst_hour > MOST_FAILOVERS || flapped.dead > SILENCE + BEAT + JITTER)
        .map(|((down, up), flapped)| {
            let (worst, dead) = (flapped.worst_hour, flapped.dead);
            format!("up {up} s, down {down} s: {worst} failovers in an hour, dead for {dead:?}")
        })
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
