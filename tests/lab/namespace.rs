//! A network namespace without a name: it lives as long as a file descriptor of this process.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid, gettid};

use super::files;

/// One host of the lab. Every failure panics with the namespace's name and what was tried in it.
#[derive(Clone)]
pub struct Namespace {
    name: String,
    handle: Arc<OwnedFd>,
    /// Its mount namespace, where it has one of its own.
    files: Option<Arc<OwnedFd>>,
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
        let namespace = Namespace { name: name.to_owned(), handle: Arc::new(handle.into()), files: None };
        namespace.ip("link set lo up");
        namespace
    }

    /// The machine itself, network and files, where it was made for the test.
    pub fn of_the_machine() -> Namespace {
        let [handle, files] = ["net", "mnt"].map(|kind| {
            let path = format!("/proc/self/ns/{kind}");
            let file = File::open(&path).unwrap_or_else(|error| panic!("cannot open {path}: {error}"));
            Arc::new(file.into())
        });
        Namespace { name: "machine".to_owned(), handle, files: Some(files) }
    }

    /// The same with files of its own, gone with it: /run and /var/lib are empty, /etc is a copy of the machine's,
    /// and /sys shows its own interfaces (read-only). What runs in here by `command` and `run` sees them, so that
    /// programs with fixed paths, each on its host, do not get into each other's way.
    pub fn with_files(name: &str) -> Namespace {
        let namespace = Namespace::new(name);
        let files = namespace.run(|| -> io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNS)?;
            for place in ["/run", "/var/lib"] {
                files::empty(Path::new(place))?;
            }
            // No overlay: in a user namespace the machine's own files stay read-only in one. What cannot be read there
            // (shadow) is left out.
            Command::new("cp").args(["-r", "/etc", "/run/.etc"]).stderr(Stdio::null()).status()?;
            // On many machines a link into the /run that is hidden now, through which no DHCP client can write.
            let _ = fs::remove_file("/run/.etc/resolv.conf");
            fs::write("/run/.etc/resolv.conf", "")?;
            mount(Some("/run/.etc"), "/etc", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            // Where it is refused, the machine's stays, and shows no interface of the lab.
            let _ = mount_own_sys();
            File::open("/proc/thread-self/ns/mnt")
        });
        let files = files.unwrap_or_else(|error| panic!("cannot make files of its own for {name}: {error}"));
        Namespace { files: Some(Arc::new(files.into())), ..namespace }
    }

    pub fn has_files(&self) -> bool {
        self.files.is_some()
    }

    /// Has an empty directory at this path, whether the machine has one there or not; where there are files of its own.
    pub fn empty(&self, path: impl AsRef<Path>) {
        assert!(self.has_files(), "{} shares the files of others", self.name);
        let path = path.as_ref();
        let emptied = self.run(|| files::empty(path));
        emptied.unwrap_or_else(|error| panic!("{}: cannot empty {}: {error}", self.name, path.display()));
    }

    /// Writes a file in here, and the directories above it.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) {
        let path = path.as_ref();
        let written = self.run(|| {
            fs::create_dir_all(path.parent().expect("an absolute path"))?;
            fs::write(path, text)
        });
        written.unwrap_or_else(|error| panic!("{}: cannot write {}: {error}", self.name, path.display()));
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
        let (handle, files) = (Arc::clone(&self.handle), self.files.clone());
        let enter = move || {
            setns(&*handle, CloneFlags::CLONE_NEWNET)?;
            match &files {
                Some(files) => setns(&**files, CloneFlags::CLONE_NEWNS),
                None => Ok(()),
            }
        };
        before_exec(&mut command, enter);
        command
    }

    /// Runs `ip` with these words, split at spaces, and gives what it printed. Words of IPv6 are left out on a kernel that
    /// has none.
    pub fn ip(&self, words: &str) -> String {
        if words.contains("::") && !has_ipv6() {
            return String::new();
        }
        let output = self.command("ip").args(words.split_whitespace()).output();
        let output =
            output.unwrap_or_else(|error| panic!("{}: `ip {words}` did not start: {error}", self.name));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: `ip {words}` failed: {}", self.name, stderr.trim());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `ip` once for all these lines of words; the first that fails is the last.
    pub fn ip_all(&self, lines: impl IntoIterator<Item = String>) {
        let lines: String = lines
            .into_iter()
            .filter(|words| has_ipv6() || !words.contains("::"))
            .map(|words| words + "\n")
            .collect();
        let mut command = self.command("ip");
        let spawned = command.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut ip = spawned.unwrap_or_else(|error| panic!("{}: `ip` did not start: {error}", self.name));
        let given = ip.stdin.take().expect("a pipe").write_all(lines.as_bytes());
        let output = ip.wait_with_output().expect("`ip` ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: `ip` failed: {}, in:\n{lines}", self.name, stderr.trim());
        given.unwrap_or_else(|error| panic!("{}: `ip` reads nothing: {error}", self.name));
    }

    /// Sets one sysctl of this namespace, for example `net.ipv4.ip_forward`. Those of IPv6 are left out as in `ip`.
    pub fn sysctl(&self, key: &str, value: &str) {
        if key.starts_with("net.ipv6.") && !has_ipv6() {
            return;
        }
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        // /proc/sys/net shows the namespace of whoever opens the file.
        let written = self.run(|| fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("{}: cannot set {key} to {value}: {error}", self.name));
    }

    /// Runs the closure on a thread in here. A socket opened in it stays in here wherever it is used later.
    pub fn run<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> T {
        let work = || {
            let mut moved = setns(&*self.handle, CloneFlags::CLONE_NEWNET);
            if let Some(files) = &self.files {
                // A thread that shares its working directory with others may not change its files (setns(2)).
                moved = moved
                    .and_then(|()| unshare(CloneFlags::CLONE_FS))
                    .and_then(|()| setns(&**files, CloneFlags::CLONE_NEWNS));
            }
            moved.unwrap_or_else(|error| panic!("cannot enter the namespaces of {}: {error}", self.name));
            closure()
        };
        thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Not so where it was started with `ipv6.disable=1`.
pub(super) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Has the child do something between fork and exec, where only bare system calls are allowed: nothing that takes memory or
/// a lock.
pub fn before_exec<E: Into<io::Error>>(
    command: &mut Command,
    mut act: impl FnMut() -> Result<(), E> + Send + Sync + 'static,
) {
    // SAFETY: who calls this has read the sentence above.
    #[expect(unsafe_code, reason = "there is no other way into a child")]
    unsafe {
        command.pre_exec(move || act().map_err(E::into))
    };
}

/// Has the kernel kill the program when the thread that started it ends, so that nothing outlives the lab.
pub fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let arm = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // A parent that was gone before the line above sends no signal any more.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH) }
    };
    before_exec(command, arm);
}

