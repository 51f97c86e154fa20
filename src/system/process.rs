//! Child processes: no shell, absolute paths, a clean environment, a time limit on every one.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What a child says beyond this many bytes is thrown away.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// How long to sleep between two looks at a child that has closed its output and not yet ended.
const GLANCE: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    /// What it wrote to stderr, cut at a limit, bytes that are no UTF-8 replaced.
    pub stderr: String,
}

#[derive(Debug)]
pub enum Unfinished {
    /// It could not be started, or not be watched.
    Error(io::Error),
    /// It was still running when its time was up, and was killed with its process group.
    TimeLimit,
}

impl From<io::Error> for Unfinished {
    fn from(error: io::Error) -> Self {
        Unfinished::Error(error)
    }
}

/// Runs a program to its end. It gets an empty environment but for `LC_ALL=C`, nothing to read, and a process group of
/// its own, which is killed when the time is up.
pub fn run(program: &Path, arguments: &[String], limit: Duration) -> Result<Finished, Unfinished> {
    run_on(Stdio::null(), program, arguments, limit)
}

/// The same, with something to read.
pub fn run_with_input(
    program: &Path,
    arguments: &[String],
    input: &[u8],
    limit: Duration,
) -> Result<Finished, Unfinished> {
    // A file, not a pipe: nobody has to feed it, and a program that stops reading holds up nothing.
    let mut file = File::from(memfd_create("wanfo-input", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?);
    file.write_all(input)?;
    file.rewind()?;
    run_on(file.into(), program, arguments, limit)
}

fn run_on(
    stdin: Stdio,
    program: &Path,
    arguments: &[String],
    limit: Duration,
) -> Result<Finished, Unfinished> {
    let deadline = Instant::now() + limit;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let outcome = watch(&mut child, deadline);
    if outcome.is_err() {
        // Its own group, so this reaches what it has started too, and nobody else.
        let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        let _ = child.wait();
    }
    outcome
}

fn watch(child: &mut Child, deadline: Instant) -> Result<Finished, Unfinished> {
    let mut pipe = child.stderr.take().expect("stderr was piped");
    set_nonblocking(pipe.as_fd())?;
    let mut said = Vec::new();
    let mut open = true;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Unfinished::TimeLimit);
        }
        if open {
            open = read_available(&mut pipe, &mut said)?;
        }
        if let Some(status) = child.try_wait()? {
            if open {
                // A process that it left behind may keep the pipe open for ever; what is in it now is all we want.
                read_available(&mut pipe, &mut said)?;
            }
            return Ok(Finished { status, stderr: String::from_utf8_lossy(&said).trim().to_owned() });
        }
        if open {
            let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
            let wait = left.min(Duration::from_millis(20)).as_millis() as u16;
            poll(&mut fds, PollTimeout::from(wait)).map_err(io::Error::from)?;
        } else {
            std::thread::sleep(GLANCE.min(left));
        }
    }
}

fn set_nonblocking(fd: BorrowedFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Reads what is there; false at the end of the stream.
fn read_available(pipe: &mut impl Read, said: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => {
                let room = OUTPUT_LIMIT.saturating_sub(said.len());
                said.extend_from_slice(&buffer[..length.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
