//! What goes wrong around wanfo, end to end: the real binary, real files, real routes, nothing mocked.
//!
//! Every story asks three things: does the exit code tell, does a sentence on stderr say what to do, and are the
//! routes, the rules and the state as they were, or better. And nothing on the way may be a panic.

mod lab;

/// Answers that are wrong, late or doubled, and requests that never leave.
#[path = "faults/answers.rs"]
mod answers;
/// Configurations that are no good, and links that do not match the machine.
#[path = "faults/config.rs"]
mod config;
/// An `ip` that is missing, fails, hangs, babbles or lies.
#[path = "faults/iproute.rs"]
mod iproute;
/// Runs that are killed, and interfaces that vanish under them.
#[path = "faults/killed.rs"]
mod killed;
/// No permission, and too few of what a process needs.
#[path = "faults/limits.rs"]
mod limits;
/// Readers of our output that have gone.
#[path = "faults/output.rs"]
mod output;
/// The lock and the state file, and the disk below them.
#[path = "faults/store.rs"]
mod store;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use lab::{Lab, Run};
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;

/// The program under test, where every user may reach it.
const WANFO: &str = "/run/bin/wanfo";

/// Two links that take every verdict after two rounds, without delay.
const TWO_LINKS: &str = "
links:
  - {name: fibre, interface: wan1, targets: [198.51.100.11], delay: 0s}
  - {name: lte, interface: wan2, targets: [198.51.100.21], standby_interval: 0s, delay: 0s}
probe: {timeout: 400ms, threshold: 2}
";

/// A name and what to do.
type Story = (&'static str, fn());

fn main() {
    lab::enter_or_skip();
    // Before there is a second thread: a file that is open for writing in a process just forked cannot be run.
    fs::create_dir("/run/bin").expect("the lab's own /run takes a directory");
    fs::copy(env!("CARGO_BIN_EXE_wanfo"), WANFO).expect("the lab's own /run takes the program");
    iproute::put_stand_ins_in_place();
    let groups: [&[Story]; 7] = [
        config::TRIALS,
        limits::TRIALS,
        iproute::TRIALS,
        store::TRIALS,
        killed::TRIALS,
        answers::TRIALS,
        output::TRIALS,
    ];
    let trials = groups.concat().into_iter().map(|(name, trial)| {
        Trial::test(name, move || {
            trial();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// A lab with two lines, and wanfo configured for both. Nothing has run yet.
fn two_links() -> Lab {
    let lab = Lab::new(2, WANFO);
    // For other users than root too.
    fs::set_permissions(lab.path("."), PermissionsExt::from_mode(0o755)).expect("the directory is ours");
    lab.configure(TWO_LINKS);
    lab
}

/// The same after a first good run.
fn at_work() -> Lab {
    let lab = two_links();
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    assert_eq!(active(&lab), "fibre");
    lab
}

fn ended(command: &mut Command) -> Run {
    command.output().unwrap_or_else(|error| panic!("{command:?} did not start: {error}")).into()
}

/// The exit code is `code`, and stderr has all these words.
#[track_caller]
fn assert_ends(run: &Run, code: i32, words: &[&str]) {
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    assert_eq!(run.code, code, "stderr: {}\nstdout: {}", run.stderr, run.stdout);
    for words in words {
        assert!(run.stderr.contains(words), "stderr lacks {words:?}:\n{}", run.stderr);
    }
}

/// Every route and rule of the router, ours and others', in a fixed order.
fn kernel(lab: &Lab) -> Vec<String> {
    let shows = ["route show table all", "-6 route show table all", "rule show", "-6 rule show"];
    let mut lines: Vec<String> = shows
        .iter()
        .flat_map(|show| lab.router.ip(show).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    lines
}

fn status(lab: &Lab) -> Value {
    let run = lab.wanfo(&["status", "--format", "json"]);
    assert_ends(&run, 0, &[]);
    serde_json::from_str(&run.stdout).expect("status prints JSON")
}

fn active(lab: &Lab) -> String {
    status(lab)["active"].as_str().unwrap_or("nothing").to_owned()
}

fn failed_rounds(lab: &Lab) -> Vec<u64> {
    let status = status(lab);
    let links = status["links"].as_array().expect("links");
    links.iter().map(|link| link["failed_rounds"].as_u64().expect("a number")).collect()
}

/// The state file as it lies there.
fn state(lab: &Lab) -> Value {
    let text = fs::read_to_string(lab.path("run/state.json")).expect("a state file");
    serde_json::from_str(&text).expect("the state file is JSON")
}

/// The line out of which the router sends the service's traffic.
#[track_caller]
fn assert_carried_by(lab: &Lab, line: lab::Line) {
    let route = lab.router.ip(&format!("route get {}", lab::SERVICE));
    assert!(route.contains(&format!("dev wan{line}")), "not over wan{line}: {route}");
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
