//! Who else could change what root is about to obey.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf, absolute};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::unistd::geteuid;

/// As many symbolic links as the kernel follows on one path (path_resolution(7)).
const LINKS: u32 = 40;

/// User numbers below are daemons' (SYS_UID_MAX, login.defs(5)).
const FIRST_PERSON: u32 = 1000;

/// Mode bits (inode(7)).
const STICKY: u32 = 0o1000;
const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Why a file is not used: a sentence with the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is not there, or others can change it. So it stays until somebody does what the sentence says.
    Standing(String),
    /// The look itself failed for a reason that may pass: no memory, no descriptor, a disk that does not answer.
    Passing(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Refusal::Standing(why) | Refusal::Passing(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    fn map(self, tell: impl FnOnce(String) -> String) -> Refusal {
        match self {
            Refusal::Standing(why) => Refusal::Standing(tell(why)),
            Refusal::Passing(why) => Refusal::Passing(tell(why)),
        }
    }

    /// By what the kernel says of a path (path_resolution(7)).
    pub fn of(error: &io::Error, why: String) -> Refusal {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(
                Errno::ENOENT
                | Errno::ENOTDIR
                | Errno::EACCES
                | Errno::ELOOP
                | Errno::ENAMETOOLONG
                | Errno::EINVAL,
            ) => Refusal::Standing(why),
            _ => Refusal::Passing(why),
        }
    }
}

/// Refuses a file that somebody besides root and the calling user can change, or replace by way of any folder
/// on the path to it, symbolic links and what they lead to included. `what` it is ("script") goes into the
/// sentence.
///
/// Owned by root or the caller, and written by its owner alone: that is asked of every step. The group may
/// not write, not even root's: who is in a group is for the user database to say, which may be on the
/// network, and the cure is one chmod. With an access list the group's bits show its mask, the most that
/// anybody named there may do (acl(5)).
///
/// The file is opened by its path after this look. What could change in between could only be changed by
/// those who were found able to, and these are trusted.
///
/// # Errors
/// A sentence with the path and the `chmod` or `chown` that cures it.
pub fn refuse_if_others_can_write(path: &Path, what: &str) -> Result<(), Refusal> {
    refuse_unless(Trusted::here(1), path, what)
}

/// The same of a file that is open already, which need not be the one that stands at its path by now. It is judged itself,
/// and then the path, whose folders are all that can be asked for.
///
/// # Errors
/// As above.
pub fn refuse_if_others_can_write_open(file: &File, path: &Path, what: &str) -> Result<(), Refusal> {
    let trusted = Trusted::here(1).and_then(|trusted| {
        let metadata = file.metadata().map_err(|error| Refusal::of(&error, error.to_string()))?;
        trusted.judge(path, &metadata).map_err(Refusal::Standing)?;
        Ok(trusted)
    });
    refuse_unless(trusted, path, what)
}

/// The same where an account of the system, as which a daemon does its work, may own a step as well as root.
///
/// # Errors
/// As above.
pub fn refuse_if_people_can_write(path: &Path, what: &str) -> Result<(), Refusal> {
    refuse_unless(Trusted::here(FIRST_PERSON), path, what)
}

fn refuse_unless(trusted: Result<Trusted, Refusal>, path: &Path, what: &str) -> Result<(), Refusal> {
    let walked = trusted.and_then(|trusted| walk(&trusted, path));
    walked.map_err(|why| why.map(|why| format!("the {what} {} is not used: {why}", path.display())))
}

/// Judges every step of the path.
fn walk(trusted: &Trusted, path: &Path) -> Result<(), Refusal> {
    let path = absolute(path).map_err(|error| Refusal::of(&error, error.to_string()))?;
    let judge = |here: &Path| {
        let metadata = metadata(here)?;
        trusted.judge(here, &metadata).map_err(Refusal::Standing)?;
        Ok(metadata)
    };
    // What is still to be walked, the next step last.
    let mut ahead: Vec<OsString> = steps(&path);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    judge(&here)?;
    while let Some(step) = ahead.pop() {
        if step == ".." {
            here.pop();
            continue;
        }
        here.push(step);
        if !judge(&here)?.is_symlink() {
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(Refusal::Standing(format!("{} leads round in circles", here.display())));
        }
        let target = fs::read_link(&here)
            .map_err(|error| Refusal::of(&error, format!("{} cannot be read: {error}", here.display())))?;
        // /dev/stdin and the like lead to a pipe that has no name: whoever started us holds it
        // (proc_pid_fd(5)).
        if here.starts_with("/proc") && target.to_string_lossy().starts_with("pipe:[") {
            return Ok(());
        }
        here = if target.is_absolute() { PathBuf::from("/") } else { parent(&here) };
        ahead.extend(steps(&target));
    }
    Ok(())
}

