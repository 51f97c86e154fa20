//! The real program under ptrace(2): stopped before each of its system calls, in all of its threads.

use std::process::{Command, Stdio};
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::*;

/// A system call that is about to be made.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub number: libc::c_long,
    pub first: u64,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    Made,
    /// The program is killed before it.
    Killed,
    /// It is not made, and the program is told this.
    Fails(Errno),
}

/// Runs the program to its end, and asks of each call of its own what is to become of it; its children are left alone. The
/// exit code is `None` where it was killed; what it said on stderr.
#[expect(clippy::zombie_processes, reason = "`trace` waits for it")]
pub fn follow(mut command: Command, mut fate: impl FnMut(Call) -> Fate) -> (Option<i32>, String) {
    lab::before_exec(&mut command, ptrace::traceme);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut stderr = child.stderr.take().expect("piped");
    let said = thread::spawn(move || {
        let mut said = String::new();
        let _ = std::io::Read::read_to_string(&mut stderr, &mut said);
        said
    });
    let code = trace(Pid::from_raw(child.id() as i32), &mut fate);
    (code, said.join().expect("it reads"))
}

fn trace(program: Pid, fate: &mut dyn FnMut(Call) -> Fate) -> Option<i32> {
    // It stops at its exec; options can be set from then on.
    waitpid(program, None).expect("the program stops at its exec");
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(program, options).expect("the program can be traced");
    ptrace::syscall(program, None).expect("the program goes on");
    // Of the threads in a call that was not made, what they are to be told.
    let mut failing: Vec<(Pid, Errno)> = Vec::new();
    loop {
        // Of this thread only: other trials wait for children of their own.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let (thread, signal) = match waitpid(None, Some(flags)).expect("the program has not ended yet") {
            WaitStatus::Exited(process, code) if process == program => return Some(code),
            WaitStatus::Signaled(process, ..) if process == program => return None,
            WaitStatus::PtraceSyscall(thread) => {
                match (begun(thread), failing.iter().position(|(of, _)| *of == thread)) {
                    (Some(call), _) => match fate(call) {
                        Fate::Made => {}
                        Fate::Killed => {
                            kill(program, Signal::SIGKILL).expect("it is our child");
                            continue;
                        }
                        Fate::Fails(errno) => {
                            // No call has this number (ptrace(2), PTRACE_SETREGS at a syscall-enter-stop).
                            set_result(thread, Register::Number, u64::MAX);
                            failing.push((thread, errno));
                        }
                    },
                    (None, Some(place)) => {
                        let (_, errno) = failing.swap_remove(place);
                        set_result(thread, Register::Answer, (-i64::from(errno as i32)) as u64);
                    }
                    (None, None) => {}
                }
                (thread, None)
            }
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            // How a new thread begins, and what exec brings.
            WaitStatus::Stopped(thread, Signal::SIGSTOP | Signal::SIGTRAP) => (thread, None),
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            _ => continue,
        };
        // It may have been killed meanwhile.
        let _ = ptrace::syscall(thread, signal);
    }
}

/// The call that a stopped thread is about to make; `None`: it comes back from one.
fn begun(thread: Pid) -> Option<Call> {
    let info = ptrace::syscall_info(thread).ok()?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: `op` says which member of the union it is.
    #[expect(unsafe_code, reason = "a union")]
    let (number, first) = unsafe { (info.u.entry.nr as libc::c_long, info.u.entry.args[0]) };
    Some(Call { number, first })
}

enum Register {
    Number,
    Answer,
}

#[cfg(target_arch = "x86_64")]
fn set_result(thread: Pid, register: Register, value: u64) {
    // It may have been killed meanwhile.
    let Ok(mut registers) = ptrace::getregs(thread) else { return };
    match register {
        Register::Number => registers.orig_rax = value,
        Register::Answer => registers.rax = value,
    }
    let _ = ptrace::setregs(thread, registers);
}

#[cfg(not(target_arch = "x86_64"))]
fn set_result(_: Pid, _: Register, _: u64) {
    lab::skip_for_good("calls are made to fail by the registers of x86_64");
}
