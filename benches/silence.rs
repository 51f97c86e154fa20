//! `cargo bench --bench silence`: for how long a LAN client hears nothing when its line fails, with the shipped beat
//! and settings. Prints a table and asserts nothing.
//!
//! Runs in the lab of network namespaces (see tests/lab/mod.rs), so the machine's own network is not touched.

#[path = "../tests/lab/mod.rs"]
mod lab;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::{End, Lab, Meter, Namespace, SERVICE, SERVICE6};

const WANFO: &str = env!("CARGO_BIN_EXE_wanfo");
/// From the start of one run to the start of the next: OnUnitActiveSec= of systemd/wanfo.timer, whose AccuracySec= may
/// add a tenth of a second to each.
const BEAT: Duration = Duration::from_secs(2);
/// The same with cron.
const MINUTE: Duration = Duration::from_secs(60);
/// What README.md says of a silent line, under "How fast".
const CLAIM: Duration = Duration::from_secs(8);
/// When there is no use in waiting for the backup any longer.
const PATIENCE: Duration = Duration::from_secs(12);

/// `probe` is what it is without being written; so the backup is probed once a minute while it waits.
const CONFIG: &str = "
links:
  - {name: fibre, interface: wan1, targets: [198.51.100.11]}
  - {name: lte, interface: wan2, targets: [198.51.100.21]}
probe: {timeout: 1s, threshold: 3}
";

fn main() {
    if !lab::entered() {
        return;
    }
    println!(
        "\nA run every 2 s, timeout 1s, threshold 3: for how long the LAN hears nothing when the primary"
    );
    println!("{:<56}{:>10}{:>10}", "", "IPv4", "IPv6");
    let mut silences = vec![measure("dies silently, right after a good round (worst)", Duration::ZERO, cut)];
    for _ in 0..3 {
        let pause = BEAT.mul_f64(random());
        let what = format!("dies silently, {:.2} s after a good round (random)", pause.as_secs_f64());
        silences.push(measure(&what, pause, cut));
    }
    measure("loses its cable, right after a good round (worst)", Duration::ZERO, |lab| lab.pull_cable(1));
    match silences.into_iter().collect::<Option<Vec<_>>>() {
        Some(silences) => println!(
            "A silent line: {:.2} s at the worst. The README claims at most {} s.",
            silences.into_iter().max().unwrap_or_default().as_secs_f64(),
            CLAIM.as_secs()
        ),
        None => println!("The README claims at most {} s; not every failover came.", CLAIM.as_secs()),
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

/// Lets a line fail so long after a good run, and prints a row. Returns the longer of the silences in both families;
/// `None`: the backup did not come.
fn measure(what: &str, pause: Duration, fail: impl FnOnce(&Lab)) -> Option<Duration> {
    let lab = Lab::new(2, WANFO);
    lab.configure(CONFIG);
    let meters = [lab.meter(SERVICE), lab.meter(SERVICE6)];
    // The first run sets up; the second is like all that follow.
    check(&lab);
    let mut start = Instant::now();
    check(&lab);
    sleep(pause);
    let failure = Instant::now();
    fail(&lab);
    while !meters.iter().all(is_on_the_backup) && failure.elapsed() < PATIENCE {
        if start.elapsed() >= BEAT {
            start = Instant::now();
            check(&lab);
        }
        sleep(Duration::from_millis(5));
    }
    let [silence, silence6] = silences(&meters, failure);
    println!("  {what:<54}{:>10}{:>10}", told(silence), told(silence6));
    Some(silence?.max(silence6?))
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
