//! What the journal has of the shipped units, and what becomes of a failover while there is none.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::package::{attempt, run, status};
use super::router::{
    self, Installed, SILENCE, await_active, await_said, await_service, begin, journal, journal_after, links,
    property,
};
use crate::lab::{Lab, SERVICE};

/// Ten runs.
const QUIET: Duration = Duration::from_secs(20);
/// A beat, and what an emulated machine takes to start a run and to change its routes while others are at work beside it.
const IN_TIME: Duration = Duration::from_secs(10);

/// Without delays, so that a story is short.
fn config() -> String {
    links([", delay: 0s, stable: 2s", ", delay: 0s"])
}

pub fn a_quiet_line_leaves_nothing_in_the_journal_and_a_failover_a_line_for_each_event() {
    let lab = router::lab();
    let _installed = Installed::with(&config());
    begin();
    // What the first runs have to say.
    sleep(Duration::from_secs(5));
    let before = journal().len();
    let checked = status()["last_check"].clone();
    sleep(QUIET);
    assert_ne!(status()["last_check"], checked);
    assert_eq!(journal_after(before), [""; 0], "of a quiet line");

    lab.cut_silently(1);
    await_active("lte");
    lab.repair(1);
    await_active("fibre");
    sleep(Duration::from_secs(5));
    let said = journal_after(before);
    // What is done to the routes is listed below the word of it.
    let (list, events): (Vec<_>, Vec<_>) = said.iter().partition(|line| line.starts_with("  "));
    assert_eq!(
        events,
        [
            "fibre is down: no reply from 198.51.100.11",
            "switched from fibre to lte: fibre is down: no reply from 198.51.100.11",
            "brought the kernel's routes in line:",
            "fibre is up again",
            "switched from lte to fibre: fibre is up",
            "brought the kernel's routes in line:",
        ]
    );
    assert!(list.iter().all(|line| line.starts_with("  ip -") && line.contains(" proto 119")), "{list:?}");
    println!("  {} s of a quiet line leave nothing; a failover and the failback:", QUIET.as_secs());
    events.iter().for_each(|line| println!("    {line}"));
}

/// Line 1 falls silent and is left in time, and has the traffic again in the end; for how long the LAN heard nothing.
#[track_caller]
fn fail_over_in_time(lab: &Lab) -> Duration {
    let meter = lab.meter(SERVICE);
    await_service(&meter, 1);
    let start = Instant::now();
    lab.cut_silently(1);
    await_service(&meter, 2);
    let silence = meter.longest_silence(start, Instant::now());
    lab.repair(1);
    await_active("fibre");
    await_service(&meter, 1);
    assert!(silence < SILENCE + IN_TIME, "{silence:?}");
    assert_eq!(property("wanfo.service", "Result"), "success");
    silence
}

const JOURNAL: &str = "systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket \
                       systemd-journald.service";

/// Stopped; there again with the end of this value.
struct Stopped;

impl Stopped {
    fn new() -> Stopped {
        run(&format!("systemctl stop {JOURNAL}"));
        Stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        attempt(&format!("systemctl start {JOURNAL}"));
    }
}

/// It reads nothing; it does again with the end of this value.
struct Hanging(Pid);

impl Hanging {
    fn new() -> Hanging {
        let process = property("systemd-journald.service", "MainPID").parse().expect("a process ID");
        let hanging = Hanging(Pid::from_raw(process));
        kill(hanging.0, Signal::SIGSTOP).expect("it is there");
        // What everybody has to tell waits here, until no more goes in.
        for place in ["/run/systemd/journal/socket", "/run/systemd/journal/dev-log"] {
            let socket = UnixDatagram::unbound().expect("a socket");
            socket.set_nonblocking(true).expect("it may be told so");
            let full = loop {
                if let Err(error) = socket.send_to(b"MESSAGE=one of too many\n", place) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::WouldBlock, "{place}: {full}");
        }
        hanging
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

pub fn a_line_is_left_in_time_while_the_journal_is_stopped_or_hangs() {
    let lab = router::lab();
    let _installed = Installed::with(&config());
    begin();
    let stopped = Stopped::new();
    let silence = fail_over_in_time(&lab);
    println!("  with journald stopped the LAN heard nothing for {:.2} s", silence.as_secs_f64());
    drop(stopped);

    let before = journal().len();
    let hanging = Hanging::new();
    let silence = fail_over_in_time(&lab);
    println!("  with one that hangs, for {:.2} s", silence.as_secs_f64());
    drop(hanging);
    // It has waited for it.
    await_said(before, "switched from", 2);
}
