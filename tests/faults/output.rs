use std::fs::OpenOptions;
use std::process::Stdio;

use super::*;

/// Commands that print something.
const TALKATIVE: [&[&str]; 6] = [
    &["status"],
    &["status", "--format", "json"],
    &["config"],
    &["config", "--effective"],
    &["check", "--dry-run"],
    &["--help"],
];

pub fn a_reader_that_has_seen_enough_is_no_error() {
    let lab = at_work();
    // Something that a dry run has to tell.
    lab.router.ip("route flush table 5301");
    for arguments in TALKATIVE {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        assert_ends(&ended(lab.wanfo_command(arguments).stdout(writer)), 0, &[]);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        assert_ends(&ended(lab.wanfo_command(arguments).stderr(writer)), 0, &[]);
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_ends(&ended(lab.wanfo_command(&["force-failover"]).stdout(writer)), 0, &["switched"]);
    assert_eq!(active(&lab), "lte");
    assert_carried_by(&lab, 2);
}

pub fn output_that_cannot_be_written_is_told() {
    let lab = at_work();
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there");
    for arguments in &TALKATIVE[..5] {
        let run = ended(lab.wanfo_command(arguments).stdout(full()));
        assert_ends(&run, 1, &["writing to standard output", "No space left"]);
    }
    // What the run did is done and remembered all the same.
    let run = ended(lab.wanfo_command(&["force-failover"]).stdout(full()));
    assert_ends(&run, 1, &["writing to standard output"]);
    assert_eq!(active(&lab), "lte");
    assert_carried_by(&lab, 2);
    // Nobody is left to be told.
    let run = ended(lab.wanfo_command(&["down"]).stdout(full()).stderr(full()));
    assert_eq!(run.code, 1);
    assert!(!kernel(&lab).join("\n").contains("proto 119"));
}

pub fn closed_descriptors_do_no_harm() {
    let lab = at_work();
    lab.pull_cable(1);
    for arguments in [&["check"][..], TALKATIVE[0], TALKATIVE[3]] {
        let mut command = lab.wanfo_command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        lab::before_exec(&mut command, || (0..=2).try_for_each(nix::unistd::close));
        let status = command.status().expect("wanfo starts");
        assert_eq!(status.code(), Some(0));
    }
    assert_eq!(active(&lab), "lte");
    assert_carried_by(&lab, 2);
    // A state file that holds log lines would be the proof of a descriptor gone astray.
    state(&lab);
}
