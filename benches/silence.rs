//! `cargo bench --bench silence`: for how long a LAN client hears nothing when its line fails, by
//! `probe.silence` and the beat of runs. Prints a table and asserts nothing.
//!
//! Runs in the lab of network namespaces (see tests/lab/mod.rs), so the machine's own network is not touched.

#[path = "../tests/lab/mod.rs"]
mod lab;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::{End, Lab, Meter, Namespace, SERVICE, SERVICE6};

const WANFO: &str = env!("CARGO_BIN_EXE_wanfo");
/// `probe.silence`, in seconds; the second is what it is without being written.
const SILENCES: [u64; 3] = [3, 6, 10];
/// From the start of one run to the start of the next, in seconds; the second is OnUnitActiveSec= of systemd/wanfo.timer,
/// whose AccuracySec= may add a tenth of a second to each.
const BEATS: [u64; 2] = [1, 2];
/// Cuts of each, at random moments, besides the one right after a good run.
const CUTS: u32 = 2;
/// With cron.
const MINUTE: Duration = Duration::from_secs(60);
/// When there is no use in waiting for the backup any longer.
const PATIENCE: Duration = Duration::from_secs(16);

/// Others that do this, by the name of their program, where they are installed.
const OTHERS: [&str; 3] = ["keepalived", "lsm", "foolsm"];

/// The backup is probed once a minute while it waits.
fn config(silence: u64) -> String {
    format!(
        "links:\n  - {{name: fibre, interface: wan1, targets: [198.51.100.11]}}\n  \
         - {{name: lte, interface: wan2, targets: [198.51.100.21]}}\nprobe: {{silence: {silence}s}}\n"
    )
}

fn main() {
    if !lab::entered() {
        return;
    }
    println!("\nFor how long the LAN hears nothing when the primary dies silently");
    println!("{:<40}{:>10}{:>10}{:>12}{:>10}", "", "IPv4 worst", "mean", "IPv6 worst", "mean");
    for silence in SILENCES {
        for beat in BEATS {
            let beat_time = Duration::from_secs(beat);
            let pauses = (0..CUTS).map(|_| beat_time.mul_f64(random()));
            let silences: Vec<_> = std::iter::once(Duration::ZERO)
                .chain(pauses)
                .map(|pause| measure(silence, beat_time, pause, cut))
                .collect();
            let column = |family: usize| {
                let silences: Option<Vec<Duration>> = silences.iter().map(|both| both[family]).collect();
                let worst = silences.as_ref().and_then(|silences| silences.iter().max().copied());
                let mean = silences.map(|silences| silences.iter().sum::<Duration>() / silences.len() as u32);
                format!("{:>10}{:>10}", told(worst), told(mean))
            };
            let what = format!("silence: {silence}s, a run every {beat} s");
            println!("  {what:<38}{}  {}", column(0), column(1));
        }
    }
    let [v4, v6] = measure(6, Duration::from_secs(2), Duration::ZERO, |lab| lab.pull_cable(1)).map(told);
    println!("  {:<38}{v4:>10}{:>10}{v6:>12}", "loses its cable, a run every 2 s", "");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let is_there = |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    match OTHERS.iter().copied().filter(is_there).collect::<Vec<_>>().as_slice() {
        [] => println!("Not measured beside it: none of {} is installed.", OTHERS.join(", ")),
        there => println!("Not measured beside it, though installed: {}.", there.join(", ")),
    }
    one_start_a_minute();
}

/// With examples/cron.yaml. Nobody waits for the minute here: the line fails right before a start of `check`, which is
/// measured; that it fails right after one is reckoned.
fn one_start_a_minute() {
    println!("\nWith cron and examples/cron.yaml, when the primary, right before a start (best),");
    for (what, fail) in
        [("dies silently", cut as fn(&Lab)), ("loses its cable", |lab: &Lab| lab.pull_cable(1))]
    {
        let router = lab::host(Namespace::with_files("router"));
        router.write("/etc/wanfo/wanfo.yaml", include_str!("../examples/cron.yaml"));
        let end = |interface: &str| End { host: router.clone(), interface: interface.to_owned() };
        let lab = Lab::with_ends(vec![end("eth0"), end("eth1")], router.clone(), WANFO);
        lab.open_to_pings();
        let meters = [lab.meter(SERVICE), lab.meter(SERVICE6)];
        check(&lab);
        let failure = Instant::now();
        fail(&lab);
        check(&lab);
        while !meters.iter().all(is_on_the_backup) && failure.elapsed() < PATIENCE {
            sleep(Duration::from_millis(5));
        }
        let silences = silences(&meters, failure);
        println!("  {what:<54}{:>10}{:>10}   measured", told(silences[0]), told(silences[1]));
        let at_the_worst = silences.map(|silence| silence.map(|silence| silence + MINUTE));
        let [v4, v6] = at_the_worst.map(told);
        println!("  {:<54}{v4:>10}{v6:>10}   reckoned", "  and right after one (worst), 60 s more");
    }
}

fn cut(lab: &Lab) {
    lab.cut_silently(1);
}

/// Lets a line fail so long after a good run. Returns the silence in both families; `None`: the backup did not come.
fn measure(silence: u64, beat: Duration, pause: Duration, fail: impl FnOnce(&Lab)) -> [Option<Duration>; 2] {
    let lab = Lab::new(2, WANFO);
    lab.configure(&config(silence));
    let meters = [lab.meter(SERVICE), lab.meter(SERVICE6)];
    // The first run sets up; the second is like all that follow.
    check(&lab);
    let mut start = Instant::now();
    check(&lab);
    sleep(pause.saturating_sub(start.elapsed()));
    let failure = Instant::now();
    fail(&lab);
    while !meters.iter().all(is_on_the_backup) && failure.elapsed() < PATIENCE {
        if start.elapsed() >= beat {
            start = Instant::now();
            check(&lab);
        }
        sleep(Duration::from_millis(5));
    }
    silences(&meters, failure)
}

fn check(lab: &Lab) {
    let run = lab.wanfo(&["check"]);
    assert_eq!(run.code, 0, "a run of wanfo: {}", run.stderr);
}

/// Since the failure, in both families; `None`: the backup did not come.
fn silences(meters: &[Meter; 2], failure: Instant) -> [Option<Duration>; 2] {
    let silence = |meter: &Meter| meter.longest_silence(failure, Instant::now());
    meters.each_ref().map(|meter| is_on_the_backup(meter).then(|| silence(meter)))
}

fn is_on_the_backup(meter: &Meter) -> bool {
    meter.last_answer().is_some_and(|answer| answer.line == 2)
}

/// 0 to 1. The keys of a RandomState are random, and so is what it makes of nothing.
fn random() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

fn told(silence: Option<Duration>) -> String {
    silence.map_or("no end".to_owned(), |silence| format!("{:.2} s", silence.as_secs_f64()))
}
