//! The real program killed at each of its system calls, and each of them made to fail in every way, while it switches by hand
//! or by itself, takes up a changed config, is taken out, or delivers (in tests/mail).
//!
//! `cargo test` tries a sample. `WANFO_EVERY_CALL=1 cargo test --test stories any_call -- --nocapture` tries them all, which
//! takes hours, and prints how many there were; with 7 in place of 1 it tries every seventh.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

use super::killed::{Subject, WAYS};
use super::tracing::{Call, Fate, follow};
use super::*;
use crate::lab::SERVICE;
use crate::story::{PROBE, assert_same, config, link, two_links};

/// What a kernel out of something, a broken disk, a sandbox or a signal may say.
const ERRORS: [Errno; 9] = [
    Errno::ENOSPC,
    Errno::EIO,
    Errno::EMFILE,
    Errno::ENOMEM,
    Errno::EAGAIN,
    Errno::EINTR,
    Errno::EROFS,
    Errno::EPERM,
    Errno::ENOBUFS,
];

/// These never fail so, by their manual pages, or nobody could go on: they are about this process and its memory alone.
const OF_THE_PROCESS: [libc::c_long; 28] = [
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_geteuid,
    libc::SYS_close,
    libc::SYS_clock_nanosleep,
    libc::SYS_setfsuid,
    libc::SYS_umask,
    libc::SYS_restart_syscall,
    libc::SYS_uname,
    libc::SYS_execve,
    // What ld.so and glibc ask before main.
    libc::SYS_prlimit64,
];

/// What befalls a command at one of its system calls, counted from 0.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    at: usize,
    fate: Fate,
}

/// What became of the command.
pub struct Troubled {
    pub code: Option<i32>,
    /// Whether it made so many calls.
    pub came: bool,
    /// For messages.
    pub what: String,
}

impl Trouble {
    #[track_caller]
    pub fn befalls(self, command: Command) -> Troubled {
        let Trouble { at, fate } = self;
        let arguments: Vec<_> = command.get_args().map(|word| word.display().to_string()).collect();
        let (mut count, mut met, mut has_begun) = (0, None, false);
        let (code, said) = follow(command, |call: Call| {
            if fate != Fate::Killed && (!has_begun || OF_THE_PROCESS.contains(&call.number)) {
                // The loader's own calls come before this one, the first of std's (library/std/src/sys/pal/unix/mod.rs).
                has_begun |= call.number == libc::SYS_poll;
                return Fate::Made;
            }
            count += 1;
            if count - 1 == at {
                met = Some(call);
                return fate;
            }
            Fate::Made
        });
        let what = format!("{arguments:?}, call {at} ({met:?}) {fate:?}: exit code {code:?}, {said}");
        assert!(!said.contains("panicked"), "{what}");
        // Then another run has the lock.
        let is_locked_out = met.is_some_and(|call| call.number == libc::SYS_flock);
        match code {
            Some(75) if is_locked_out => {}
            Some(code) => assert!((0..=2).contains(&code), "{what}"),
            None => assert_eq!(fate, Fate::Killed, "{what}"),
        }
        Troubled { code, came: met.is_some(), what }
    }
}

/// Kills a command at every so manyth of its calls (at every one with WANFO_EVERY_CALL=1), until `trial` meets no more of them;
/// how many there were.
pub fn kill_at_every(step: usize, mut trial: impl FnMut(Trouble) -> usize) -> usize {
    let tried = (0..).step_by(asked_for(step)).map(|at| trial(Trouble { at, fate: Fate::Killed }));
    tried.take_while(|came| *came > 0).sum()
}

/// The same with each error in turn as the answer to a call. In a sample it is another call for each.
pub fn fail_at_every(step: usize, mut trial: impl FnMut(Trouble) -> usize) -> usize {
    let step = asked_for(step);
    let of_error = |(number, error)| {
        let calls = (37 * number % step..).step_by(step);
        let tried = calls.map(|at| trial(Trouble { at, fate: Fate::Fails(error) }));
        tried.take_while(|came| *came > 0).sum::<usize>()
    };
    ERRORS.into_iter().enumerate().map(of_error).sum()
}

fn asked_for(of_the_sample: usize) -> usize {
    let wanted = std::env::var("WANFO_EVERY_CALL").ok();
    wanted.map_or(of_the_sample, |step| step.parse().expect("WANFO_EVERY_CALL is a number"))
}

/// A link that was up for so long is trusted as a new one is.
const CALM: Duration = Duration::from_secs(3601);

/// On the router, without a pause: who sends three thousand datagrams a second to the service, and is refused where there is
/// no route.
struct Sender {
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: Option<JoinHandle<Vec<String>>>,
}

impl Sender {
    fn start(story: &Story) -> Sender {
        let socket = story.router.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a port");
        let (is_over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (Arc::clone(&is_over), Arc::clone(&sent));
        let sender = spawn(move || {
            let mut refused = Vec::new();
            while !until.load(Ordering::Relaxed) {
                match socket.send_to(b"anybody there?", (SERVICE, 9)) {
                    Ok(_) => count.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        refused.push(error.to_string());
                        0
                    }
                };
                sleep(Duration::from_micros(300));
            }
            refused
        });
        Sender { is_over, sent, sender: Some(sender) }
    }

