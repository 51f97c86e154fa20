//! Counts the processes that a program starts, by tracing it (ptrace(2)).

use std::io::Read;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What became of a program, and how many processes it and its threads have started.
#[derive(Debug, PartialEq)]
pub struct Census {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub started: usize,
}

/// Runs the program to its end.
#[expect(clippy::zombie_processes, reason = "`trace` waits for it")]
pub fn take(mut command: Command) -> Census {
    crate::lab::before_exec(&mut command, ptrace::traceme);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let program = Pid::from_raw(child.id() as i32);
    let (code, started) = trace(program);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().expect("piped").read_to_string(&mut stdout).expect("text");
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("text");
    Census { code, stdout, stderr, started }
}

/// The exit code, and how often fork or vfork was called; std starts programs by the latter. A thread is
/// neither, but has to be traced for what it might start.
fn trace(program: Pid) -> (i32, usize) {
    // It stops at its exec; options can be set from then on.
    waitpid(program, None).expect("the program stops at its exec");
    let events = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
    ptrace::setoptions(program, events | Options::PTRACE_O_EXITKILL).expect("the program can be traced");
    ptrace::cont(program, None).expect("the program goes on");
    let mut started = 0;
    loop {
        // Of this thread only: other trials wait for children of their own.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let (process, signal) = match waitpid(None, Some(flags)).expect("the program has not ended yet") {
            WaitStatus::Exited(process, code) if process == program => return (code, started),
            WaitStatus::Signaled(process, signal, _) if process == program => panic!("killed by {signal}"),
            WaitStatus::PtraceEvent(process, _, event) => {
                started += usize::from([libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK].contains(&event));
                (process, None)
            }
            // How a new process or thread begins, and what exec brings.
            WaitStatus::Stopped(process, Signal::SIGSTOP | Signal::SIGTRAP) => (process, None),
            WaitStatus::Stopped(process, signal) => (process, Some(signal)),
            _ => continue,
        };
        // It may have been killed meanwhile.
        let _ = ptrace::cont(process, signal);
    }
}
