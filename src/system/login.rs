//! Who is at the keyboard.

use std::fs;

use super::uids;

/// What the kernel has for a process that no login led to: -1 (proc(5), loginuid).
const NO_LOGIN: u32 = u32::MAX;

/// The name of who logged in, also behind sudo and su; `None`: nobody did, as where a unit or another program runs us.
pub fn user() -> Option<String> {
    let uid = fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse().ok());
    let login: Option<u32> = uid.filter(|uid| *uid != NO_LOGIN);
    let name = login.and_then(|uid| uids::owners(uid..uid + 1).pop()).map(|(_, name)| name);
    // A kernel without auditing does not tell, and users of a directory service are not in the file; sudo(8) does.
    name.or_else(|| std::env::var("SUDO_USER").ok())
}
