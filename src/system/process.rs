//! Child processes: no shell, absolute paths, a clean environment, a time limit on every one.

#![expect(unsafe_code, reason = "what happens between fork and exec; nowhere else in wanfo")]

use std::ffi::{CString, c_char};
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

/// Where distributions keep programs. PATH is not asked: this runs as root.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// What `run` keeps of a child's words, in bytes; the rest is thrown away.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// How long to sleep between two looks at a child that has closed its output and not yet ended.
const GLANCE: Duration = Duration::from_millis(1);

/// How long a program that somebody has open for writing is tried again, and how often. An editor or a copy
/// is done by then; and a fork elsewhere in this process may hold the file open until its exec.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);
const BUSY_BEAT: Duration = Duration::from_millis(20);

/// What is run, and what it is given.
pub struct Task<'a> {
    /// Absolute.
    pub program: &'a Path,
    pub arguments: &'a [String],
    /// All of it: nothing of ours is handed on.
    pub environment: &'a [(String, String)],
    /// What it finds on its standard input.
    pub input: &'a [u8],
    /// What of its words is heard.
    pub heard: Heard,
    pub limit: Duration,
    /// How long after the limit, from SIGTERM to SIGKILL; zero: SIGKILL at once.
    pub grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// What goes to stdout is thrown away.
    Stderr,
    /// Both, in the order in which they were written.
    StdoutAndStderr,
}

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

/// A program of the system, where it is installed.
pub fn program(name: &str) -> Option<PathBuf> {
    PLACES.into_iter().map(|place| Path::new(place).join(name)).find(|path| path.exists())
}

/// Runs a program of the system to its end. Its environment is `LC_ALL=C`, and there is nothing to read.
pub fn run(program: &Path, arguments: &[String], limit: Duration) -> Result<Finished, Unfinished> {
    run_with_input(program, arguments, &[], limit)
}

/// The same, with something to read.
pub fn run_with_input(
    program: &Path,
    arguments: &[String],
    input: &[u8],
    limit: Duration,
) -> Result<Finished, Unfinished> {
    let mut said = Vec::new();
    let environment = [("LC_ALL".to_owned(), "C".to_owned())];
    let (heard, grace) = (Heard::Stderr, Duration::ZERO);
    let task = Task { program, arguments, environment: &environment, input, heard, limit, grace };
    let status = follow(&task, &mut |bytes| {
        let room = OUTPUT_LIMIT.saturating_sub(said.len());
        said.extend_from_slice(&bytes[..bytes.len().min(room)]);
    })?;
    Ok(Finished { status, stderr: String::from_utf8_lossy(&said).trim().to_owned() })
}

/// Runs a program to its end, and hands over what it says as it comes.
///
/// It starts in `/`, in a session and process group of its own, umask 022, every signal at its default and none blocked,
/// and no open file but stdin, stdout and stderr. When its time is up the whole group is killed. What it leaves in the
/// background when it ends in time is left alone and not waited for; but nobody reads the pipe from then on.
pub fn follow(task: &Task, hear: &mut dyn FnMut(&[u8])) -> Result<ExitStatus, Unfinished> {
    let deadline = Instant::now() + task.limit;
    let mut running = start(task)?;
    match running.watch(deadline, hear) {
        Ok(Some(status)) => Ok(status),
        Ok(None) => {
            running.end(task.grace, hear);
            Err(Unfinished::TimeLimit)
        }
        Err(error) => {
            running.end(Duration::ZERO, hear);
            Err(Unfinished::Error(error))
        }
    }
}

struct Running {
    child: Pid,
    /// Once it has ended: its number may be somebody else's from then on.
    status: Option<ExitStatus>,
    pipe: PipeReader,
    /// Somebody still holds the pipe's other end.
    open: bool,
}

fn start(task: &Task) -> io::Result<Running> {
    let (pipe, writer) = io::pipe()?;
    set_nonblocking(pipe.as_fd())?;
    let image = Image::of(task)?;
    let (input, nowhere) = (input(task.input)?, OpenOptions::new().write(true).open("/dev/null")?);
    let output = match task.heard {
        Heard::Stderr => nowhere.as_fd(),
        Heard::StdoutAndStderr => writer.as_fd(),
    };
    let patience = Instant::now() + BUSY_PATIENCE.min(task.limit);
    loop {
        match spawn(&image, input.as_fd(), output, writer.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < patience => {
                sleep(BUSY_BEAT);
            }
            spawned => return Ok(Running { child: spawned?, status: None, pipe, open: true }),
        }
    }
}

