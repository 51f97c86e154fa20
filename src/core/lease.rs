//! What the DHCP clients write down of their leases: the address that they were given, and the gateway beside it.
//!
//! A backup's client is often told to install no default route, and then nothing but its notes names the gateway. Each
//! client writes them in a way of its own. None of them is an interface that its authors promise to keep, so what is
//! not as expected names no gateway.
//!
//! A server may send classless routes (option 121) beside the routers (option 3). Then the routers count for nothing,
//! also where the routes hold no default (RFC 3442). Microsoft's number for the same is 249; it counts with the clients
//! that heed it, NetworkManager and dhcpcd. A default without a router (0.0.0.0) names no gateway: the clients themselves
//! make different things of it, and `gateway: none` can say it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    let (address, gateway) = match client {
        // Before version 251 they are called `ROUTES`. udhcpc writes nothing by itself; our hook writes like networkd.
        Client::Networkd | Client::Udhcpc => {
            settings(bytes, None, ["ADDRESS", "ROUTER"], ["CLASSLESS_ROUTES", "ROUTES"])?
        }
        Client::NetworkManager => settings(
            bytes,
            Some("[dhcp4]"),
            ["dhcp4.ip_address", "dhcp4.routers"],
            ["dhcp4.rfc3442_classless_static_routes", "dhcp4.ms_classless_static_routes"],
        )?,
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

/// The gateway among what a client writes as text: of the classless routes where there are any, else of the routers.
fn gateway(classless: Option<&str>, routers: Option<&str>) -> Option<Ipv4Addr> {
    match classless {
        Some(routes) => default_in_text(routes),
        None => words(routers?).next()?.parse().ok(),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ']).filter(|word| !word.is_empty())
}

/// networkd writes `0.0.0.0/0,192.0.2.17`, NetworkManager has a blank there. dhclient knows no such option, and writes
/// the octets: `0,192,0,2,17`; Red Hat's `0 192.0.2.17`; in hexadecimal with colons where dhclient.conf declares nothing.
fn default_in_text(routes: &str) -> Option<Ipv4Addr> {
    if !routes.contains('/') {
        let radix = if routes.contains(':') { 16 } else { 10 };
        let octets = words(routes).flat_map(|word| word.split(['.', ':']));
        let option: Option<Vec<u8>> = octets.map(|octet| u8::from_str_radix(octet, radix).ok()).collect();
        return default_in_option(&option?);
    }
    let mut defaults = Defaults::default();
    let mut words = words(routes);
    while let Some(destination) = words.next() {
        let destination: Ipv4Network = destination.parse().ok()?;
        let router = words.next()?.parse().ok()?;
        defaults.take(destination.prefix(), router);
    }
    defaults.router()
}

/// Who routes the default traffic by classless routes: that of the first default, else of the first half of one.
#[derive(Default)]
struct Defaults {
    whole: Option<Ipv4Addr>,
    half: Option<Ipv4Addr>,
}

impl Defaults {
    fn take(&mut self, width: u8, router: Ipv4Addr) {
        match width {
            0 => _ = self.whole.get_or_insert(router),
            1 => _ = self.half.get_or_insert(router),
            _ => {}
        }
    }

    fn router(self) -> Option<Ipv4Addr> {
        self.whole.or(self.half)
    }
}

/// Of each route the width of its destination, as many octets of that as are needed, and the router (RFC 3442).
fn default_in_option(mut routes: &[u8]) -> Option<Ipv4Addr> {
    let mut defaults = Defaults::default();
    while let [width @ 0..=32, rest @ ..] = routes {
        let (_, rest) = rest.split_at_checked(usize::from(width.div_ceil(8)))?;
        let (router, rest) = rest.split_first_chunk::<4>()?;
        defaults.take(*width, Ipv4Addr::from(*router));
        routes = rest;
    }
    defaults.router().filter(|_| routes.is_empty())
}

/// Lines of `KEY=VALUE`, in one section of the file where that is given: the address, and the gateway of the routers or
/// of the first kind of classless routes that is there.
///
/// A client that is killed while it writes leaves half a line at the end, and half an address may be an address as
/// well: only a line with its end counts. (That whole lines are missing does not happen: these clients, and the hook, put
/// a whole file in the place of the old one.)
fn settings(
    bytes: &[u8],
    section: Option<&str>,
    [address, routers]: [&str; 2],
    classless: [&str; 2],
) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (whole, _) = text.rsplit_once('\n')?;
    let of_section = whole.lines().skip_while(|line| section.is_some_and(|section| line.trim() != section));
    let lines: Vec<&str> = of_section
        .skip(usize::from(section.is_some()))
        .take_while(|line| section.is_none() || !line.starts_with('['))
        .collect();
    let value = |key: &str| lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let address = value(address)?.trim().parse().ok()?;
    Some((address, gateway(classless.into_iter().find_map(value), value(routers))?))
}

/// The server's answer itself, as it came (RFC 2131, section 2): `yiaddr`, and the options.
fn packet(bytes: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    const YIADDR: usize = 16;
    const SNAME: usize = 44;
    const FILE: usize = 108;
    const COOKIE: usize = 236;
    const ROUTER: u8 = 3;
    const OVERLOAD: u8 = 52;
    const CLASSLESS: [u8; 2] = [121, 249];
    let address = |at: &[u8]| at.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes));
    let own = address(bytes.get(YIADDR..)?)?;
    let mut options = BTreeMap::new();
    gather(bytes.get(COOKIE..)?.strip_prefix(&[99, 130, 83, 99])?, &mut options)?;
    // Where there was no room for all, they go on in fields that have no other use by now (RFC 2132, section 9.3).
    let overload = options.get(&OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
    for (flag, field) in [(1, FILE..COOKIE), (2, SNAME..FILE)] {
        if overload & flag != 0 {
            gather(&bytes[field], &mut options)?;
        }
    }
    let gateway = match CLASSLESS.iter().find_map(|option| options.get(option)) {
        Some(routes) => default_in_option(routes)?,
        None => address(options.get(&ROUTER)?)?,
    };
    Some((own, gateway))
}

/// The options of one field, up to their end. One that comes again goes on (RFC 3396).
fn gather(mut field: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) -> Option<()> {
    const PAD: u8 = 0;
    const END: u8 = 255;
    loop {
        field = match field {
            [PAD, rest @ ..] => rest,
            [END, ..] => return Some(()),
            [option, length, rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                options.entry(*option).or_default().extend(value);
                rest
            }
            _ => return None,
        }
    }
}

/// dhclient.leases(5): the file grows by a block with every lease, so the last whole one for the interface counts. What
/// is read may begin in the midst of a block.
fn last_block(bytes: &[u8], interface: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
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
fn leased(lines: &[&str], interface: &str) -> Option<Option<(Ipv4Addr, Ipv4Addr)>> {
    // Each stands on a line of its own, and ends there.
    let value = |statement: &str| {
        lines
            .iter()
            .find_map(|line| line.strip_prefix(statement)?.strip_prefix(' ')?.trim().strip_suffix(';'))
    };
    if value("interface")?.trim_matches('"') != interface {
        return None;
    }
    // Debian's dhclient.conf, Red Hat's dhclient, and what neither of them declares.
    let names = ["rfc3442-classless-static-routes", "classless-static-routes", "unknown-121"];
    let classless = names.iter().find_map(|name| value(&format!("option {name}")));
    let address = value("fixed-address").and_then(|address| address.parse().ok());
    Some(address.zip(gateway(classless, value("option routers"))))
}
