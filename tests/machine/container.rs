//! The machine in a container: the same disk and the same systemd, on this machine's kernel and at its speed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};
use std::thread::sleep;
use std::time::Duration;

use nix::unistd::geteuid;

use super::inside::DOOR;
use super::shown::Shown;
use crate::lab::before_exec;

/// The container's own, beside those of this machine, which its systemd then does not see. Goes when dropped.
pub struct Cgroup {
    place: PathBuf,
    /// Where nspawn makes the same, in a tree of version 1 beside the unified one (cgroups(7)).
    mirrors: Vec<PathBuf>,
}

impl Cgroup {
    /// # Errors
    /// Why there can be no container here.
    pub fn new() -> Result<Cgroup, String> {
        if !geteuid().is_root() {
            return Err("it takes root".to_owned());
        }
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| format!("/proc: {error}"))?;
        let name = format!("wanfo-stories-{}", id());
        // proc_pid_mounts(5): the second word is the place, the third the kind.
        let in_trees = |kind: &str| -> Vec<PathBuf> {
            let words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            words.filter(|words| words[2] == kind).map(|words| Path::new(words[1]).join(&name)).collect()
        };
        let place = in_trees("cgroup2").pop().ok_or("no unified tree of cgroups is mounted (cgroups(7))")?;
        fs::create_dir(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        Ok(Cgroup { place, mirrors: in_trees("cgroup") })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Those who were killed with the container take a moment to end.
        for _ in 0..50 {
            if is_removed(&self.place) {
                break;
            }
            sleep(Duration::from_millis(100));
        }
        for mirror in &self.mirrors {
            is_removed(mirror);
        }
    }
}

/// Those in it have to go first.
fn is_removed(cgroup: &Path) -> bool {
    let entries = fs::read_dir(cgroup).into_iter().flatten().filter_map(Result::ok);
    let inner = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    for path in inner {
        is_removed(&path);
    }
    fs::remove_dir(cgroup).is_ok()
}

/// Its network is its own, and empty; what it writes on its disk is gone with it.
pub fn command(image: &Path, cgroup: &Cgroup, shown: &Shown) -> Command {
    let Shown { source, built, program, .. } = shown;
    let unit = shown.file("stories.service");
    let text = format!("[Service]\nExecStart={program} --inside\nStandardOutput=journal+console\n");
    fs::write(&unit, text).expect("a unit");
    let bind = |path: &Path, place: &str| format!("--bind={}:{place}", path.display());

    // Whoever keeps a container may be killed, and it lives on. This one's processes end with the first of them.
    let mut nspawn = Command::new("unshare");
    nspawn.args(["--pid", "--fork", "--kill-child", "--mount-proc", "systemd-nspawn"]);
    nspawn.args([
        "--quiet",
        "--boot",
        "--register=no",
        "--keep-unit",
        "--private-network",
        "--volatile=overlay",
    ]);
    nspawn.arg(format!("--machine=wanfo-stories-{}", id()));
    nspawn.arg("--directory").arg(image.join("root"));
    nspawn.args([format!("--bind-ro={source}"), format!("--bind-ro={built}")]);
    nspawn.arg(bind(&unit, "/etc/systemd/system/stories.service"));
    nspawn.arg(bind(&shown.wire(), DOOR));
    nspawn.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
    let console = File::create(shown.console()).expect("a file");
    nspawn.stdin(Stdio::null()).stdout(console);
    let entrance = cgroup.place.join("cgroup.procs");
    before_exec(&mut nspawn, move || fs::write(&entrance, "0"));
    nspawn
}
