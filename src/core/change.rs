//! One change to the kernel, and how `ip` is told to make it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::facts::{
    Address, Assignment, Facts, Family, Interface, MAIN_TABLE, Only, Route, RouteTarget, Rule, Traits,
};

/// What the kernel makes of an IPv6 route without a metric (IP6_RT_PRIO_USER, include/net/ip6_route.h).
pub const IPV6_METRIC: u32 = 1024;

/// The metric of the `unreachable` routes that stand behind ours (0xff002000, which the kernel's page on VRF has for the same
/// purpose): far behind any other route, so that traffic tied to a link is refused, not sent out of another one, when the
/// link's own route is gone.
pub const BACKSTOP_METRIC: u32 = 4_278_198_272;

/// What of ours should be in the kernel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    pub routes: Vec<Route>,
    pub rules: Vec<Rule>,
    pub addresses: Vec<Assignment>,
    /// Addresses that were put there by wanfo and are to go.
    pub leaving: Vec<Assignment>,
}

/// One change, made by one `ip` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    SetUp(String),
    AddAddress(Assignment),
    /// It may have gone with a `DeleteAddress`; where it has not, `ip` refuses, and nothing changes. A replacement would
    /// make a DHCP client's address last for ever.
    RestoreAddress(Assignment),
    DeleteAddress(Assignment),
    AddRoute(Route),
    /// Same family, table, destination and metric: switches without a single lost packet.
    ReplaceRoute(Route),
    DeleteRoute(Route),
    AddRule(Rule),
    DeleteRule(Rule),
}

impl Route {
    pub fn family(&self) -> Family {
        Family::from(&self.destination)
    }

    /// Takes the default traffic of the family or a whole part of it, for some packets at least. Not every line's default is
    /// one route: DHCP servers (RFC 3442), router advertisements (RFC 4191) and people divide it.
    pub fn is_default(&self, family: Family) -> bool {
        default_parts(family).iter().any(|part| self.covers(*part))
    }

    /// Whether all of a network is within its destination.
    pub fn covers(&self, network: IpNetwork) -> bool {
        self.destination.prefix() <= network.prefix() && self.destination.contains(network.network())
    }

    /// What the kernel tells routes apart by: within one table, one destination and metric is one route.
    pub fn place(&self) -> (u32, IpNetwork, Option<Only>, u32) {
        (self.table, self.destination, self.only, self.metric)
    }

    pub fn leaves_by(&self, name: &str) -> bool {
        matches!(&self.target, RouteTarget::Out { interface, .. } if interface == name)
    }
}

impl Wanted {
    pub fn leave_out_ipv6(&mut self) {
        self.routes.retain(|route| route.family() == Family::V4);
        self.rules.retain(|rule| rule.family == Family::V4);
        self.addresses.retain(|assignment| assignment.address.is_ipv4());
    }
}

