//! Stdout and stderr, whose reader may hang: a terminal stopped with Ctrl-S, a pipe into a program that does not read, a
//! journal that is stopped. That must never hold up a run.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Stderr, Stdout, stderr, stdout};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::write;

pub static STDOUT: LazyLock<Output<Stdout>> = LazyLock::new(|| Output::on(stdout()));
pub static STDERR: LazyLock<Output<Stderr>> = LazyLock::new(|| Output::on(stderr()));

/// How long readers are waited for, all in all: so many beats, of 5 ms each.
const PATIENCE: u32 = 40;
const BEAT: Duration = Duration::from_millis(5);

/// What is left of it. Without a `hurry` there is no end to it.
static BEATS_LEFT: AtomicU32 = AtomicU32::new(u32::MAX);

/// From now on readers are waited for 200 ms and no longer. Call it before the first word.
pub fn hurry() {
    BEATS_LEFT.store(PATIENCE, Ordering::Relaxed);
}

pub struct Output<S> {
    stream: S,
    way: Way,
    /// The end of a text whose beginning is out.
    rest: Mutex<Vec<u8>>,
}

/// How to write without waiting. O_NONBLOCK on the stream itself would be set for everybody who holds it (F_SETFL,
/// fcntl(2)).
enum Way {
    /// A file, which makes nobody wait; or waiting is all right.
    Plain,
    Socket,
    /// A pipe or a terminal, opened once more for us alone.
    Own(File),
    /// One that could not be: with POLLOUT a pipe takes PIPE_BUF bytes at least (pipe(7)).
    Polled,
}

impl Way {
    fn to(stream: &(impl AsFd + IsTerminal)) -> Way {
        let kind = fstat(stream).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
        match kind {
            _ if BEATS_LEFT.load(Ordering::Relaxed) == u32::MAX => Way::Plain,
            Ok(SFlag::S_IFSOCK) => Way::Socket,
            Ok(kind) if kind == SFlag::S_IFIFO || stream.is_terminal() => {
                // A background job is not stopped for its words either (TOSTOP, termios(3)); std takes the mask off
                // for children.
                let _ = SigSet::from_iter([Signal::SIGTTOU]).thread_block();
                let mut options = OpenOptions::new();
                options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
                let file = options.open(format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd()));
                file.map_or(Way::Polled, Way::Own)
            }
            _ => Way::Plain,
        }
    }
}

impl<S: AsFd + IsTerminal> Output<S> {
    fn on(stream: S) -> Output<S> {
        let way = Way::to(&stream);
        Output { stream, way, rest: Mutex::default() }
    }

    /// Writes a text whole, or nothing of it; where the reader stops in the midst of it, the rest goes out before the next.
    ///
    /// # Errors
    /// `WouldBlock`: nobody reads, and the time is up.
    pub fn write(&self, text: &str) -> io::Result<()> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        self.push(&mut rest)?;
        rest.extend_from_slice(text.as_bytes());
        let pushed = self.push(&mut rest);
        match &pushed {
            Err(error) if error.kind() == ErrorKind::WouldBlock && rest.len() < text.len() => return Ok(()),
            _ => rest.clear(),
        }
        pushed
    }

    fn push(&self, rest: &mut Vec<u8>) -> io::Result<()> {
        while !rest.is_empty() {
            match self.write_some(&rest[..rest.len().min(libc::PIPE_BUF)]) {
                Ok(written) => drop(rest.drain(..written)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if wait() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn write_some(&self, bytes: &[u8]) -> nix::Result<usize> {
        match &self.way {
            Way::Plain => write(&self.stream, bytes),
            Way::Socket => send(self.stream.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT),
            Way::Own(file) => write(file, bytes),
            Way::Polled => {
                let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut fds, PollTimeout::ZERO)? {
                    0 => Err(Errno::EAGAIN),
                    _ => write(&self.stream, bytes),
                }
            }
        }
    }
}

/// Waits one beat; false: the time is up.
fn wait() -> bool {
    let left = BEATS_LEFT.load(Ordering::Relaxed);
    match left {
        0 => return false,
        u32::MAX => {}
        _ => BEATS_LEFT.store(left - 1, Ordering::Relaxed),
    }
    sleep(BEAT);
    true
}
