//! One fault after the other, and what has grown by the end.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::beats;
use super::package::{attempt, run};
use super::router::{self, CONFIG, Installed, await_service, begin, journal, journal_after, links, property};
use crate::lab::{Lab, SERVICE};
use crate::site::wait_until;

/// As shipped (wanfo.timer).
const BEAT: Duration = Duration::from_secs(2);
/// How long a fault lasts, and the rest after it.
const FAULT: Duration = Duration::from_secs(6);

type Fault = (&'static str, fn(&Lab), fn(&Lab));

const FAULTS: [Fault; 8] = [
    ("line 1 dies", |lab| lab.cut_silently(1), |lab| lab.repair(1)),
    ("a cable", |lab| lab.pull_cable(2), |lab| lab.plug_in(2)),
    (
        "both lines die",
        |lab| (1..=2).for_each(|line| lab.cut_silently(line)),
        |lab| (1..=2).for_each(|line| lab.repair(line)),
    ),
    ("routes that somebody flushed", |_| drop(attempt("ip route flush table all proto 119")), |_| {}),
    ("the state lost", |_| drop(fs::remove_file("/run/wanfo/state.json")), |_| {}),
    (
        "a run killed",
        |_| drop(attempt("systemctl kill --signal=KILL wanfo.service")),
        |_| drop(attempt("systemctl reset-failed wanfo.service")),
    ),
    ("a broken config", |_| append("wrong"), |_| append("")),
    ("a modem", |lab| lab.pull_modem(1), |lab| lab.plug_in_modem(1)),
];

/// The last line of the config is this word, with which it cannot be read.
fn append(word: &str) {
    let text = fs::read_to_string(CONFIG).expect("the config");
    let good = text.lines().filter(|line| !line.is_empty() && *line != "wrong");
    let lines: Vec<&str> = good.chain([word]).collect();
    fs::write(CONFIG, lines.join("\n")).expect("the config");
}

/// What must not grow.
#[derive(Debug)]
struct Held {
    /// Of process 1.
    descriptors: usize,
    processes: usize,
    /// Under the program's two folders.
    files: usize,
    kilobytes: u64,
}

impl Held {
    fn now() -> Held {
        let entries = |folder: &str| fs::read_dir(folder).expect("a folder").count();
        let used = run("du --summarize --total --block-size=1K /run/wanfo /var/lib/wanfo");
        let total = used.lines().last().and_then(|line| line.split_whitespace().next()).expect("a total");
        Held {
            descriptors: entries("/proc/1/fd"),
            processes: run("find /proc -maxdepth 1 -name [1-9]*").lines().count(),
            files: run("find /run/wanfo /var/lib/wanfo -type f").lines().count(),
            kilobytes: total.parse().expect("a number"),
        }
    }
}

pub fn a_fault_every_few_seconds_leaves_nothing_that_grows() {
    let lab = router::lab();
    let _installed = Installed::with(&links(["", ""]));
    begin();
    let meter = lab.meter(SERVICE);
    await_service(&meter, 1);
    let (before, said) = (Held::now(), journal().len());
    let (start, whole) = (Instant::now(), BEAT * beats::number());
    let mut faults = 0;
    while start.elapsed() < whole {
        let (what, begin, end) = FAULTS[faults % FAULTS.len()];
        begin(&lab);
        sleep(FAULT);
        end(&lab);
        sleep(FAULT);
        assert!(attempt("systemctl is-active wanfo.timer").0, "after {what}");
        faults += 1;
    }
    // After so many outages nothing goes back by itself for half an hour.
    wait_until("the way back", || attempt("wanfo failback --now").0);
    await_service(&meter, 1);
    let (after, said) = (Held::now(), journal_after(said).len());
    println!(
        "  {faults} faults in {:.0} s, and {said} lines in the journal; before {before:?}, after {after:?}",
        start.elapsed().as_secs_f64()
    );
    assert!(after.descriptors <= before.descriptors + 8, "{before:?} {after:?}");
    assert!(after.processes <= before.processes + 8, "{before:?} {after:?}");
    assert!(
        after.files <= before.files + 4 && after.kilobytes < before.kilobytes + 4096,
        "{before:?} {after:?}"
    );
    assert_eq!(property("wanfo.service", "Result"), "success");
}