/// A time namespace (time_namespaces(7)) in which the machine was started so much earlier.
pub(super) fn time_ahead(by: Duration) -> OwnedFd {
    let make = move || -> io::Result<File> {
        unshare(CloneFlags::from_bits_retain(libc::CLONE_NEWTIME))?;
        // Not /proc/self: see `Namespace::new`.
        fs::write(format!("/proc/{}/timens_offsets", gettid()), format!("boottime {} 0\n", by.as_secs()))?;
        File::open("/proc/thread-self/ns/time_for_children")
    };
    let made = thread::spawn(make).join().unwrap();
    made.unwrap_or_else(|error| panic!("cannot put the clock {by:?} forward: {error}")).into()
}

/// Runs the program, of `Namespace::command`, in a time namespace of `time_ahead`.
pub(super) fn with_clock(command: &mut Command, clock: Arc<OwnedFd>) {
    before_exec(command, move || setns(&*clock, CloneFlags::from_bits_retain(libc::CLONE_NEWTIME)));
}

/// Gives the program, of `Namespace::command`, a /sys that shows its own namespace's interfaces, as `ip netns exec` does.
/// Where the kernel lets nobody mount one, as in some containers, it keeps the machine's: no interface of the lab is
/// in there.
pub(super) fn with_own_sys(command: &mut Command) {
    before_exec(command, || -> nix::Result<()> {
        let _ = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| mount_own_sys());
        Ok(())
    });
}

/// A bare system call, fit for a child between fork and exec: its strings need no memory.
fn mount_own_sys() -> nix::Result<()> {
    // Not less than what the machine's own /sys forbids, or a user namespace may not mount one (mount_namespaces(7)).
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(c"sysfs"), c"/sys", Some(c"sysfs"), flags, None::<&CStr>)
}

/// PATH, and the directories of the admin's tools, which many distributions keep out of a user's PATH.
pub(super) fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
