//! Two lines go up and down at random, and two tiny models look on: the law of silence as docs/config.md has it, and AstLinux's WAN
//! Failover. wanfo judges the primary as the law does, and where it does not use the same line as AstLinux just then, it is for
//! a reason that the table in docs/moving.md names.

use std::collections::BTreeMap;
use std::time::Duration;

use judged::Judged;
use model_router::{Condition, Dice};
use wanfo::core::health::Verdict;

#[path = "fixtures/judged.rs"]
mod judged;
#[allow(dead_code, reason = "nothing is forwarded in here")]
#[path = "fixtures/model_kernel.rs"]
mod model_kernel;
#[allow(dead_code, reason = "the model can do more than go up and down")]
#[path = "fixtures/model_router.rs"]
mod model_router;

const SECOND: Duration = Duration::from_secs(1);
const HOURS: u32 = 3;
const WEATHERS: u64 = 40;

/// As `wanfo import` prints it of settings that set nothing but targets, with a target for the secondary as it advises.
const IMPORTED: &str = "
links:
  - {name: primary, interface: eth0, targets: [198.51.100.11, 198.51.100.12], delay: 60s}
  - {name: secondary, interface: eth1, targets: [198.51.100.21], delay: 600s}
probe: {silence: 7s, max_latency: 1s}
";
const SILENCE: Duration = Duration::from_secs(7);
const STABLE: Duration = Duration::from_secs(60);
/// A beat, the reply to the next probe of a line that waits, and what a decision takes.
const SOON: Duration = Duration::from_secs(10);
const DELAYS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(600)];

/// When a line is up: it changes at each of these times, and is up before the first.
struct Line(Vec<Duration>);

impl Line {
    fn random(dice: &mut Dice, up: [u64; 5], down: [u64; 5]) -> Line {
        let mut at = Duration::ZERO;
        let lengths = (0..).map(|number| if number % 2 == 0 { up } else { down });
        Line(
            lengths
                .map(|lengths| {
                    let length = lengths[(dice.roll() % 5) as usize];
                    at += Duration::from_secs(length) + Duration::from_millis(dice.roll() % 1000);
                    at
                })
                .take_while(|at| *at < 3600 * HOURS * SECOND)
                .collect(),
        )
    }

    /// For how long it has answered with no gap but such short ones.
    fn answers_since(&self, now: Duration, gap: Duration) -> Duration {
        let gaps = self.0.chunks_exact(2).rev().map(|silence| (silence[0], silence[1]));
        let last = gaps.filter(|(_, end)| *end <= now).find(|(from, end)| *end - *from > gap);
        now - last.map_or(Duration::ZERO, |(_, end)| end)
    }

    /// Whether it is up, and for how long it has been as it is.
    fn at(&self, time: Duration) -> (bool, Duration) {
        let changes = self.0.partition_point(|change| *change <= time);
        (changes % 2 == 0, time - if changes == 0 { Duration::ZERO } else { self.0[changes - 1] })
    }
}

/// The primary by the law of silence.
#[derive(Debug, Default)]
struct Law {
    is_down: bool,
    changed_at: Duration,
    /// When it went down, the last first.
    outages: Vec<Duration>,
    relapses: u32,
    is_fickle: bool,
}

impl Law {
    /// A silence that is longer is a gap: less than a beat is missing of what is down.
    const GAP: Duration = Duration::from_millis(2300);
    const MINUTE: Duration = Duration::from_secs(60);

    fn go_on(&mut self, now: Duration, line: &Line) {
        let (answers, for_so_long) = line.at(now);
        let as_it_is = now - self.changed_at;
        if !self.is_down {
            if as_it_is >= 60 * Self::MINUTE {
                (self.relapses, self.is_fickle) = (0, false);
            }
            if !answers && for_so_long >= SILENCE {
                let is_relapse = !self.outages.is_empty() && as_it_is < 10 * Self::MINUTE;
                self.relapses += u32::from(is_relapse);
                if !is_relapse {
                    self.is_fickle =
                        self.outages.get(1).is_some_and(|third| now - *third < 60 * Self::MINUTE);
                }
                self.outages.insert(0, now);
                (self.is_down, self.changed_at) = (true, now);
            }
        } else if answers && line.answers_since(now, Self::GAP) >= self.stable() {
            self.rise(now);
        }
    }

