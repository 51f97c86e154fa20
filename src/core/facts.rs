//! What was seen in one run: the kernel's interfaces, the routes and rules that matter to us, and DHCP leases.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::lease::Lease;

/// Everything that was asked for. A recording has what tells where a link's traffic would leave, and how it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub interfaces: Vec<Interface>,
    /// Every route of our protocol number in any table, and the foreign routes out of the links' interfaces and in the
    /// links' own tables (local, broadcast, multicast and anycast routes left out; of thousands out of one interface the
    /// first). Foreign default routes over other interfaces are among them only where they matter.
    pub routes: Vec<Route>,
    /// Gateways on the links' interfaces that do not answer the kernel (NUD_INCOMPLETE, NUD_FAILED). Looked for only where
    /// there is another to choose.
    pub silent_gateways: Vec<(String, IpAddr)>,
    /// Every rule of our protocol number, and the foreign ones that have our priority, look up a link's own table or the main
    /// one for what is narrow, or lead to a default route out of a link's interface. In the kernel's order: of two with the same priority the first one counts.
    #[serde(skip)]
    pub rules: Vec<Rule>,
    /// Of the interfaces whose gateway the kernel does not know, in the order in which they count.
    pub leases: Vec<LeaseFile>,
    /// The kernel was built without IPv6, or started with `ipv6.disable=1`.
    pub without_ipv6: bool,
    /// Some of it is not there, and would be (a dry run).
    #[serde(skip)]
    pub pretended: bool,
    /// The program that deletes flows is not installed. Looked for only where it is wanted.
    #[serde(skip)]
    pub without_conntrack: bool,
    /// The files that the config names and that are of no use as they are.
    #[serde(skip)]
    pub files: Vec<BadFile>,
    /// A thread of ours cannot take the links' uids: it has no CAP_SETUID, or this user namespace has no such users.
    pub cannot_take_uids: bool,
    /// Users of this machine that have the uid of a link: number and name.
    #[serde(skip)]
    pub owned_uids: Vec<(u32, String)>,
    /// Whether scripts run inside the sandbox of wanfo.service; `None`: a run by hand, which cannot tell.
    #[serde(skip)]
    pub sandboxed: Option<bool>,
}

/// A file that cannot do what the config has it for.
#[derive(Debug, Clone, PartialEq)]
pub struct BadFile {
    pub purpose: Purpose,
    /// The sentence that says what to do.
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    ActionScript,
    ExitScript,
    LinkScript,
    /// Getting mail to its relay.
    Mail,
    Webhook,
}

/// What was found in a file of a DHCP client's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaseFile {
    pub interface: String,
    /// An error is the sentence that says why the file is not used.
    pub lease: Result<Lease, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    /// Other names of it (`ip link property add dev DEV altname NAME`).
    pub altnames: Vec<String>,
    pub index: u32,
    /// Administratively up (IFF_UP, netdevice(7)).
    pub up: bool,
    /// Carrier is there (IFF_LOWER_UP, netdevice(7)).
    pub carrier: bool,
    /// IFF_POINTOPOINT: ppp, tun, wireguard.
    pub point_to_point: bool,
    pub addresses: Vec<Address>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Address {
    /// The interface's own address with the length of its subnet's prefix.
    pub network: IpNetwork,
    /// The far end's address on a point-to-point interface.
    pub peer: Option<IpNetwork>,
    /// RT_SCOPE_UNIVERSE: neither link-local nor host.
    pub global: bool,
    /// IPv6: duplicate address detection has not ended well yet; the kernel does not send from it.
    pub tentative: bool,
    /// IPv6: its preferred lifetime is over; the kernel sends from it where it has no other, even another interface's.
    #[serde(default)]
    pub deprecated: bool,
}

/// An address and the interface that it is on, or should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub interface: String,
    /// The interface's own address with the length of its subnet's prefix.
    pub address: IpNetwork,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