fn steps(path: &Path) -> Vec<OsString> {
    let named = path.components().filter(|step| matches!(step, Component::Normal(_) | Component::ParentDir));
    named.rev().map(|step| step.as_os_str().to_owned()).collect()
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

/// Of the thing itself, not of what a link leads to.
fn metadata(path: &Path) -> Result<Metadata, Refusal> {
    fs::symlink_metadata(path).map_err(|error| Refusal::of(&error, format!("{}: {error}", path.display())))
}

/// The owners whose files may be obeyed.
struct Trusted {
    /// All with a number below this.
    below: u32,
    caller: u32,
    unmapped: Option<u32>,
}

impl Trusted {
    fn here(below: u32) -> Result<Trusted, Refusal> {
        Ok(Trusted { below, caller: geteuid().as_raw(), unmapped: unmapped_owner()? })
    }

    /// Whether others can change this step of a path.
    fn judge(&self, path: &Path, metadata: &Metadata) -> Result<(), String> {
        let shown = path.display();
        let owner = metadata.uid();
        if owner >= self.below && owner != self.caller && Some(owner) != self.unmapped {
            let chown = if metadata.is_symlink() { "chown -h" } else { "chown" };
            // Who takes a folder away from somebody, his home say, does harm elsewhere.
            let rather = if metadata.is_dir() {
                "put the file into a folder of root's such as /etc/wanfo, or "
            } else {
                ""
            };
            return Err(format!("{shown} belongs to user {owner}; {rather}run `{chown} root {shown}`"));
        }
        let mode = metadata.mode();
        // A link has no mode of its own. In a sticky folder, as /tmp, nobody can replace what is not his, and
        // the owner of what comes next is asked for as well.
        if metadata.is_symlink() || metadata.is_dir() && mode & STICKY != 0 {
            return Ok(());
        }
        let (who, chmod) = match (mode & GROUP_WRITE != 0, mode & OTHERS_WRITE != 0) {
            (false, false) => return Ok(()),
            (true, false) => (format!("group {}", metadata.gid()), "g-w"),
            (false, true) => ("everybody".to_owned(), "o-w"),
            (true, true) => ("everybody".to_owned(), "go-w"),
        };
        Err(format!("{who} can write {shown} (mode {:04o}); run `chmod {chmod} {shown}`", mode & 0o7777))
    }
}

/// The owner that files of users outside this user namespace appear to have, where it does not map everybody
/// (user_namespaces(7)): root outside is shown so too and cannot be told from others, so the owner says
/// nothing here. The modes are asked all the same.
fn unmapped_owner() -> Result<Option<u32>, Refusal> {
    // A map is written once.
    static KNOWN: OnceLock<Option<u32>> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let map = told_in("/proc/self/uid_map")?.unwrap_or_default();
    let mapped: u64 =
        map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum();
    let owner = match mapped {
        // There is no such file, or it maps everybody.
        0 | 0xffff_ffff.. => None,
        _ => told_in("/proc/sys/kernel/overflowuid")?.and_then(|owner| owner.trim().parse().ok()),
    };
    Ok(*KNOWN.get_or_init(|| owner))
}

/// `None` where there is no such file, as in a chroot without /proc.
fn told_in(path: &str) -> Result<Option<String>, Refusal> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) => match Refusal::of(&error, format!("{path} cannot be read: {error}")) {
            Refusal::Standing(_) => Ok(None),
            passing @ Refusal::Passing(_) => Err(passing),
        },
    }
}
