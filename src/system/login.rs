//! Who is at the keyboard.

use std::fs;

use nix::unistd::{Uid, User};

/// What the kernel has for a process that no login led to: -1 (proc(5), loginuid).
const NO_LOGIN: u32 = u32::MAX;

/// The name of who logged in, also behind sudo and su; `None`: nobody did, as where a unit or another program runs us.
pub fn user() -> Option<String> {
    let uid = fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse().ok());
    let login = uid.filter(|uid| *uid != NO_LOGIN).and_then(|uid| User::from_uid(Uid::from_raw(uid)).ok()?);
    // A kernel without auditing does not tell; sudo(8) does.
    login.map(|user| user.name).or_else(|| std::env::var("SUDO_USER").ok())
}
