use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::stat::fstat;
use nix::sys::termios::{FlowArg, tcflow};
use nix::unistd::write;

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
    assert_ends(&ended(lab.wanfo_command(&["force-failover"]).stdout(writer)), 0, &[]);
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

/// Fills what nobody reads, to the last byte.
fn fill(end: impl AsFd) {
    let flags = OFlag::from_bits_retain(fcntl(&end, FcntlArg::F_GETFL).expect("the flags"));
    fcntl(&end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).expect("the flags are set");
    for size in [4096, 1] {
        while write(&end, &[b'x'; 4096][..size]).is_ok() {}
    }
    fcntl(&end, FcntlArg::F_SETFL(flags)).expect("the flags are set");
}

fn full_pipe() -> (PipeReader, OwnedFd) {
    let (reader, writer) = pipe().expect("a pipe");
    fill(&writer);
    (reader, writer.into())
}

/// Starts it with an end in the place of both outputs.
fn started(command: &mut Command, end: &OwnedFd) -> Child {
    let end = || end.try_clone().expect("another descriptor");
    command.stdout(end()).stderr(end()).spawn().expect("wanfo starts")
}

#[track_caller]
fn assert_ends_in_time(mut run: Child) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        match run.try_wait().expect("a child of ours") {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                run.kill().expect("a child of ours");
                panic!("it hangs");
            }
            None => sleep(Duration::from_millis(10)),
        }
    };
    assert_eq!(status.code(), Some(0));
}

/// Has the lab's links use an action script, in which `HERE` is the lab's directory.
fn talkative_action(lab: &Lab, body: &str) {
    let action = lab.path("action");
    let here = lab.path("").display().to_string();
    super::write(&action, format!("#!/bin/sh\n{}\n", body.replace("HERE/", &here)));
    fs::set_permissions(&action, PermissionsExt::from_mode(0o755)).expect("the file is ours");
    lab.configure(&format!("{TWO_LINKS}action_script: {}\n", action.display()));
}

pub fn whoever_does_not_read_holds_up_no_switch() {
    let lab = at_work();
    talkative_action(&lab, "seq -f 'the %g-th of many lines, and of a usual length' 150");
    let (_reader, pipe) = full_pipe();
    let (_journal, socket) = UnixStream::pair().expect("a socket");
    fill(&socket);
    let (stopped, full) =
        (openpty(None, None).expect("a terminal"), openpty(None, None).expect("a terminal"));
    // Ctrl-S.
    tcflow(&stopped.slave, FlowArg::TCOOFF).expect("it stops");
    fill(&full.slave);
    // Here is room for some lines, and POLLOUT also where there is none for a whole one.
    let mut screen = File::from(full.master.try_clone().expect("another descriptor"));
    screen.read_exact(&mut [0; 512]).expect("it was full");
    let ends = [pipe, socket.into(), stopped.slave, full.slave];
    for (end, (command, line)) in
        ends.iter().zip([("force-failover", 2), ("failback", 1)].into_iter().cycle())
    {
        let flags = fcntl(end, FcntlArg::F_GETFL).expect("the flags");
        assert_ends_in_time(started(&mut lab.wanfo_command(&[command]), end));
        assert_carried_by(&lab, line);
        assert_eq!(fcntl(end, FcntlArg::F_GETFL).expect("the flags"), flags, "it is others' as well");
    }
    // As the timer would, and with much to say.
    lab.pull_cable(1);
    assert_ends_in_time(started(&mut lab.wanfo_command(&["check", "-v"]), &ends[0]));
    assert_carried_by(&lab, 2);
    assert_ends_in_time(started(&mut lab.wanfo_command(&["down"]), &ends[2]));
    assert!(!kernel(&lab).join("\n").contains("proto 119"));
}

pub fn what_nobody_has_read_is_counted() {
    let lab = two_links();
    talkative_action(
        &lab,
        "seq 9\nsleep 0.5\n>HERE/said\nwhile [ -e HERE/said ]; do sleep 0.05; done\necho again",
    );
    let (mut reader, pipe) = full_pipe();
    let run = started(&mut lab.wanfo_command(&["force-failover"]), &pipe);
    drop(pipe);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !lab.path("said").exists() {
        assert!(Instant::now() < deadline, "the script has not come to its end");
        sleep(Duration::from_millis(10));
    }
    let mut filling = vec![0; 64 * 1024];
    reader.read_exact(&mut filling).expect("what was in the pipe");
    fs::remove_file(lab.path("said")).expect("the script's file");
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("the rest");
    assert_ends_in_time(run);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1], "wanfo: action: again", "{text}");
    let count: u32 = lines[0].split(' ').nth(1).and_then(|count| count.parse().ok()).expect("a number");
    assert!(lines[0].contains("lines of the log were dropped") && count >= 9, "{text}");
    assert!(text.contains("\nswitched to lte"), "{text}");
}

pub fn a_pager_may_take_its_time() {
    let lab = at_work();
    for arguments in &TALKATIVE[..5] {
        let (mut reader, pipe) = full_pipe();
        let mut run = started(&mut lab.wanfo_command(arguments), &pipe);
        drop(pipe);
        sleep(Duration::from_millis(600));
        assert!(run.try_wait().expect("a child of ours").is_none(), "{arguments:?} has lost its words");
        let mut text = Vec::new();
        reader.read_to_end(&mut text).expect("a pipe");
        assert_ends_in_time(run);
        assert!(text.len() > 64 * 1024 && text.ends_with(b"\n"));
    }
}

pub fn a_background_job_is_not_stopped_for_its_words() {
    let lab = at_work();
    let terminal = openpty(None, None).expect("a terminal");
    let mut shell = lab.router.command("setsid");
    // With job control, `&` is a process group of its own.
    shell.args(["--ctty", "--wait", "sh", "-mc", "stty tostop; \"$0\" force-failover & wait $!", WANFO]);
    shell
        .env("WANFO_CONFIG", lab.path("wanfo.yaml"))
        .stdin(terminal.slave.try_clone().expect("another descriptor"));
    assert_ends_in_time(started(&mut shell, &terminal.slave));
    assert_carried_by(&lab, 2);
    let mut said = vec![0; 4096];
    let length = File::from(terminal.master).read(&mut said).expect("a terminal");
    assert!(String::from_utf8_lossy(&said[..length]).contains("switched to lte"));
}

pub fn only_the_journal_is_told_priorities() {
    let lab = two_links();
    let said = |journal: &dyn Fn(&OwnedFd) -> String| {
        let (mut reader, writer) = pipe().expect("a pipe");
        let writer = OwnedFd::from(writer);
        let mut command = lab.wanfo_command(&["force-failover", "--to", "nobody"]);
        command.env("JOURNAL_STREAM", journal(&writer)).stderr(writer);
        command.status().expect("wanfo starts");
        drop(command);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        text
    };
    let of = |fd: &OwnedFd| fstat(fd).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino)).expect("fstat");
    assert!(said(&of).starts_with("<3>there is no link nobody"));
    // A unit that sends its stderr elsewhere; a file that has our pipe's number on another device.
    assert!(said(&|_| "8:1234".to_owned()).starts_with("wanfo: there"));
    assert!(said(&|fd| format!("1{}", of(fd))).starts_with("wanfo: there"));
}
