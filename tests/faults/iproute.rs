use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::*;
use crate::lab::Lab;

/// Where wanfo looks for `ip`.
const PLACES: [&str; 4] = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"];

/// Programs to be put in the place of `ip`. The lab's own directory is /run/here to them, the true `ip` /run/ip/true.
const STAND_INS: [(&str, &str); 10] = [
    ("fails", "echo 'RTNETLINK answers: Resource temporarily unavailable' >&2; exit 2"),
    ("fails-silently", "exit 3"),
    ("hangs", "sleep 1000 & echo $! >>/run/here/children; sleep 1000"),
    ("talks-without-end", "exec cat /dev/zero >&2"),
    ("prints-rubbish", "head -c 10000000 /dev/urandom; head -c 10000000 /dev/urandom >&2; exit 1"),
    ("does-nothing", "exit 0"),
    (
        "fails-every-other-time",
        "if rm /run/here/odd 2>/dev/null; then exec /run/ip/true \"$@\"; fi
         touch /run/here/odd; echo 'RTNETLINK answers: No buffer space available' >&2; exit 2",
    ),
    ("is-slow", "sleep 0.05; exec /run/ip/true \"$@\""),
    // Its parent is wanfo. The number of commands to let pass stands in the file.
    (
        "kills-wanfo",
        "read left </run/here/left; echo $((left - 1)) >/run/here/left
         [ $left -ne 0 ] || { kill -9 $PPID; exit; }
         exec /run/ip/true \"$@\"",
    ),
    ("loses-wan2", "/run/ip/true link delete wan2 2>/dev/null; exec /run/ip/true \"$@\""),
];