/// A route, seen or wanted. A multipath route is seen as one `Route` per next hop.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    pub table: u32,
    pub destination: IpNetwork,
    pub only: Option<Only>,
    pub target: RouteTarget,
    /// IPv4: 0 unless said otherwise; IPv6: the kernel says 1024 where nothing was said.
    pub metric: u32,
    /// Who made it (RTPROT_*, rtnetlink(7)).
    pub protocol: u8,
    /// What the router says of itself where there are others (RFC 4191). Ours say nothing.
    pub preference: Preference,
}

/// What narrows a route to some of the packets to its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Only {
    /// RTA_SRC, which IPv6 alone knows: packets from there.
    From(IpNetwork),
    /// IPv4: packets with this type of service. Never ours.
    Tos(u8),
}

/// From the best to the worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Preference {
    High,
    #[default]
    Medium,
    Low,
}

/// What a route says besides where it leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Traits {
    /// RTA_PREFSRC: the address that this host sends from.
    pub source: Option<IpAddr>,
    /// The rest, as `ip route` prints and takes it: `mtu 1400`, `initcwnd lock 20`.
    pub words: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RouteTarget {
    /// Out of an interface, by way of a gateway where there is one.
    Out {
        interface: String,
        via: Option<IpAddr>,
        /// RTNH_F_ONLINK: the gateway is reachable though no subnet of the interface holds it.
        onlink: bool,
        traits: Traits,
    },
    Unreachable,
    /// blackhole, prohibit, throw: never ours.
    Other,
}

/// A policy rule, seen or wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    pub family: Family,
    pub priority: u32,
    pub from: Option<IpNetwork>,
    pub to: Option<IpNetwork>,
    pub iif: Option<String>,
    /// An IP protocol number (RFC 5237 registry): 1 ICMP, 58 ICMPv6.
    pub ipproto: Option<u8>,
    /// The one user whose packets it is about (`uidrange U-U`).
    pub uid: Option<u32>,
    /// What the table has for a network as wide as this, or wider, is not taken (`suppress_prefixlength`).
    pub suppress_prefix: Option<u32>,
    /// 0 where it looks up none.
    pub table: u32,
    pub protocol: u8,
    /// Something that no rule of ours has narrows it: a mark, a port, an interface to leave by. Never ours.
    pub narrowed: bool,
}

/// The one whose hosts do not understand this one.
pub fn other_than(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

/// The main routing table (RT_TABLE_MAIN, rtnetlink(7)).
pub const MAIN_TABLE: u32 = 254;

/// Of the rule for the main table (fib_default_rules_init, net/ipv4/fib_rules.c).
pub const MAIN_PRIORITY: u32 = 32766;

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

impl From<&IpNetwork> for Family {
    fn from(network: &IpNetwork) -> Self {
        Family::from(network.network())
    }
}

impl Address {
    /// Whether the other address is a direct neighbour: in the same subnet, or the far end.
    pub fn reaches(&self, other: IpAddr) -> bool {
        self.network.contains(other) || self.peer.is_some_and(|peer| peer.contains(other))
    }
}

impl Interface {
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.altnames.iter().any(|altname| altname == name)
    }
}

impl Rule {
    /// About every packet of the family, ahead of all others.
    pub fn of_all(family: Family, table: u32, protocol: u8) -> Rule {
        Rule {
            family,
            priority: 0,
            from: None,
            to: None,
            iif: None,
            ipproto: None,
            uid: None,
            suppress_prefix: None,
            table,
            protocol,
            narrowed: false,
        }
    }
}

impl Facts {
    /// Those that the kernel has.
    pub fn families(&self) -> impl Iterator<Item = Family> + use<> {
        [Family::V4, Family::V6].into_iter().take(if self.without_ipv6 { 1 } else { 2 })
    }

    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.is_called(name))
    }
}

/// Whether an address means nothing without the interface beside it (fe80::/10, RFC 4291, section 2.5.6).
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Whether it is one of those that hosts give themselves where nobody else gives them one (169.254/16, RFC 3927).
pub fn is_ipv4_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_link_local())
}

/// Whether it is one that no provider routes (fc00::/7, RFC 4193).
pub fn is_unique_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unique_local())
}
