//! The law of silence: by the word, and on a primary that flaps in every pattern of up time and down time.
//!
//! `cargo test --test law flapping -- --nocapture` prints the table of patterns. Unoptimized code takes every second step;
//! `cargo test --release --test law flapping -- --nocapture` takes all of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use judged::{Judged, two_links};
use model_router::Condition;
use wanfo::core::health::{Health, Law, Verdict, last_sign_of_life};
use wanfo::core::time::BootTime;

#[path = "fixtures/judged.rs"]
mod judged;
#[allow(dead_code, reason = "nothing is forwarded in here")]
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

const LAW: Law = Law { silence: SILENCE, stable: Duration::from_secs(60) };
const ASK_AGAIN: u64 = 250;

fn at(ms: u64) -> BootTime {
    BootTime(1_000_000 + ms)
}

/// Answered at 0.
fn heard() -> Health {
    let mut health = Health::UNKNOWN;
    health.ask(LAW, at(0));
    health.hear(LAW, at(0));
    health
}

/// Answered at 0, and asked three times since without an answer.
fn asked_in_vain() -> Health {
    let mut health = heard();
    for ms in [2_000, 2_250, 2_500] {
        health.ask(LAW, at(ms));
    }
    health
}

/// Asked from then on without an answer: when it is down.
fn goes_down(mut health: Health, from: u64) -> u64 {
    (0..)
        .map(|count| from + count * ASK_AGAIN)
        .find(|now| {
            health.judge(LAW, at(*now));
            health.ask(LAW, at(*now));
            health.verdict == Verdict::Down
        })
        .expect("it goes down at last")
}

#[test]
fn the_clock_runs_from_the_last_sign_of_life() {
    assert_eq!(goes_down(heard(), 2_000), 6_000);
    assert_eq!(goes_down(heard(), 6_000), 6_000 + 3 * ASK_AGAIN, "three requests have to be unanswered");
}

#[test]
fn silence_in_which_nobody_asked_is_no_silence() {
    for (who, from) in
        [("a late run", 6_001), ("a backup that waited", 60_000), ("a machine that slept", 30_000_000)]
    {
        assert_eq!(goes_down(heard(), from), from + 6_000, "{who}");
    }
}

#[test]
fn a_machine_that_sleeps_while_it_asks_starts_anew() {
    let mut health = asked_in_vain();
    assert_eq!(goes_down(health, 8_000_000), 8_006_000, "before the next run");
    // Stopped for less than the silence in the midst of a run: its answers may wait to be read.
    health.ask_anew();
    health.judge(LAW, at(7_900));
    assert_eq!(health.verdict, Verdict::Up);
    assert_eq!(goes_down(health, 7_900), 7_900 + 3 * ASK_AGAIN);
}

#[test]
fn a_run_that_comes_late_after_one_that_was_killed_starts_anew() {
    let health = asked_in_vain();
    assert_eq!(goes_down(health, 8_400), 8_400, "five seconds later it goes on");
    assert_eq!(goes_down(health, 20_000), 26_000, "in the meantime nobody asked");
}

#[test]
fn who_is_up_has_nothing_to_wait_for() {
    let mut health = heard();
    health.fall(at(0));
    health.ask(LAW, at(2_000));
    health.hear(LAW, at(2_012));
    health.rise(at(3_000));
    assert_eq!(health.stable_in(LAW, at(4_000)), None);
}

/// Somebody, or a broken disk, has written them into the state file.
#[test]
fn times_that_lie_ahead_mean_nothing() {
    let mut health = heard();
    health.ask(LAW, at(10_000));
    health.hear(LAW, at(10_012));
    assert_eq!(health.as_of(at(10_012)).heard_at, Some(at(10_012)));
    let before = health.as_of(at(10_011));
    assert_eq!((before.heard_at, before.asked_at), (None, Some(at(10_000))));
}

#[test]
fn silence_that_is_forgotten_counts_no_more() {
    let mut health = asked_in_vain();
    health.forget_silence();
    assert_eq!((health.silent_for(LAW, at(7_000)), health.unanswered), (Duration::ZERO, 0));
}

#[test]
fn where_two_must_answer_the_silence_begins_when_the_first_of_them_was_heard_last() {
    let mut health = heard();
    health.ask(LAW, at(2_000));
    health.ask(LAW, at(4_000));
    health.hear(LAW, at(3_000));
    assert_eq!(health.silent_for(LAW, at(5_000)), Duration::from_secs(2));
}