    /// Ends it. There was a way out at every moment; how many went.
    #[track_caller]
    fn never_refused(mut self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let refused = self.sender.take().expect("it runs").join().expect("it does not panic");
        let sent = self.sent.load(Ordering::Relaxed);
        assert!(refused.is_empty(), "{} datagrams beside {sent} had no way out: {refused:?}", refused.len());
        assert!(sent > 100, "{sent}");
        sent
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Both ways by hand; how many of them came so far.
fn by_hand(subject: &mut Subject, trouble: Trouble) -> usize {
    let mut came = 0;
    for (command, from, to) in WAYS {
        subject.be_on(from);
        let troubled = trouble.befalls(subject.story.wanfo_command(&[command]));
        let switched = subject.assert_made_good(from, to, &troubled.what);
        assert!(
            switched || troubled.code != Some(0),
            "it says that it is done, and it is not: {}",
            troubled.what
        );
        came += usize::from(troubled.came);
    }
    came
}

pub fn killed_at_any_call_of_a_switch_by_hand() {
    let mut subject = Subject::new(Some(""));
    let sender = Sender::start(&subject.story);
    let cases = kill_at_every(83, |trouble| by_hand(&mut subject, trouble));
    let sent = sender.never_refused();
    println!(
        "Killed at {cases} system calls of a failover and a failback by hand; {sent} datagrams, none refused."
    );
    assert!(cases > 10, "there are more calls than that: {cases}");
}

pub fn any_call_of_a_switch_by_hand_fails_in_any_way() {
    let mut subject = Subject::new(Some(""));
    let sender = Sender::start(&subject.story);
    let cases = fail_at_every(331, |trouble| by_hand(&mut subject, trouble));
    let (sent, ways) = (sender.never_refused(), ERRORS.len());
    println!(
        "{cases} system calls of a failover and a failback by hand failed, in {ways} ways; {sent} datagrams, none refused."
    );
    assert!(cases > 15, "there are more calls than that: {cases}");
}

/// A run that stays with a line that has just died, and leaves it.
fn by_itself(subject: &mut Subject, trouble: Trouble) -> usize {
    subject.be_on("primary");
    // Outages without a pause would make it a link that is not trusted for an hour.
    subject.story.let_pass(CALM);
    subject.story.check();
    subject.story.cut_silently(1);
    let troubled = trouble.befalls(subject.story.wanfo_command(&["check"]));
    let switched = subject.assert_made_good("primary", "secondary", &troubled.what);
    assert!(switched, "the next run leaves it at the latest: {}", troubled.what);
    subject.story.repair(1);
    subject.story.await_answer(1);
    subject.story.check_until("a primary that is up", |status| status["links"][0]["up"] == true);
    usize::from(troubled.came)
}

pub fn killed_or_failing_at_any_call_of_a_switch_by_itself() {
    let mut subject = Subject::new(Some(""));
    let sender = Sender::start(&subject.story);
    let killed = kill_at_every(149, |trouble| by_itself(&mut subject, trouble));
    let failed = fail_at_every(677, |trouble| by_itself(&mut subject, trouble));
    let sent = sender.never_refused();
    println!(
        "A run that leaves a dead line: killed at {killed} system calls, {failed} failed; {sent} datagrams, none refused."
    );
    assert!(killed > 2 && failed > 4, "there are more calls than that: {killed}, {failed}");
}

pub fn killed_or_failing_at_any_call_of_a_changed_config() {
    let plain = config(&two_links(["", ""]), &[PROBE]);
    let routes = "routes: [198.51.100.128/25], targets: [198.51.100.21, 198.51.100.22]";
    let changed = config(
        &[link(1, "primary", "address: [192.0.2.9/28]"), link(2, "secondary", routes)],
        &[PROBE, "routing: {override: default, rule_priority: 640}"],
    );
    let story = Story::begin(2, &plain);
    let whole = [&plain, &changed].map(|config| {
        story.configure(config);
        story.check();
        story.kernel()
    });
    let sender = Sender::start(&story);
    let trial = |trouble: Trouble| {
        let mut came = 0;
        for (config, whole) in [&plain, &changed].into_iter().zip(&whole) {
            story.configure(config);
            let troubled = trouble.befalls(story.wanfo_command(&["check"]));
            let next = story.check();
            assert_eq!(story.active(), "primary", "{}; then {next:?}", troubled.what);
            assert_same(whole, &story.kernel());
            assert_eq!(story.check().stderr, "", "{}: nothing is left to do", troubled.what);
            came += usize::from(troubled.came);
        }
        came
    };
    let (killed, failed) = (kill_at_every(97, trial), fail_at_every(449, trial));
    let sent = sender.never_refused();
    assert!(switches(&story).is_empty());
    println!(
        "A changed config: killed at {killed} system calls, {failed} failed; {sent} datagrams, none refused."
    );
    assert!(killed > 5 && failed > 9, "there are more calls than that: {killed}, {failed}");
}

pub fn killed_or_failing_at_any_call_of_down() {
    let story = Story::of_two_links();
    story.check();
    story.succeeds(&["force-failover"]);
    let (whole, foreign) = (story.kernel(), story.foreign());
    let trial = |trouble: Trouble| {
        let troubled = trouble.befalls(story.wanfo_command(&["down"]));
        assert!(
            story.ours().is_empty() || troubled.code != Some(0),
            "it says that all is out, and {:#?}: {}",
            story.ours(),
            troubled.what
        );
        story.succeeds(&["down"]);
        assert_eq!(story.ours(), [""; 0], "{}", troubled.what);
        assert_same(&foreign, &story.foreign());
        story.check();
        if story.active() != "secondary" {
            story.succeeds(&["force-failover"]);
        }
        assert_same(&whole, &story.kernel());
        usize::from(troubled.came)
    };
    let (killed, failed) = (kill_at_every(83, trial), fail_at_every(331, trial));
    println!("`down`: killed at {killed} system calls, {failed} failed; the next took everything out.");
    assert!(killed > 2 && failed > 4, "there are more calls than that: {killed}, {failed}");
}
