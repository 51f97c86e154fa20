//! A network namespace without a name: it lives as long as a file descriptor of this process.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// One host of the lab. Every failure panics with the namespace's name and what was tried in it.
pub struct Namespace {
    name: String,
    handle: Arc<OwnedFd>,
}

impl Namespace {
    /// A fresh namespace in which only `lo` is there, and up. `name` is for messages only.
    pub fn new(name: &str) -> Namespace {
        let handle = thread::spawn(|| -> io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            // Not /proc/self: that is the main thread, which stays where it was (namespaces(7)).
            File::open("/proc/thread-self/ns/net")
        })
        .join()
        .unwrap()
        .unwrap_or_else(|error| panic!("cannot make the network namespace of {name}: {error}"));
        let namespace = Namespace { name: name.to_owned(), handle: Arc::new(handle.into()) };
        namespace.ip("link set lo up");
        namespace
    }

    /// What `ip link ... netns` takes to move an end of a veth pair here; good while this value lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", getpid(), self.handle.as_raw_fd())
    }

    /// A program to be run in here. It is killed when the thread that started it ends.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", search_path());
        die_with_parent(&mut command);
        let handle = Arc::clone(&self.handle);
        // SAFETY: between fork and exec calls must be async-signal-safe; setns is a bare system call.
        unsafe { command.pre_exec(move || Ok(setns(&*handle, CloneFlags::CLONE_NEWNET)?)) };
        command
    }

    /// Runs `ip` with these words, split at spaces, and gives what it printed.
    pub fn ip(&self, words: &str) -> String {
        let output = self.command("ip").args(words.split_whitespace()).output();
        let output =
            output.unwrap_or_else(|error| panic!("{}: `ip {words}` did not start: {error}", self.name));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: `ip {words}` failed: {}", self.name, stderr.trim());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Sets one sysctl of this namespace, for example `net.ipv4.ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        // /proc/sys/net shows the namespace of whoever opens the file.
        let written = self.run(|| fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("{}: cannot set {key} to {value}: {error}", self.name));
    }

    /// Runs the closure on a thread in here. A socket opened in it stays in here wherever it is used later.
    pub fn run<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> T {
        let work = || {
            let moved = setns(&*self.handle, CloneFlags::CLONE_NEWNET);
            moved.unwrap_or_else(|error| {
                panic!("cannot enter the network namespace of {}: {error}", self.name)
            });
            closure()
        };
        thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Has the kernel kill the program when the thread that started it ends, so that nothing outlives the lab.
pub fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let arm = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // A parent that was gone before the line above sends no signal any more.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are bare system calls.
    unsafe { command.pre_exec(arm) };
}

/// Gives the program, of `Namespace::command`, a /sys that shows its own namespace's interfaces, as `ip netns exec` does.
/// Where the kernel lets nobody mount one, as in some containers, it keeps the machine's: no interface of the lab is
/// in there.
pub(super) fn with_own_sys(command: &mut Command) {
    let mount_sys = || {
        // Not less than what the machine's own /sys forbids, or a user namespace may not mount one
        // (mount_namespaces(7)).
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let _ = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(Some(c"sysfs"), c"/sys", Some(c"sysfs"), flags, None::<&CStr>));
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are bare system calls, and their
    // strings need no memory.
    unsafe { command.pre_exec(mount_sys) };
}

/// PATH, and the directories of the admin's tools, which many distributions keep out of a user's PATH.
pub(super) fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