#[test]
fn who_falls_silent_again_is_trusted_in_no_time_to_come() {
    let mut health = heard();
    health.fall(at(0));
    health.ask(LAW, at(2_000));
    health.hear(LAW, at(2_012));
    assert!(health.stable_in(LAW, at(4_000)).is_some());
    health.ask(LAW, at(4_000));
    health.judge(LAW, at(6_000));
    assert!(health.stable_in(LAW, at(6_000)).is_some(), "a third of the silence is no gap");
    health.judge(LAW, at(6_001));
    assert_eq!(health.stable_in(LAW, at(6_001)), None);
}

#[test]
fn the_sign_of_life_is_the_quorum_th_latest_answer() {
    let answers = [Some(at(10)), None, Some(at(30)), Some(at(20))];
    let signs = [1, 2, 3, 4].map(|quorum| last_sign_of_life(answers, quorum));
    assert_eq!(signs, [Some(at(30)), Some(at(20)), Some(at(10)), None]);
    // One of two that must both answer stays away: what the other says proves nothing new.
    let mut health = heard();
    health.ask(LAW, at(2_000));
    health.hear(LAW, at(0));
    assert_eq!(health.silent_for(LAW, at(4_000)), Duration::from_secs(4));
}

/// Down, and answering every two seconds since 0, but for one request at 20 s; the next sign of life comes at `then`.
fn trusted_after_a_gap(then: u64) -> u64 {
    let mut health = heard();
    health.fall(at(0));
    let asked = (1..10).chain(11..).map(|round| (round * 2_000, round * 2_000 + 12));
    let late = (20_000, then);
    let rounds = asked.clone().take(9).chain([late]).chain(asked.skip(9));
    for (ask, answer) in rounds {
        if ask >= health.heard_at.map_or(0, |heard| heard.0 - 1_000_000) {
            health.ask(LAW, at(ask));
        }
        health.hear(LAW, at(answer));
        health.judge(LAW, at(answer));
        if health.verdict == Verdict::Up {
            return answer;
        }
    }
    unreachable!("the rounds have no end")
}

#[test]
fn one_lost_packet_is_no_gap() {
    // The first answer comes at 2.012 s.
    assert_eq!(trusted_after_a_gap(20_262), 64_012 - 2_000);
    assert_eq!(trusted_after_a_gap(22_000), 64_012 - 2_000, "a third of the silence is none either");
    assert_eq!(trusted_after_a_gap(22_001), 84_012 - 2_000, "longer than that, it begins again");
}

#[test]
fn who_goes_down_for_the_third_time_within_an_hour_has_to_answer_for_half_an_hour() {
    const MINUTE: u64 = 60_000;
    let needed = |falls: &[u64]| {
        let mut health = heard();
        for fall in falls {
            health.rise(at(fall - 11 * MINUTE));
            health.judge(LAW, at(*fall));
            health.fall(at(*fall));
        }
        health.hear(LAW, at(falls[falls.len() - 1]));
        health.stable_in(LAW, at(falls[falls.len() - 1])).unwrap().as_secs()
    };
    assert_eq!(needed(&[20 * MINUTE, 40 * MINUTE]), 60);
    assert_eq!(needed(&[20 * MINUTE, 40 * MINUTE, 79 * MINUTE]), 1800);
    assert_eq!(needed(&[20 * MINUTE, 40 * MINUTE, 80 * MINUTE]), 60, "the first of them is an hour ago");
}

#[test]
fn a_tenth_of_all_packets_lost_hardly_delays_the_trust() {
    const TRIES: usize = 100;
    let fresh = Judged::new(two_links(1, SILENCE));
    let mut lines = fresh.clone();
    let within_two_minutes = (0..TRIES).filter(|_| {
        // The dice roll on from one try to the next.
        (lines.state, lines.router.now) = (fresh.state.clone(), fresh.router.now);
        for (condition, time) in [(Condition::Silent, 20), (Condition::Loss(10), 120)] {
            lines.router.set("eth0", condition);
            let start = lines.router.elapsed;
            while lines.router.elapsed < start + Duration::from_secs(time) {
                lines.check(BEAT, |_| ());
            }
            if time == 20 {
                assert_eq!(lines.state.links[0].health.verdict, Verdict::Down);
            }
        }
        lines.state.links[0].health.verdict == Verdict::Up
    });
    let count = within_two_minutes.count();
    println!("At 10 % loss `stable: 60s` was over within two minutes in {count} of {TRIES} tries.");
    assert!(count * 20 >= TRIES * 19, "{count} of {TRIES}");
}