/// Writes the programs, while nobody can be starting one.
pub fn put_stand_ins_in_place() {
    for directory in ["/run/ip", "/run/here"] {
        fs::create_dir(directory).expect("the lab's own /run takes a directory");
    }
    fs::copy(the_ip(), "/run/ip/true").expect("`ip` can be copied");
    for (name, script) in STAND_INS {
        let path = stand_in(name);
        write(&path, format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("the script is ours");
    }
}

pub fn stand_in(name: &str) -> PathBuf {
    Path::new("/run/ip").join(name)
}

/// The file behind the first place that has one.
pub fn the_ip() -> PathBuf {
    PLACES.iter().find_map(|place| fs::canonicalize(place).ok()).expect("the lab needs `ip`, so it is there")
}

/// `wanfo` on a machine whose `ip` is one of the stand-ins.
pub fn with_ip(lab: &Lab, name: &str, arguments: &[&str]) -> Command {
    let here = lab.path(".");
    lab.wanfo_seeing(arguments, &[(&stand_in(name), &the_ip()), (&here, Path::new("/run/here"))])
}

/// A run that has something to change, and cannot, leaves everything as it was, and says so in the status; the next
/// one, with a true `ip`, makes good for it.
fn assert_does_no_harm(lab: &Lab, run: &dyn Fn() -> Run, words: &[&str]) {
    let before = kernel(lab);
    assert_ends(&run(), 1, words);
    assert_eq!(kernel(lab), before);
    assert_eq!(silent_for(lab), [0, 0], "what could not be asked says nothing of the lines");
    assert_ne!(problems(lab), Vec::<Value>::new());
    assert_ends(&lab.wanfo(&["check"]), 0, &["brought the kernel's routes in line"]);
    assert_eq!(problems(lab), Vec::<Value>::new());
    assert_eq!(lab.wanfo(&["check"]).stderr, "");
}

pub fn no_ip_on_the_machine() {
    let lab = two_links();
    fs::create_dir(lab.path("empty")).expect("a new directory");
    let mut directories: Vec<PathBuf> =
        PLACES.iter().filter_map(|place| fs::canonicalize(Path::new(place).parent()?).ok()).collect();
    directories.dedup();
    let empty = lab.path("empty");
    let covers: Vec<_> = directories.iter().map(|directory| (empty.as_path(), directory.as_path())).collect();
    let run = || ended(&mut lab.wanfo_seeing(&["check"], &covers));
    assert_does_no_harm(&lab, &run, &["there is no `ip` on this machine", "install iproute2"]);
    // Where nothing is to be changed, it is not missed.
    assert_ends(&run(), 0, &[]);
}

pub fn an_ip_that_fails() {
    let lab = two_links();
    let run = || ended(&mut with_ip(&lab, "fails", &["check"]));
    let words = ["`ip -4 route add", "failed", "exit status: 2", "Resource temporarily unavailable"];
    assert_does_no_harm(&lab, &run, &words);

    let lab = two_links();
    let run = || ended(&mut with_ip(&lab, "fails-silently", &["check"]));
    assert_does_no_harm(&lab, &run, &["exit status: 3", "it said nothing"]);
}

pub fn an_ip_that_fails_while_the_protocol_number_changes() {
    let lab = at_work();
    lab.configure(&format!("{TWO_LINKS}\nrouting: {{protocol: 120}}"));
    let run = || ended(&mut with_ip(&lab, "fails", &["check"]));
    assert_does_no_harm(&lab, &run, &["Resource temporarily unavailable"]);
    let rules = lab.router.ip("-N rule show");
    assert!(rules.contains("proto 120") && !rules.contains("proto 119"), "{rules}");
}

pub fn an_ip_that_hangs_is_killed_with_all_it_started() {
    let lab = two_links();
    let start = Instant::now();
    let run = || ended(&mut with_ip(&lab, "hangs", &["check"]));
    assert_does_no_harm(&lab, &run, &["did not end within 10s and was killed", "were not tried"]);
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    let children = fs::read_to_string(lab.path("children")).expect("the stand-in noted its child");
    for child in children.lines() {
        // Its new parent may take a moment to take note.
        let is_alive =
            || fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_alive() {
            assert!(Instant::now() < deadline, "process {child} was left behind");
            sleep(Duration::from_millis(10));
        }
    }
}

pub fn an_ip_that_talks_without_end_is_killed() {
    let lab = two_links();
    let start = Instant::now();
    let run = || ended(&mut with_ip(&lab, "talks-without-end", &["check"]));
    assert_does_no_harm(&lab, &run, &["did not end within 10s and was killed"]);
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
}

pub fn an_ip_that_prints_rubbish() {
    let lab = two_links();
    let run = || {
        let run = ended(&mut with_ip(&lab, "prints-rubbish", &["check"]));
        assert_eq!(run.stdout, "");
        assert!(run.stderr.len() < 100_000, "{} bytes", run.stderr.len());
        assert!(
            !run.stderr.contains(|c: char| c.is_control() && c != '\n'),
            "control characters on a terminal"
        );
        run
    };
    assert_does_no_harm(&lab, &run, &["`ip -4 route add", "failed"]);
}

pub fn an_ip_that_lies() {
    let lab = two_links();
    let run = || ended(&mut with_ip(&lab, "does-nothing", &["check"]));
    assert_does_no_harm(&lab, &run, &["is said to be done, and the kernel does not show it"]);

    // And in the middle of a switch: the intent stays, until a true `ip` is there.
    let lab = at_work();
    lab.pull_cable(1);
    let run = ended(&mut with_ip(&lab, "does-nothing", &["check"]));
    assert_ends(&run, 1, &["switching from fibre to lte, not done yet", "the kernel does not show it"]);
    assert_eq!(state(&lab)["switching"]["to"], "lte");
    assert_ends(&lab.wanfo(&["check"]), 0, &["completed the switch from fibre to lte"]);
    assert!(state(&lab)["switching"].is_null());
    assert_carried_by(&lab, 2);
}

pub fn an_ip_that_fails_every_other_time() {
    let lab = two_links();
    let mut runs = 0;
    loop {
        let run = ended(&mut with_ip(&lab, "fails-every-other-time", &["check"]));
        assert_eq!(silent_for(&lab), [0, 0]);
        runs += 1;
        if run.code == 0 {
            break;
        }
        assert_ends(&run, 1, &["No buffer space available"]);
        assert!(runs < 10, "no end of it: {}", run.stderr);
    }
    assert!(runs > 1);
    assert_eq!(lab.wanfo(&["check"]).stderr, "", "there is nothing left to do");
    assert_carried_by(&lab, 1);
}