    fn stable(&self) -> Duration {
        let least = if self.is_fickle { 30 * Self::MINUTE } else { STABLE };
        (STABLE * 2u32.pow(self.relapses.min(6))).max(least).min(60 * Self::MINUTE)
    }

    fn rise(&mut self, now: Duration) {
        (self.is_down, self.changed_at) = (false, now);
    }
}

/// What AstLinux's wan-failover does with its defaults, by the script's own rules: it asks the primary alone, counts rounds, and
/// sleeps after a switch.
struct AstLinux {
    on_the_secondary: bool,
    /// Rounds that failed, less those that succeeded.
    failed: u32,
    /// It does nothing before.
    wakes: Duration,
}

impl AstLinux {
    const THRESHOLD: u32 = 3;
    const INTERVAL: Duration = Duration::from_secs(20);
    const SOON: Duration = Duration::from_secs(2);
    /// After a switch it waits for so long, besides the delay of the line that it is on.
    const SETTLES: Duration = Duration::from_secs(10);
    /// When fping asks in a round, and gives up (fping(8): `-t 1000`, three retries, each wait 1.5 times as long).
    const ASKS: [Duration; 4] = [
        Duration::ZERO,
        Duration::from_millis(1000),
        Duration::from_millis(2500),
        Duration::from_millis(4750),
    ];
    const GIVES_UP: Duration = Duration::from_millis(8125);

    fn go_on(&mut self, now: Duration, primary: &Line) {
        while self.wakes <= now {
            let asks = Self::ASKS.into_iter().find(|after| primary.at(self.wakes + *after).0);
            self.failed = match asks {
                Some(_) => self.failed.saturating_sub(1),
                None => (self.failed + 1).min(Self::THRESHOLD),
            };
            let interval = match asks.is_some() == self.on_the_secondary {
                true => Self::SOON,
                false => Self::INTERVAL,
            };
            let switches =
                if self.on_the_secondary { self.failed == 0 } else { self.failed == Self::THRESHOLD };
            self.wakes += asks.unwrap_or(Self::GIVES_UP);
            if switches {
                self.on_the_secondary = !self.on_the_secondary;
                self.wakes += Self::SETTLES + DELAYS[usize::from(self.on_the_secondary)];
            }
            self.wakes += interval;
        }
    }
}

/// A switch: when, and whether the secondary answered then.
#[derive(Clone, Copy, Debug, Default)]
struct Move {
    at: Duration,
    secondary_is_up: bool,
}

/// Why the two use different lines: a row of the table. None is none that anybody knows.
fn difference(
    now: Duration,
    wanfo_is_on_the_secondary: bool,
    [wanfo, astlinux]: [Move; 2],
    [primary, secondary]: [(bool, Duration); 2],
    law: &Law,
) -> Option<&'static str> {
    let since = |time: Duration| now.saturating_sub(time);
    if wanfo_is_on_the_secondary {
        return match primary {
            (false, dead) if dead >= SILENCE => Some("A dead primary is left sooner"),
            _ if law.is_down || since(law.changed_at) <= SOON || since(wanfo.at) <= DELAYS[1] + SOON => {
                Some("The primary has to prove itself")
            }
            _ => None,
        };
    }
    let was_on_the_secondary = wanfo.at + Duration::from_secs(60) > astlinux.at;
    match (primary, secondary) {
        _ if !astlinux.secondary_is_up && !was_on_the_secondary => Some("A dead backup is not moved to"),
        ((false, _), (true, good)) if good <= SOON => Some("A dead backup is not moved to"),
        ((false, _), (false, _)) => Some("A dead backup is not moved to"),
        _ if was_on_the_secondary && !wanfo.secondary_is_up => Some("A dead backup is left"),
        // That it was stable before is for other tests to say.
        ((up, for_so_long), _) if was_on_the_secondary && (up || for_so_long <= SILENCE + SOON) => {
            Some("No sleep after a switch")
        }
        _ => None,
    }
}

