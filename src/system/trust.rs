//! Who else could change what root is about to obey.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf, absolute};

use nix::unistd::geteuid;

/// As many symbolic links as the kernel follows on one path (path_resolution(7)).
const LINKS: u32 = 40;

/// User numbers below are daemons' (SYS_UID_MAX, login.defs(5)).
const FIRST_PERSON: u32 = 1000;

/// Mode bits (inode(7)).
const STICKY: u32 = 0o1000;
const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

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
pub fn refuse_if_others_can_write(path: &Path, what: &str) -> Result<(), String> {
    refuse_unless(&Trusted::here(1), path, what)
}

/// The same where an account of the system, as which a daemon does its work, may own a step as well as root.
///
/// # Errors
/// As above.
pub fn refuse_if_people_can_write(path: &Path, what: &str) -> Result<(), String> {
    refuse_unless(&Trusted::here(FIRST_PERSON), path, what)
}

fn refuse_unless(trusted: &Trusted, path: &Path, what: &str) -> Result<(), String> {
    let refuse = |why: String| format!("the {what} {} is not used: {why}", path.display());
    let path = absolute(path).map_err(|error| refuse(error.to_string()))?;
    // What is still to be walked, the next step last.
    let mut ahead: Vec<OsString> = steps(&path);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    trusted.judge(&here, &metadata(&here).map_err(&refuse)?).map_err(&refuse)?;
    while let Some(step) = ahead.pop() {
        if step == ".." {
            here.pop();
            continue;
        }
        here.push(step);
        let metadata = metadata(&here).map_err(&refuse)?;
        trusted.judge(&here, &metadata).map_err(&refuse)?;
        if !metadata.is_symlink() {
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(refuse(format!("{} leads round in circles", here.display())));
        }
        let target = fs::read_link(&here)
            .map_err(|error| refuse(format!("{} cannot be read: {error}", here.display())))?;
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
fn metadata(path: &Path) -> Result<Metadata, String> {
    fs::symlink_metadata(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The owners whose files may be obeyed.
struct Trusted {
    /// All with a number below this.
    below: u32,
    caller: u32,
    unmapped: Option<u32>,
}

impl Trusted {
    fn here(below: u32) -> Trusted {
        Trusted { below, caller: geteuid().as_raw(), unmapped: unmapped_owner() }
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
fn unmapped_owner() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    let mapped: u64 =
        map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum();
    if mapped >= u64::from(u32::MAX) {
        return None;
    }
    fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok()
}
