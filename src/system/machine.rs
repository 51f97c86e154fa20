//! The machine around the links, as `wanfo doctor` looks at it. No run has the time for this: programs are asked.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nix::sys::statvfs::{FsFlags, statvfs};

use super::kernel::Kernel;
use super::process::{self, Heard, Task, Unfinished};
use super::{file, iproute, ping, smtp};
use crate::core::config::{Config, Relay};
use crate::core::doctor::{Seen, Unit};
use crate::core::facts::Interface;

/// Of a file of settings, in bytes.
const SETTINGS: u64 = 64 * 1024;

/// Of a ruleset in JSON, in bytes: a few ten thousand rules.
const RULESET: usize = 8 << 20;

/// A program that needs longer will not come back.
const PATIENCE: Duration = Duration::from_secs(3);

/// The relay's name has to be looked up, and it may be far.
const RELAY: Duration = Duration::from_secs(15);

/// capabilities(7), linux/capability.h
const CAP_NET_ADMIN: u32 = 12;

/// Looks around: at what concerns these interfaces of the links, and at what the config wants.
pub fn look(config: &Config, links: &[&Interface], last_run: Option<(Duration, bool)>) -> Result<Seen> {
    let relay = config.notify.as_ref().and_then(|notify| notify.mail.as_ref()).map(|mail| &mail.relay);
    Ok(Seen {
        may_change_routes: has_net_admin(),
        without_ip: iproute::program().err(),
        cannot_ping: ping::fault(),
        no_room: [&config.paths.run, &config.paths.state]
            .into_iter()
            .filter_map(|path| no_room(path))
            .collect(),
        rules: Kernel::open()?.all_rules()?,
        forwards: number("net/ipv4/ip_forward") == Some(1),
        strict: links.iter().filter(|link| is_strict(&link.name)).map(|link| link.name.clone()).collect(),
        ruleset: ruleset(),
        resolvers: resolvers(),
        networkd: links.iter().any(|link| is_of_networkd(link)).then(|| {
            settings(
                "/etc/systemd/networkd.conf",
                ["/usr/lib", "/run", "/etc"].map(|top| format!("{top}/systemd/networkd.conf.d")),
            )
        }),
        network_manager: links.iter().any(|link| is_of_network_manager(link)).then(|| {
            let folders = ["/usr/lib", "/run", "/etc"].map(|top| format!("{top}/NetworkManager/conf.d"));
            settings("/etc/NetworkManager/NetworkManager.conf", folders)
        }),
        relay: relay.and_then(unreachable),
        // sd_booted(3)
        units: process::program("systemctl")
            .filter(|_| Path::new("/run/systemd/system").is_dir())
            .map(|systemctl| ["wanfo.timer", "wanfo-deliver.path"].map(|name| unit(&systemctl, name))),
        last_run,
    })
}

/// Why nothing can be written in a directory that is there, or is still to be made.
fn no_room(directory: &Path) -> Option<String> {
    let there = directory.ancestors().find(|path| path.exists())?;
    let disk = statvfs(there).ok()?;
    let shown = directory.display();
    if disk.flags().contains(FsFlags::ST_RDONLY) {
        return Some(format!(
            "{shown} is on a file system that is mounted read-only; mount it for writing (`findmnt -T {shown}`)"
        ));
    }
    // Where a file system counts none, as btrfs does, there is no end of them.
    let is_full = disk.blocks_available() == 0 || disk.files() > 0 && disk.files_available() == 0;
    is_full.then(|| {
        format!("the file system of {shown} is full; make room there (`df {shown}`, `df -i {shown}`)")
    })
}

fn has_net_admin() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set >> CAP_NET_ADMIN & 1 == 1)
}

/// A sysctl.
fn number(path: &str) -> Option<u32> {
    fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?.trim().parse().ok()
}

/// The larger of the two counts (ip-sysctl in the kernel's documentation).
pub fn is_strict(interface: &str) -> bool {
    ["all", interface].iter().filter_map(|name| number(&format!("net/ipv4/conf/{name}/rp_filter"))).max()
        == Some(1)
}

fn ruleset() -> Result<String, String> {
    // Its rules nft does not list.
    let legacy = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if legacy.lines().any(|table| table == "nat") {
        return Err("the rules are those of iptables-legacy".to_owned());
    }
    let nft = process::program("nft").ok_or("there is no `nft` (nftables)")?;
    let mut said = Vec::new();
    let task = Task {
        program: &nft,
        arguments: &["-j", "list", "ruleset"].map(str::to_owned),
        environment: &[("LC_ALL".to_owned(), "C".to_owned())],
        input: &[],
        heard: Heard::StdoutAndStderr,
        limit: PATIENCE,
        grace: Duration::ZERO,
    };
    let status = process::follow(&task, &mut |bytes| {
        let room = RULESET.saturating_sub(said.len());
        said.extend_from_slice(&bytes[..bytes.len().min(room)]);
    });
    let said = String::from_utf8_lossy(&said).into_owned();
    match status {
        Ok(status) if status.success() && said.len() < RULESET => Ok(said),
        Ok(status) if status.success() => Err("there are too many rules".to_owned()),
        Ok(_) => Err(format!("`nft -j list ruleset` says {}", said.lines().next().unwrap_or("nothing"))),
        Err(Unfinished::TimeLimit) => Err("`nft -j list ruleset` did not end in time".to_owned()),
        Err(Unfinished::Error(error)) => Err(format!("`nft` could not be run: {error}")),
    }
}

/// resolv.conf(5); where that names systemd-resolved on this machine, whom that asks.
fn resolvers() -> Vec<IpAddr> {
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let text: String = files.iter().map(|path| text(Path::new(path))).collect();
    text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok()).collect()
}

fn text(path: &Path) -> String {
    let bytes = file::read_foreign(path, SETTINGS).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned() + "\n"
}

fn is_of_networkd(link: &Interface) -> bool {
    let state = text(Path::new(&format!("/run/systemd/netif/links/{}", link.index)));
    state.lines().any(|line| line.strip_prefix("ADMIN_STATE=").is_some_and(|state| state != "unmanaged"))
}

fn is_of_network_manager(link: &Interface) -> bool {
    let state = text(Path::new(&format!("/run/NetworkManager/devices/{}", link.index)));
    state.lines().any(|line| line.trim() == "[device]")
        && !state.lines().any(|line| line.trim() == "managed=false")
}

/// The file, and what stands in the folders, in the order in which it counts.
fn settings(file: &str, folders: [String; 3]) -> String {
    let mut all = text(Path::new(file));
    for folder in folders {
        let mut paths: Vec<_> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|it| it == "conf"));
        paths.sort();
        all.extend(paths.iter().map(|path| text(path)));
    }
    all
}

/// Why no mail would get to its relay. A program that takes it is judged with the other files.
fn unreachable(relay: &Relay) -> Option<String> {
    let Relay::Smtp(smtp) = relay else { return None };
    let mut smtp = smtp.clone();
    // The unit alone has it (LoadCredential=, systemd.exec(5)).
    if smtp.password_credential.is_some() && std::env::var_os("CREDENTIALS_DIRECTORY").is_none() {
        smtp.username = None;
    }
    smtp::knock(&smtp, RELAY).err().map(|failure| failure.to_string())
}

fn unit(systemctl: &Path, name: &str) -> Unit {
    let says = |verb: &str| {
        let finished = process::run(systemctl, &[verb, name].map(str::to_owned), PATIENCE);
        finished.is_ok_and(|finished| finished.status.success())
    };
    Unit { enabled: says("is-enabled"), active: says("is-active") }
}