#[test]
fn where_another_line_is_used_than_by_astlinux_the_table_says_why() {
    let config = wanfo::core::config::read::parse(IMPORTED).unwrap();
    let mut told: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut seconds, mut apart) = (0, 0);
    for weather in 1..=WEATHERS {
        let mut dice = Dice(Dice::default().0 ^ weather << 20);
        let primary = Line::random(&mut dice, [5, 33, 97, 700, 2000], [1, 8, 21, 130, 950]);
        let secondary = Line::random(&mut dice, [60, 600, 1200, 2400, 3600], [2, 10, 60, 300, 900]);
        let mut wanfo = Judged::new(config.clone());
        let begin = wanfo.router.elapsed;
        for (interface, line) in [("eth0", &primary), ("eth1", &secondary)] {
            for (number, at) in line.0.iter().enumerate() {
                let condition = if number % 2 == 0 { Condition::Silent } else { Condition::Good };
                wanfo.router.schedule.push((begin + *at, interface.to_owned(), condition));
            }
        }
        wanfo.router.schedule.sort_by_key(|(at, ..)| *at);
        let mut astlinux = AstLinux { on_the_secondary: false, failed: 0, wakes: Duration::ZERO };
        let mut second = Duration::ZERO;
        let (mut were, mut moves) = ([false; 2], [Move::default(); 2]);
        let (mut law, mut wrong_since) = (Law::default(), Duration::ZERO);
        while second < 3600 * HOURS * SECOND {
            wanfo.check(2 * SECOND, |_| {});
            // A run that stays takes more than a second.
            while second < wanfo.router.elapsed - begin {
                second += SECOND;
                astlinux.go_on(second, &primary);
                seconds += 1;
                let lines = [&primary, &secondary].map(|line| line.at(second));
                let are = [!wanfo.is_on_the_primary(), astlinux.on_the_secondary];
                for (program, last) in moves.iter_mut().enumerate() {
                    if are[program] != were[program] {
                        *last = Move { at: second, secondary_is_up: lines[1].0 };
                    }
                }
                were = are;
                law.go_on(second, &primary);
                let verdict = wanfo.state.links[0].health.verdict;
                // Where no line is up, the first that answers is, by the decision.
                if law.is_down && verdict == Verdict::Up && !(lines[1].0 && lines[1].1 > SOON) {
                    law.rise(second);
                }
                if (verdict == Verdict::Down) != law.is_down {
                    wrong_since += SECOND;
                    assert!(
                        wrong_since < SOON,
                        "weather {weather}, {second:?}: the primary is {verdict:?}, by the law: {law:?}"
                    );
                } else {
                    wrong_since = Duration::ZERO;
                }
                if are[0] != are[1] {
                    apart += 1;
                    let why = difference(second, are[0], moves, lines, &law).unwrap_or_else(|| {
                        panic!("weather {weather}, {second:?}: on the secondary {are:?} (wanfo, AstLinux), since {moves:?}; lines {lines:?}")
                    });
                    *told.entry(why).or_default() += 1;
                }
            }
        }
    }
    println!("{seconds} s of {WEATHERS} weathers; in {apart} of them AstLinux uses another line:");
    told.iter().for_each(|(why, seconds)| println!("{seconds:>7} s  {why}"));
    let page = include_str!("../docs/moving.md");
    let mut rows: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| **")?.split("**").next()).collect();
    rows.sort_unstable();
    assert_eq!(told.into_keys().collect::<Vec<_>>(), rows, "the reasons that came up, and those of the page");
}