impl Change {
    /// What to do where a foreign one stands in the place of ours.
    pub fn cure_of_conflict(&self) -> &'static str {
        match self {
            Change::AddRule(_) | Change::DeleteRule(_) => {
                "another program's rule stands in that place: move it, or set `routing.rule_priority` in the config"
            }
            Change::AddRoute(route) | Change::ReplaceRoute(route) | Change::DeleteRoute(route) => {
                if route.table != MAIN_TABLE {
                    "another program's route stands in that place: move it, or set `routing.table` in the config"
                } else if route.destination.prefix() == 0 {
                    "another program's route stands in that place and holds the default traffic: take it out, give it a metric \
                     of 2 or more, or set `routing.override` in the config to halves"
                } else if self.moves_default_traffic(route.family()) || nat64().contains(&route.destination) {
                    "another program's route stands in that place and holds the default traffic: take it out or give it a metric of \
                     2 or more; or set `routing.override` in the config to default, and this part stays with it"
                } else {
                    "another program's route stands in that place: take it out, or the destination out of the config"
                }
            }
            Change::SetUp(_)
            | Change::AddAddress(_)
            | Change::RestoreAddress(_)
            | Change::DeleteAddress(_) => "another program's address stands in that place: take it out",
        }
    }

    /// Whether it decides over the default traffic of the family: an override route is made, changed or taken away.
    pub fn moves_default_traffic(&self, family: Family) -> bool {
        match self {
            Change::AddRoute(route) | Change::ReplaceRoute(route) | Change::DeleteRoute(route) => {
                route.table == MAIN_TABLE
                    && (route.is_default(family)
                        || family == Family::V4 && quarters().contains(&route.destination))
            }
            _ => false,
        }
    }

    /// What the kernel would show after the change.
    pub fn pretend(&self, facts: &mut Facts) {
        let in_place =
            |route: &Route, other: &Route| other.place() == route.place() && other.protocol == route.protocol;
        let Facts { routes, rules, interfaces, .. } = facts;
        let mut on_interface = |name: &str, act: &dyn Fn(&mut Interface)| {
            interfaces.iter_mut().filter(|interface| interface.is_called(name)).for_each(act);
        };
        match self {
            Change::AddRoute(route) => routes.push(route.clone()),
            Change::ReplaceRoute(route) => {
                routes.retain(|other| !in_place(route, other));
                routes.push(route.clone());
            }
            Change::DeleteRoute(route) => routes.retain(|other| other != route),
            Change::AddRule(rule) => rules.push(rule.clone()),
            Change::DeleteRule(rule) => rules.retain(|other| other != rule),
            Change::SetUp(name) => on_interface(name, &|interface| interface.up = true),
            Change::AddAddress(new) => on_interface(&new.interface, &|interface| {
                let address = Address {
                    network: new.address,
                    peer: None,
                    global: true,
                    tentative: false,
                    deprecated: false,
                };
                interface.addresses.push(address);
            }),
            Change::DeleteAddress(old) => on_interface(&old.interface, &|interface| {
                interface.addresses.retain(|own| own.network != old.address);
            }),
            Change::RestoreAddress(_) => {}
        }
    }

    /// The arguments of `ip` that make this change.
    pub fn ip_arguments(&self) -> Vec<String> {
        let address = |verb, Assignment { interface, address }: &Assignment| {
            format!("{} address {verb} {address} dev {interface}", family_flag(Family::from(address)))
        };
        let words = match self {
            Change::SetUp(interface) => format!("link set dev {interface} up"),
            Change::AddAddress(new) => address("add", new),
            Change::RestoreAddress(other) => address("add", other),
            Change::DeleteAddress(old) => address("del", old),
            Change::AddRoute(route) => format!("{} route add {}", family_flag(route.family()), route),
            Change::ReplaceRoute(route) => format!("{} route replace {}", family_flag(route.family()), route),
            Change::DeleteRoute(route) => format!("{} route del {}", family_flag(route.family()), route),
            Change::AddRule(rule) => format!("{} rule add {}", family_flag(rule.family), rule),
            Change::DeleteRule(rule) => format!("{} rule del {}", family_flag(rule.family), rule),
        };
        words.split(' ').map(str::to_owned).collect()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "ip {}", self.ip_arguments().join(" "))
    }
}

/// As `ip route` takes it; every part is named, so that a removal cannot hit a route of somebody else.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if matches!(self.target, RouteTarget::Unreachable) {
            f.write_str("unreachable ")?;
        }
        match self.destination.prefix() {
            0 => f.write_str("default")?,
            _ => write!(f, "{}", self.destination)?,
        }
        match self.only {
            Some(Only::From(from)) => write!(f, " from {from}")?,
            Some(Only::Tos(tos)) => write!(f, " tos {tos:#x}")?,
            None => {}
        }
        if let RouteTarget::Out { interface, via, onlink, traits } = &self.target {
            match via {
                Some(via) if Family::from(*via) != self.family() => write!(f, " via inet6 {via}")?,
                Some(via) => write!(f, " via {via}")?,
                None => {}
            }
            write!(f, " dev {interface}")?;
            if *onlink {
                f.write_str(" onlink")?;
            }
            write!(f, "{traits}")?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        write!(f, " proto {}", self.protocol)
    }
}