fn input(bytes: &[u8]) -> io::Result<File> {
    if bytes.is_empty() {
        return File::open("/dev/null");
    }
    // A file, not a pipe: nobody has to feed it, and a program that stops reading holds up nothing.
    let mut file = File::from(memfd_create("wanfo-input", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// fork(2) and execve(2). std would do the same, panic where it cannot hear from the child, and leave that running.
fn spawn(image: &Image, input: BorrowedFd, output: BorrowedFd, errors: BorrowedFd) -> io::Result<Pid> {
    // By it the child says why it does not become the program; exec closes it.
    let (mut told, tell) = io::pipe()?;
    // SAFETY: until it becomes the program or ends, the child makes system calls and allocates nothing.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let prepared = dup2_stdin(input)
                .and_then(|()| dup2_stdout(output))
                .and_then(|()| dup2_stderr(errors))
                .and_then(|()| chdir("/"))
                .and_then(|()| reset_inherited());
            let errno = prepared.err().unwrap_or_else(|| image.execute());
            let number = (errno as i32).to_ne_bytes();
            // SAFETY: bare system calls; nothing of the parent's is run at this end.
            unsafe {
                libc::write(tell.as_raw_fd(), number.as_ptr().cast(), number.len());
                libc::_exit(127)
            }
        }
        ForkResult::Parent { child } => {
            drop(tell);
            let mut number = [0; 4];
            let why = match told.read_exact(&mut number) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(child),
                Err(error) => {
                    // It may have begun. Nobody would wait for it.
                    let _ = kill(child, Signal::SIGKILL);
                    error
                }
                Ok(()) => io::Error::from_raw_os_error(i32::from_ne_bytes(number)),
            };
            while waitpid(child, None) == Err(Errno::EINTR) {}
            Err(why)
        }
    }
}

/// In the child: takes off what it has inherited.
fn reset_inherited() -> nix::Result<()> {
    setsid()?;
    umask(Mode::from_bits_truncate(0o022));
    // What is ignored stays so over exec (signal(7)): nohup's SIGHUP, a shell's SIGINT. glibc refuses the two
    // numbers that it keeps for itself, and the kernel those of SIGKILL and SIGSTOP.
    for signal in 1..=64 {
        // SAFETY: a bare system call, and no handler of ours is lost: exec would have reset it.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // What is blocked stays so as well: a script that SIGTERM does not reach could not say its last word.
    SigSet::empty().thread_set_mask()?;
    // Our own files have O_CLOEXEC from the start, the lock among them. This is for those that whoever
    // started us left open. A kernel before 5.11 refuses; then these few go on to the child.
    // SAFETY: a bare system call; it closes nothing before exec.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    Ok(())
}

/// What execve(2) takes, laid out before the fork. Not execvp(3), which hands a file that the kernel does not know to /bin/sh.
struct Image {
    program: CString,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    _strings: Vec<CString>,
}

impl Image {
    fn of(task: &Task) -> io::Result<Image> {
        let program = CString::new(task.program.as_os_str().as_bytes())?;
        let mut strings = vec![program.clone()];
        for argument in task.arguments {
            strings.push(CString::new(argument.as_bytes())?);
        }
        for (name, value) in task.environment {
            strings.push(CString::new(format!("{name}={value}"))?);
        }
        let (arguments, environment) = strings.split_at(1 + task.arguments.len());
        let ended_by_null = |strings: &[CString]| {
            strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (ended_by_null(arguments), ended_by_null(environment));
        Ok(Image { program, arguments, environment, _strings: strings })
    }

    /// Becomes the program; returns only where that fails.
    fn execute(&self) -> Errno {
        // SAFETY: strings that end with NUL, in arrays that end with a null pointer.
        unsafe {
            libc::execve(self.program.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr());
        }
        Errno::last()
    }
}

impl Running {
    /// Waits for the child, but not for what it leaves behind; `None`: the time is up.
    fn watch(&mut self, deadline: Instant, hear: &mut dyn FnMut(&[u8])) -> io::Result<Option<ExitStatus>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.listen(hear);
            if let Some(status) = self.ended()? {
                // A process that it left behind may keep the pipe open for ever; what is in it now is all we
                // want.
                self.listen(hear);
                return Ok(Some(status));
            }
            let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
            let wait = PollTimeout::from(left.min(Duration::from_millis(20)).as_millis() as u16);
            // Where that cannot be waited for, or we were stopped and go on (EINTR), a look from time to time will do.
            if !self.open || poll(&mut fds, wait).is_err() {
                sleep(GLANCE.min(left));
            }
        }
    }

    /// How it has ended, if it has.
    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        let mut status = 0;
        // SAFETY: a bare system call, which writes into `status`.
        match unsafe { libc::waitpid(self.child.as_raw(), &raw mut status, libc::WNOHANG) } {
            0 => {}
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return Err(io::Error::last_os_error()),
            _ => self.status = Some(ExitStatus::from_raw(status)),
        }
        Ok(self.status)
    }

    /// Kills the group, politely first where there is time for it.
    fn end(&mut self, grace: Duration, hear: &mut dyn FnMut(&[u8])) {
        let group = self.child;
        if !grace.is_zero() {
            let deadline = Instant::now() + grace;
            let _ = killpg(group, Signal::SIGTERM);
            let _ = self.watch(deadline, hear);
            // The child is gone, or the time is up. Its number is nobody else's while a member of the group
            // lives.
            while killpg(group, None).is_ok() && Instant::now() < deadline {
                sleep(Duration::from_millis(10));
            }
            if killpg(group, None).is_err() {
                return;
            }
        }
        let _ = killpg(group, Signal::SIGKILL);
        while self.status.is_none() && waitpid(self.child, None) == Err(Errno::EINTR) {}
    }

    /// Reads what is there, up to the size of a full pipe (pipe(7)), so that one who writes faster than we
    /// read does not keep us from looking at the time.
    fn listen(&mut self, hear: &mut dyn FnMut(&[u8])) {
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            if !self.open {
                break;
            }
            match self.pipe.read(&mut buffer) {
                Ok(0) => self.open = false,
                Ok(length) => hear(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It goes on unheard: it may be about to change a route.
                Err(_) => self.open = false,
            }
        }
    }
}

fn set_nonblocking(fd: BorrowedFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}
