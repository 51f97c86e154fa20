//! What the DHCP clients write down of their leases: the address that they were given, and the gateway beside it.
//!
//! A backup's client is often told to install no default route, and then nothing but its notes names the gateway. Each
//! client writes them in a way of its own. None of them is an interface that its authors promise to keep, so what is
//! not as expected names no gateway.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The DHCP clients whose notes are understood, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Client {
    #[serde(rename = "systemd-networkd")]
    Networkd,
    NetworkManager,
    #[serde(rename = "dhcpcd")]
    Dhcpcd,
    #[serde(rename = "dhclient")]
    Dhclient,
    #[serde(rename = "udhcpc")]
    Udhcpc,
}

/// A lease with a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    pub client: Client,
    /// It counts only while the interface has this address.
    pub address: Ipv4Addr,
    /// The first one; clients use no other.
    pub gateway: Ipv4Addr,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Client::Networkd => "systemd-networkd",
            Client::NetworkManager => "NetworkManager",
            Client::Dhcpcd => "dhcpcd",
            Client::Dhclient => "dhclient",
            Client::Udhcpc => "udhcpc",
        })
    }
}

/// Whether a file of this name in the client's own directory may hold a lease of the interface.
pub fn is_named_after(client: Client, name: &str, interface: &str) -> bool {
    match client {
        // IF.lease, on WiFi IF-SSID.lease; before version 7 with `dhcpcd-` in front.
        Client::Dhcpcd => {
            let name = name.strip_prefix("dhcpcd-").unwrap_or(name);
            let rest = name.strip_suffix(".lease").and_then(|name| name.strip_prefix(interface));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        }
        // One for all, or one for each: dhclient.IF.leases, dhclient-IF.leases, dhclient-UUID-IF.lease.
        Client::Dhclient => {
            let name = name.strip_suffix(".leases").or(name.strip_suffix(".lease"));
            let Some(rest) = name.and_then(|name| name.strip_prefix("dhclient")) else { return false };
            rest.is_empty()
                || rest.starts_with(['.', '-'])
                    && rest.strip_suffix(interface).is_some_and(|rest| rest.ends_with(['.', '-']))
        }
        Client::Networkd | Client::NetworkManager | Client::Udhcpc => false,
    }
}

/// The lease for the interface in a file of this client's; `None`: it names no address, or no gateway.
pub fn read(client: Client, interface: &str, bytes: &[u8]) -> Option<Lease> {
    let [address, gateway] = match client {
        // udhcpc writes nothing by itself; our hook writes like networkd.
        Client::Networkd | Client::Udhcpc => pair(bytes, None, ["ADDRESS", "ROUTER"])?,
        Client::NetworkManager => pair(bytes, Some("[dhcp4]"), ["dhcp4.ip_address", "dhcp4.routers"])?,
        Client::Dhcpcd => packet(bytes)?,
        Client::Dhclient => last_block(bytes, interface)?,
    };
    let is_gateway = !gateway.is_unspecified()
        && !gateway.is_loopback()
        && !gateway.is_multicast()
        && !gateway.is_broadcast()
        && gateway != address;
    is_gateway.then_some(Lease { client, address, gateway })
}

/// Lines of `KEY=VALUE`, in one section of the file where that is given: the values of two keys.
///
/// A client that is killed while it writes leaves half a line at the end, and half an address may be an address as
/// well: only a line with its end counts.
fn pair(bytes: &[u8], section: Option<&str>, keys: [&str; 2]) -> Option<[Ipv4Addr; 2]> {
    let text = std::str::from_utf8(bytes).ok()?;
    let whole = &text[..text.rfind('\n')?];
    let of_section = whole.lines().skip_while(|line| section.is_some_and(|section| line.trim() != section));
    let lines: Vec<&str> = of_section
        .skip(usize::from(section.is_some()))
        .take_while(|line| section.is_none() || !line.starts_with('['))
        .collect();
    let value = |key| {
        let value = lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        value.split_whitespace().next()?.parse().ok()
    };
    Some([value(keys[0])?, value(keys[1])?])
}

/// The server's answer itself, as it came (RFC 2131, section 2): `yiaddr`, and the option Router (RFC 2132, section 3.5).
fn packet(bytes: &[u8]) -> Option<[Ipv4Addr; 2]> {
    const YIADDR: usize = 16;
    const COOKIE: usize = 236;
    const PAD: u8 = 0;
    const ROUTER: u8 = 3;
    const END: u8 = 255;
    let address = |at: &[u8]| at.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes));
    let own = address(bytes.get(YIADDR..)?)?;
    let mut rest = bytes.get(COOKIE..)?.strip_prefix(&[99, 130, 83, 99])?;
    loop {
        rest = match rest {
            [PAD, rest @ ..] => rest,
            [] | [END, ..] => return None,
            [option, length, rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                if *option == ROUTER {
                    return Some([own, address(value)?]);
                }
                rest
            }
            [_] => return None,
        }
    }
}

/// dhclient.leases(5): the file grows by a block with every lease, so the last whole one for the interface counts. What
/// is read may begin in the midst of a block.
fn last_block(bytes: &[u8], interface: &str) -> Option<[Ipv4Addr; 2]> {
    let text = String::from_utf8_lossy(bytes);
    let (mut last, mut block) = (None, None::<Vec<&str>>);
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        match (line.trim(), &mut block) {
            // At the beginning of a line no string goes on: dhclient writes line ends in strings as `\n`.
            ("lease {", _) => block = Some(Vec::new()),
            ("}", Some(lines)) => {
                last = leased(lines, interface).unwrap_or(last);
                block = None;
            }
            (line, Some(lines)) => lines.push(line),
            (_, None) => {}
        }
    }
    last
}

/// What one block says; the outer `None`: it is another interface's.
fn leased(lines: &[&str], interface: &str) -> Option<Option<[Ipv4Addr; 2]>> {
    let value =
        |statement| lines.iter().find_map(|line| line.strip_prefix(statement)?.trim().strip_suffix(';'));
    let address = |statement| value(statement)?.split(',').next()?.trim().parse().ok();
    let of = value("interface ")?.trim_matches('"');
    (of == interface).then(|| Some([address("fixed-address ")?, address("option routers ")?]))
}