/// Each with a space before it.
impl fmt::Display for Traits {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        self.words.iter().try_for_each(|word| write!(f, " {word}"))
    }
}

/// As `ip rule` takes it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "priority {}", self.priority)?;
        match self.from {
            Some(from) => write!(f, " from {from}")?,
            None => f.write_str(" from all")?,
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some(iif) = &self.iif {
            write!(f, " iif {iif}")?;
        }
        if let Some(ipproto) = self.ipproto {
            write!(f, " ipproto {ipproto}")?;
        }
        if let Some(uid) = self.uid {
            write!(f, " uidrange {uid}-{uid}")?;
        }
        match self.table {
            MAIN_TABLE => f.write_str(" lookup main")?,
            table => write!(f, " lookup {table}")?,
        }
        if let Some(length) = self.suppress_prefix {
            write!(f, " suppress_prefixlength {length}")?;
        }
        write!(f, " protocol {}", self.protocol)?;
        if self.narrowed {
            f.write_str(" (with a mark, a port or an interface to leave by)")?;
        }
        Ok(())
    }
}

fn family_flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

pub fn plain_metric(family: Family) -> u32 {
    match family {
        Family::V4 => 0,
        Family::V6 => IPV6_METRIC,
    }
}

pub fn everything(family: Family) -> IpNetwork {
    match family {
        Family::V4 => prefix_v4(Ipv4Addr::UNSPECIFIED, 0),
        Family::V6 => prefix_v6(Ipv6Addr::UNSPECIFIED, 0),
    }
}

/// The parts of a family's default traffic: the halves of IPv4, and all of IPv6 that is in global use.
pub fn default_parts(family: Family) -> Vec<IpNetwork> {
    match family {
        Family::V4 => halves().into(),
        Family::V6 => vec![global_ipv6()],
    }
}

/// 0.0.0.0/1 and 128.0.0.0/1: both together cover everything and beat a default route of any metric.
pub fn halves() -> [IpNetwork; 2] {
    [0, 128].map(|first_octet| prefix_v4(Ipv4Addr::new(first_octet, 0, 0, 0), 1))
}

/// The halves of the halves, which beat these.
pub fn quarters() -> [IpNetwork; 4] {
    [0, 64, 128, 192].map(|first_octet| prefix_v4(Ipv4Addr::new(first_octet, 0, 0, 0), 2))
}

/// 2000::/3, all of IPv6 that is in global use (RFC 4291, section 2.4; IANA).
pub fn global_ipv6() -> IpNetwork {
    prefix_v6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), WIDE)
}

/// No default route, part of one or override of one is narrower: 2000::/3.
pub const WIDE: u8 = 3;

/// 2000::/4 and 3000::/4, its halves.
pub fn global_ipv6_halves() -> [IpNetwork; 2] {
    [0x2000, 0x3000].map(|first| prefix_v6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), 4))
}

/// What IPv4 hosts are reached by from networks without IPv4 (NAT64): 64:ff9b::/96 (RFC 6052), and 64:ff9b:1::/48 for a
/// network's own use (RFC 8215). Both lie outside 2000::/3.
pub fn nat64() -> [IpNetwork; 2] {
    [(0, 96), (1, 48)]
        .map(|(third, length)| prefix_v6(Ipv6Addr::new(0x64, 0xff9b, third, 0, 0, 0, 0, 0), length))
}

fn prefix_v4(address: Ipv4Addr, length: u8) -> IpNetwork {
    IpNetwork::V4(Ipv4Network::new_checked(address, length).expect("a length of at most 32"))
}

fn prefix_v6(address: Ipv6Addr, length: u8) -> IpNetwork {
    IpNetwork::V6(Ipv6Network::new_checked(address, length).expect("a length of at most 128"))
}
