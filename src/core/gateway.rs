//! Where each link's traffic leaves the box: its interface, its gateways, and what stands in the way.
//!
//! Nothing here is remembered from run to run. DHCP, PPP and people change gateways under way, and a monitor that
//! goes on with the old one is worse than none.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::config::{Config, Gateway, Link, Target};
use super::facts::{
    Address, Facts, Family, Interface, MAIN_TABLE, Route, RouteTarget, is_ipv4_link_local, is_link_local,
};
use super::lease::Client;

/// What was seen, and each link as it stands in it.
#[derive(Debug, Clone)]
pub struct View {
    pub facts: Facts,
    pub links: Vec<ResolvedLink>,
}

impl View {
    pub fn of(config: &Config, facts: Facts) -> View {
        View { links: survey(config, &facts), facts }
    }
}

/// A link as it stands in this run.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedLink {
    /// Known from the config, or found by the gateway's subnet.
    pub interface: Option<String>,
    /// Whether the interface can carry traffic at all.
    pub carries: Result<(), LinkFault>,
    pub v4: Result<NextHop, LinkFault>,
    pub v6: Result<NextHop, LinkFault>,
    /// The family to complain of where both are missing: IPv6 where all its targets are of it.
    missed: Family,
}

/// The way out over a link, in one address family.
#[derive(Debug, Clone, PartialEq)]
pub struct NextHop {
    pub interface: String,
    /// Missing on a point-to-point interface.
    pub via: Option<IpAddr>,
    /// Who named the gateway.
    pub source: Option<Source>,
    /// No subnet of the interface holds the gateway; the kernel must be told that it is a neighbour all the same.
    pub onlink: bool,
    /// The interface's own addresses of this family.
    pub addresses: Vec<Address>,
}

/// Where a gateway was found. The first that knows one counts, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    Config,
    /// The interface's own, in the kernel.
    DefaultRoute,
    #[serde(untagged)]
    Lease(Client),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::Config => f.write_str("the config"),
            Source::DefaultRoute => f.write_str("the interface's default route"),
            Source::Lease(client) => write!(f, "the DHCP lease of {client}"),
        }
    }
}

/// What keeps a link from carrying traffic.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkFault {
    NoInterface(String),
    /// The link names no interface, and no interface has an address in its gateway's subnet.
    GatewayInNoSubnet(IpAddr),
    AdminDown(String),
    NoCarrier(String),
    NoAddress(Family, String),
    /// What a DHCP client gives itself that got no lease (RFC 3927).
    OnlyLinkLocal(String, IpAddr),
    NoGateway(Family, String),
    /// The kernel has no IPv6 at all.
    NoIpv6,
}

impl LinkFault {
    /// The interface cannot carry anything: there is nothing to confirm by further rounds.
    pub fn is_final(&self) -> bool {
        matches!(self, LinkFault::NoInterface(_) | LinkFault::AdminDown(_) | LinkFault::NoCarrier(_))
    }
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            LinkFault::NoInterface(name) => write!(f, "interface {name} does not exist"),
            LinkFault::GatewayInNoSubnet(gateway) => {
                write!(f, "no interface has an address in the subnet of gateway {gateway}")
            }
            LinkFault::AdminDown(name) => write!(f, "interface {name} is administratively down"),
            LinkFault::NoCarrier(name) => write!(f, "interface {name} has no carrier"),
            LinkFault::NoAddress(family, name) => write!(f, "interface {name} has no {family} address"),
            LinkFault::OnlyLinkLocal(name, address) => {
                write!(f, "interface {name} has no IPv4 address but a link-local one ({address})")
            }
            LinkFault::NoGateway(Family::V4, name) => write!(
                f,
                "no IPv4 gateway is known for {name}: it has no default route, and no DHCP lease names one"
            ),
            LinkFault::NoGateway(Family::V6, name) => {
                write!(f, "no IPv6 gateway is known for {name}: it has no default route")
            }
            LinkFault::NoIpv6 => f.write_str("this kernel has no IPv6"),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

impl ResolvedLink {
    pub fn next_hop(&self, family: Family) -> Result<&NextHop, &LinkFault> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// Why nothing can leave by this link in either family.
    pub fn fault(&self) -> Option<&LinkFault> {
        match (&self.carries, &self.v4, &self.v6) {
            (Err(fault), _, _) => Some(fault),
            (Ok(()), Err(v4), Err(v6)) => match self.missed {
                Family::V4 => Some(v4),
                Family::V6 => Some(v6),
            },
            _ => None,
        }
    }

    /// The link's own addresses, of both families.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let next_hops = [&self.v4, &self.v6].into_iter().flatten();
        next_hops.flat_map(|next_hop| &next_hop.addresses).map(|own| own.network.ip()).collect()
    }

