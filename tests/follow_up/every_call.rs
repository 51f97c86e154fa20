//! The real program killed at each of its system calls, and each of them made to fail in every way, while it switches.
//!
//! `cargo test` tries a sample. `WANFO_EVERY_CALL=1 cargo test --test stories every_call:: -- --nocapture` tries them all, which
//! takes more than an hour, and prints how many there were; with 7 in place of 1 it tries every seventh.

use nix::errno::Errno;
use nix::libc;

use super::killed::{Subject, WAYS};
use super::tracing::{Call, Fate, follow};

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
const OF_THE_PROCESS: [libc::c_long; 27] = [
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

/// Of all calls, every so manyth is tried.
fn step(of_the_sample: usize) -> usize {
    let wanted = std::env::var("WANFO_EVERY_CALL").ok();
    wanted.map_or(of_the_sample, |step| step.parse().expect("WANFO_EVERY_CALL is a number"))
}

/// Where in a run: which of its calls is troubled, counted from 0, and how.
fn tried(subject: &mut Subject, at: usize, fate: Fate) -> usize {
    let mut came = 0;
    for (command, from, to) in WAYS {
        subject.be_on(from);
        let (mut count, mut met, mut has_begun) = (0, None, false);
        let (code, said) = follow(subject.story.wanfo_command(&[command]), |call: Call| {
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
        let what = format!("{command}, call {at} ({met:?}) {fate:?}: exit code {code:?}, {said}");
        assert!(!said.contains("panicked"), "{what}");
        let switched = subject.assert_made_good(from, to, &what);
        match code {
            Some(0) => assert!(switched, "it says that it is done, and it is not: {what}"),
            Some(code) => assert!([1, 2].contains(&code), "{what}"),
            None => assert_eq!(fate, Fate::Killed, "{what}"),
        }
        came += usize::from(met.is_some());
    }
    came
}

pub fn killed_at_any_call() {
    let mut subject = Subject::new(Some(""));
    let mut cases = 0;
    for at in (0..).step_by(step(83)) {
        match tried(&mut subject, at, Fate::Killed) {
            0 => break,
            came => cases += came,
        }
    }
    println!("Killed at {cases} system calls of a failover and a failback by hand.");
    assert!(cases > 10, "there are more calls than that: {cases}");
}

pub fn any_call_fails_in_any_way() {
    let (mut subject, step) = (Subject::new(Some("")), step(331));
    let mut cases = 0;
    for (number, error) in ERRORS.into_iter().enumerate() {
        // Others for each error, in the sample.
        for at in (37 * number % step..).step_by(step) {
            match tried(&mut subject, at, Fate::Fails(error)) {
                0 => break,
                came => cases += came,
            }
        }
    }
    println!("{cases} system calls of a failover and a failback by hand failed, in {} ways.", ERRORS.len());
    assert!(cases > 15, "there are more calls than that: {cases}");
}
