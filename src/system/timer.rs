//! Whether systemd starts the checks. It is not asked: the links that `systemctl enable` makes are looked at.

use std::fs;
use std::path::{Path, PathBuf};

/// Where units are enabled: by the admin, and until the next boot (systemd.unit(5)).
pub const FOLDERS: [&str; 2] = ["/etc/systemd/system", "/run/systemd/system"];

/// The link by which wanfo.timer is enabled.
pub fn enabled_in<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Option<PathBuf> {
    let entries = folders.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let wants =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "wants"));
    wants.map(|folder| folder.join("wanfo.timer")).find(|link| fs::symlink_metadata(link).is_ok())
}