    /// The address behind a target, where it has one just now.
    ///
    /// The word `gateway` means the IPv4 gateway, else the IPv6 one; a link-local one is no target, because ping-rs
    /// cannot name the interface (scope id) it belongs to.
    pub fn resolve(&self, target: Target) -> Option<IpAddr> {
        match target {
            Target::Address(address) => Some(address),
            Target::Gateway => {
                let gateway = |next_hop: &Result<NextHop, LinkFault>| {
                    next_hop.as_ref().ok().and_then(|next_hop| next_hop.via)
                };
                gateway(&self.v4).or_else(|| gateway(&self.v6)).filter(|address| !is_link_local(*address))
            }
        }
    }
}

impl NextHop {
    /// Whether the address is a direct neighbour: inside a subnet of the interface, or its far end.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.reaches(address))
    }

    /// Whether the whole network is: one that is wider than the subnet around its first address is not.
    pub fn holds_all(&self, network: IpNetwork) -> bool {
        let mut held = self.addresses.iter().flat_map(|own| [Some(own.network), own.peer]).flatten();
        held.any(|held| held.prefix() <= network.prefix() && held.contains(network.network()))
    }
}

/// Finds every link's interface and gateways in what was seen just now.
pub fn survey(config: &Config, facts: &Facts) -> Vec<ResolvedLink> {
    config.links.iter().map(|link| survey_link(link, config.routing.protocol, facts)).collect()
}

/// The interface that a link uses: the one it names, else the one whose subnet holds its gateway.
pub fn interface_of<'a>(link: &Link, interfaces: &'a [Interface]) -> Option<&'a Interface> {
    match (&link.interface, link.gateway) {
        (Some(name), _) => interfaces.iter().find(|interface| interface.name == *name),
        (None, Gateway::Address(gateway)) => {
            let prefix =
                |own: &Address| own.reaches(gateway).then(|| own.peer.unwrap_or(own.network).prefix());
            // The narrowest subnet: a LAN of 10.0.0.0/8 must not hide a line of 10.1.2.0/24.
            let narrowest = |interface: &&Interface| interface.addresses.iter().filter_map(prefix).max();
            interfaces.iter().filter(|interface| narrowest(interface).is_some()).max_by_key(narrowest)
        }
        (None, _) => None,
    }
}

fn survey_link(link: &Link, protocol: u8, facts: &Facts) -> ResolvedLink {
    let is_v6 = |target: &Target| matches!(target, Target::Address(IpAddr::V6(_)));
    let missed = match link.targets.is_empty() || !link.targets.iter().all(is_v6) {
        true => Family::V4,
        false => Family::V6,
    };
    let Some(interface) = interface_of(link, &facts.interfaces) else {
        let fault = match (&link.interface, link.gateway) {
            (None, Gateway::Address(gateway)) => LinkFault::GatewayInNoSubnet(gateway),
            (name, _) => LinkFault::NoInterface(name.clone().unwrap_or_default()),
        };
        let (carries, v4, v6) = (Err(fault.clone()), Err(fault.clone()), Err(fault));
        return ResolvedLink { interface: link.interface.clone(), carries, v4, v6, missed };
    };
    let name = &interface.name;
    // Carrier is asked for separately: routes may stand, and stay, over a cable that is out (`linkdown`).
    let carries = match interface {
        Interface { up: false, .. } => Err(LinkFault::AdminDown(name.clone())),
        Interface { carrier: false, .. } => Err(LinkFault::NoCarrier(name.clone())),
        _ => Ok(()),
    };
    let next_hop = |setting, family| find_next_hop(setting, family, interface, protocol, facts);
    ResolvedLink {
        interface: Some(name.clone()),
        carries,
        v4: next_hop(link.gateway, Family::V4),
        v6: if facts.without_ipv6 { Err(LinkFault::NoIpv6) } else { next_hop(link.gateway6, Family::V6) },
        missed,
    }
}

