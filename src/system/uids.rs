//! The file-system uids under which the links are probed.
//!
//! The kernel's rules tell packets apart by the file-system uid that a thread had when it made the socket (sock_alloc,
//! net/socket.c). It is the thread's own, and means nothing else to a program that opens no file (setfsuid(2)).

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Gid, Uid, setfsuid, setgroups, setresgid, setresuid};

use super::file;

/// Of /etc/passwd, in bytes.
const USERS: u64 = 1 << 20;

/// Does it as this user, or as ourselves; `None`: this thread may not be that user.
pub fn acting_as<T>(uid: Option<u32>, act: impl FnOnce() -> T) -> Option<T> {
    let Some(uid) = uid.map(Uid::from_raw) else { return Some(act()) };
    let before = setfsuid(uid);
    // It fails without a word: what it was is all that the call tells, so it is made once more (setfsuid(2), BUGS).
    let done = (setfsuid(uid) == uid).then(act);
    setfsuid(before);
    done
}

/// Becomes this user for good, with the group of the same number and no other, and runs a command in place of this process.
/// Returns where that cannot be done: why.
pub fn exec_as(uid: u32, command: &[OsString]) -> io::Error {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    let become_it = setgroups(&[])
        .and_then(|()| setresgid(group, group, group))
        .and_then(|()| setresuid(user, user, user));
    match (become_it, command) {
        (Err(errno), _) => errno.into(),
        (Ok(()), [program, arguments @ ..]) => Command::new(program).args(arguments).exec(),
        (Ok(()), []) => io::ErrorKind::InvalidInput.into(),
    }
}

/// Whether one of them cannot be taken: without CAP_SETUID, or in a user namespace that does not have that user.
pub fn cannot_take(mut uids: Range<u32>) -> bool {
    uids.any(|uid| acting_as(Some(uid), || ()).is_none())
}

/// Users of this machine among them. Those of a directory service are not looked for: it may be behind a dead line.
pub fn owners(uids: Range<u32>) -> Vec<(u32, String)> {
    let users = file::read_foreign(Path::new("/etc/passwd"), USERS).unwrap_or_default();
    let users = String::from_utf8_lossy(&users);
    // name:password:UID:... (passwd(5))
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        uids.contains(&uid).then(|| (uid, name.to_owned()))
    };
    users.lines().filter_map(of_line).collect()
}
