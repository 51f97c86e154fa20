//! Directories of a mount namespace's own, at paths that the machine may have, or lack.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};

/// Has this mount namespace see an empty directory of its own at this path. Nothing is made on the machine: where it
/// lacks directories on the way, the last one that it has is shown again with them added.
pub(super) fn empty(path: &Path) -> io::Result<()> {
    let there = path.ancestors().find(|path| path.is_dir()).unwrap_or(path);
    if there != path {
        show_again(there)?;
        fs::create_dir_all(path)?;
    }
    mount_tmpfs(path)
}

fn mount_tmpfs(path: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("mode=755"))?)
}

/// No overlay: in a user namespace the machine's own directories take nothing new in one.
fn show_again(path: &Path) -> io::Result<()> {
    if path.parent().is_none() {
        return Err(io::Error::other("the root directory cannot be covered"));
    }
    // What is covered can still be reached through it.
    let below = File::open(path)?;
    mount_tmpfs(path)?;
    for entry in fs::read_dir(format!("/proc/self/fd/{}", below.as_raw_fd()))? {
        let entry = entry?;
        let (below, above) = (entry.path(), path.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(below)?, above)?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&above)?;
        } else {
            File::create(&above)?;
        }
        mount(Some(&below), &above, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    }
    Ok(())
}