fn find_next_hop(
    setting: Gateway,
    family: Family,
    interface: &Interface,
    protocol: u8,
    facts: &Facts,
) -> Result<NextHop, LinkFault> {
    let name = interface.name.clone();
    if !interface.up {
        return Err(LinkFault::AdminDown(name));
    }
    let addresses = usable_addresses(interface, setting, family);
    // A line with delegated prefixes has its IPv6 addresses in the LAN; its gateway says that it carries IPv6.
    let no_address = addresses.is_empty();
    if no_address && family == Family::V4 {
        let mut own = interface.addresses.iter().map(|own| own.network.ip());
        return Err(match own.find(|own| is_ipv4_link_local(*own)) {
            Some(link_local) => LinkFault::OnlyLinkLocal(name, link_local),
            None => LinkFault::NoAddress(family, name),
        });
    }
    let direct = NextHop { interface: name.clone(), via: None, source: None, onlink: false, addresses };
    match setting {
        Gateway::Address(gateway) => Ok(direct.by_way_of(gateway, Source::Config)),
        // For IPv4 the admin's word is enough; `gateway6: none` on Ethernet says that the link has no IPv6.
        Gateway::None if no_address => Err(LinkFault::NoAddress(family, name)),
        Gateway::None if family == Family::V4 || interface.point_to_point => Ok(direct),
        Gateway::None => Err(LinkFault::NoGateway(family, name)),
        Gateway::Auto => match default_route_of(&name, family, protocol, &facts.routes) {
            Some((Some(gateway), onlink)) => {
                let next_hop = direct.by_way_of(gateway, Source::DefaultRoute);
                // The kernel may know a host route to the gateway; then it did not need the flag, and nor do we.
                Ok(NextHop { onlink, ..next_hop })
            }
            Some((None, _)) => Ok(direct),
            None if no_address => Err(LinkFault::NoAddress(family, name)),
            None if interface.point_to_point => Ok(direct),
            None => {
                let leases = facts.leases.iter().filter(|file| file.interface == name);
                // An IPv6 gateway comes by router advertisement, never by DHCP.
                let lease = leases.flat_map(|file| &file.lease).find(|lease| {
                    direct.addresses.iter().any(|own| own.network.ip() == IpAddr::from(lease.address))
                });
                match lease {
                    Some(lease) => Ok(direct.by_way_of(lease.gateway.into(), Source::Lease(lease.client))),
                    None => Err(LinkFault::NoGateway(family, name)),
                }
            }
        },
    }
}

/// The interface's own addresses of a family that can be used on the Internet.
fn usable_addresses(interface: &Interface, setting: Gateway, family: Family) -> Vec<Address> {
    // A tunnel's, or one that goes with the gateway that the admin names, is meant to be used.
    let is_meant = |own: &Address| match setting {
        Gateway::Address(gateway) => own.reaches(gateway),
        _ => interface.point_to_point,
    };
    let usable = |own: &&Address| {
        Family::from(&own.network) == family
            && own.global
            && !own.tentative
            && (!is_ipv4_link_local(own.network.ip()) || is_meant(own))
    };
    interface.addresses.iter().filter(usable).copied().collect()
}

/// The interfaces whose IPv4 gateway only a DHCP client can know.
pub fn in_need_of_a_lease<'a>(config: &Config, facts: &'a Facts) -> Vec<&'a Interface> {
    let links = config.links.iter().filter(|link| link.gateway == Gateway::Auto);
    let mut needy: Vec<&Interface> = Vec::new();
    for interface in links.filter_map(|link| interface_of(link, &facts.interfaces)) {
        let next_hop = find_next_hop(Gateway::Auto, Family::V4, interface, config.routing.protocol, facts);
        if matches!(next_hop, Err(LinkFault::NoGateway(..))) && !needy.contains(&interface) {
            needy.push(interface);
        }
    }
    needy
}

impl NextHop {
    fn by_way_of(self, gateway: IpAddr, source: Source) -> NextHop {
        let onlink = !self.holds(gateway) && !is_link_local(gateway);
        NextHop { via: Some(gateway), source: Some(source), onlink, ..self }
    }
}

/// Gateway and on-link flag of the interface's own default route: not one of ours, any metric, the main table first.
fn default_route_of(
    interface: &str,
    family: Family,
    protocol: u8,
    routes: &[Route],
) -> Option<(Option<IpAddr>, bool)> {
    routes
        .iter()
        .filter(|route| route.protocol != protocol && route.is_default(family))
        .filter_map(|route| match &route.target {
            RouteTarget::Out { interface: out, via, onlink } if out == interface => {
                Some((route.table != MAIN_TABLE, route.metric, (*via, *onlink)))
            }
            _ => None,
        })
        .min_by_key(|(elsewhere, metric, _)| (*elsewhere, *metric))
        .map(|(_, _, gateway)| gateway)
}

/// Targets that two links have in common just now (`gateway` on two links with the same router address): first
/// link, second link, address. The config refuses the ones that it can see.
pub fn shared_targets(config: &Config, resolved: &[ResolvedLink]) -> Vec<(usize, usize, IpAddr)> {
    let mut taken: Vec<(usize, IpAddr)> = Vec::new();
    let mut shared = Vec::new();
    for (index, (link, resolved_link)) in config.links.iter().zip(resolved).enumerate() {
        for address in link.targets.iter().filter_map(|target| resolved_link.resolve(*target)) {
            match taken.iter().find(|(_, other)| *other == address) {
                Some((first, _)) => shared.push((*first, index, address)),
                None => taken.push((index, address)),
            }
        }
    }
    shared
}
