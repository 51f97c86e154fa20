//! The files in which DHCP clients keep their leases. No client is asked, no program is started.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{file, trust};
use crate::core::facts::{Interface, LeaseFile};
use crate::core::lease::{self, Client, Lease};

/// More than any client writes of one lease, in bytes; of dhclient's file, which grows, the end.
const LIMIT: u64 = 64 * 1024;

/// How many names of a directory are looked at.
const NAMES: usize = 1000;

/// What the DHCP clients know of these interfaces, in the order in which it counts. `run` is where our hook for udhcpc
/// writes.
pub fn of(interfaces: &[&Interface], run: &Path) -> Vec<LeaseFile> {
    let mut found = Vec::new();
    for interface in interfaces {
        for (client, path) in files(interface, run) {
            if let Some(lease) = read(client, &interface.name, &path).transpose() {
                found.push(LeaseFile { interface: interface.name.clone(), lease });
            }
        }
    }
    found
}

/// Where there may be a lease for the interface.
fn files(interface: &Interface, run: &Path) -> Vec<(Client, PathBuf)> {
    let Interface { name, index, .. } = interface;
    let mut files = vec![
        (Client::Networkd, PathBuf::from(format!("/run/systemd/netif/leases/{index}"))),
        (Client::NetworkManager, PathBuf::from(format!("/run/NetworkManager/devices/{index}"))),
    ];
    // Before version 9, and on Red Hat's: dhcpcd5 and dhclient.
    for (client, directories) in [
        (Client::Dhcpcd, ["/var/lib/dhcpcd", "/var/lib/dhcpcd5"]),
        (Client::Dhclient, ["/var/lib/dhcp", "/var/lib/dhclient"]),
    ] {
        files.extend(newest_first(client, name, directories).into_iter().map(|path| (client, path)));
    }
    files.push((Client::Udhcpc, run.join("leases").join(name)));
    files
}

fn newest_first(client: Client, interface: &str, directories: [&str; 2]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in directories.into_iter().flat_map(fs::read_dir).flat_map(|names| names.take(NAMES)).flatten()
    {
        if entry.file_name().to_str().is_some_and(|name| lease::is_named_after(client, name, interface)) {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            files.push((changed.unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
        }
    }
    files.sort_by(|one, other| other.cmp(one));
    files.into_iter().map(|(_, path)| path).collect()
}

fn read(client: Client, interface: &str, path: &Path) -> Result<Option<Lease>, String> {
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    // It decides over root's routes. Some clients do their work as an account of their own.
    trust::refuse_if_people_can_write(path, "lease file").map_err(|refusal| refusal.to_string())?;
    let refuse = |why: String| format!("the lease file {} is not used: {why}", path.display());
    let bytes = match client {
        Client::Dhclient => file::open_foreign(path).and_then(|file| Ok(file::tail(file, LIMIT)?.0)),
        _ => file::read_foreign(path, LIMIT),
    };
    let bytes = bytes.map_err(|error| refuse(format!("it cannot be read: {error}")))?;
    Ok(lease::read(client, interface, &bytes))
}
