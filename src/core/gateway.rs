//! Where each link's traffic leaves the box: its interface, its gateways, and what stands in the way.
//!
//! Nothing here is remembered from run to run. DHCP, PPP and people change gateways under way, and a monitor that
//! goes on with the old one is worse than none.

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::config::{Config, Gateway, Link, Target};
use super::facts::{
    Address, Facts, Family, Interface, MAIN_TABLE, Only, Route, RouteTarget, Traits, is_ipv4_link_local,
    is_link_local, is_unique_local,
};
use super::lease::{Client, Lease};

/// How long the prefix is, at most, that a provider delegates to a home (RIPE-690): what has it in common is one delegation.
const LIKELY_DELEGATION: u8 = 56;

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
    /// Those of the interface's own default route by this gateway.
    pub traits: Traits,
    /// What our routes name as the source where that default route names none, and the kernel might take another line's. It may
    /// be the LAN's, and is not the line's for anything else.
    pub named_source: Option<IpAddr>,
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
    /// IPv6 for within the house (RFC 4193).
    OnlyUniqueLocal(String, IpAddr),
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
            LinkFault::OnlyUniqueLocal(name, address) => {
                write!(f, "interface {name} has no IPv6 address but a unique local one ({address})")
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
        let mut addresses: Vec<IpAddr> = Vec::new();
        for next_hop in [&self.v4, &self.v6].into_iter().flatten() {
            addresses.extend(next_hop.addresses.iter().map(|own| own.network.ip()));
            // It may stand on another interface.
            addresses.extend(next_hop.traits.source.filter(|source| !addresses.contains(source)));
        }
        addresses
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

    /// The addresses that the kernel sends from by this way: the one that the link's default route names, else the first
    /// in the gateway's subnet and, toward a neighbour, the first of all (inet_select_addr, net/ipv4/devinet.c). For IPv6 it
    /// may be any (RFC 6724).
    pub fn sources(&self) -> Vec<IpAddr> {
        if let Some(source) = self.traits.source {
            return vec![source];
        }
        if self.addresses.iter().all(|own| own.network.is_ipv6()) {
            return self.addresses.iter().map(|own| own.network.ip()).collect();
        }
        let beside_gateway =
            self.addresses.iter().find(|own| self.via.is_some_and(|gateway| own.reaches(gateway)));
        let mut sources: Vec<IpAddr> =
            self.addresses.first().into_iter().chain(beside_gateway).map(|own| own.network.ip()).collect();
        sources.dedup();
        sources
    }

    /// Whether the whole network is: one that is wider than the subnet around its first address is not.
    pub fn holds_all(&self, network: IpNetwork) -> bool {
        let mut held = self.addresses.iter().flat_map(|own| [Some(own.network), own.peer]).flatten();
        held.any(|held| held.prefix() <= network.prefix() && held.contains(network.network()))
    }
}

/// Finds every link's interface and gateways in what was seen just now.
pub fn survey(config: &Config, facts: &Facts) -> Vec<ResolvedLink> {
    let links = config.links.iter().map(|link| survey_link(link, config.routing.protocol, facts));
    let mut links: Vec<ResolvedLink> = links.collect();
    for index in 0..links.len() {
        let source = source_to_name(index, &links, facts);
        if let Ok(next_hop) = &mut links[index].v6 {
            next_hop.named_source = source;
        }
    }
    links
}

/// The IPv6 source that the routes of a link have to name, since the kernel by itself may take the other line's, which this
/// one's provider drops: it prefers any address to a deprecated one (RFC 6724, rule 3, before rule 5), and where the interface has
/// none, as with a delegated prefix, it knows of no difference. Without another line there is nothing to mistake.
fn source_to_name(index: usize, links: &[ResolvedLink], facts: &Facts) -> Option<IpAddr> {
    let way = |link: &ResolvedLink| link.v6.clone().ok();
    let next_hop = way(&links[index]).filter(|next_hop| next_hop.traits.source.is_none())?;
    if next_hop.addresses.iter().any(|own| !own.deprecated) {
        return None;
    }
    let others = links.iter().enumerate().filter(|(other, _)| *other != index);
    let others: Vec<NextHop> = others.filter_map(|(_, link)| way(link)).collect();
    if others.is_empty() {
        return None;
    }
    let is_link = |name: &String| links.iter().any(|link| link.interface.as_ref() == Some(name));
    let elsewhere = facts.interfaces.iter().filter(|interface| !is_link(&interface.name));
    let usable = |own: &&Address| own.network.is_ipv6() && own.global && !own.tentative && !own.deprecated;
    let addresses = elsewhere.flat_map(|interface| &interface.addresses).filter(usable);
    let mut addresses: Vec<IpAddr> =
        addresses.map(|own| own.network.ip()).filter(|own| !is_unique_local(*own)).collect();
    let delegated = delegated_by(&next_hop, facts);
    let is_of = |prefixes: &[IpNetwork], own: &IpAddr| prefixes.iter().any(|prefix| prefix.contains(*own));
    if let Some(own) = addresses.iter().find(|own| is_of(&delegated, own)) {
        return Some(*own);
    }
    if let Some(own) = next_hop.addresses.first() {
        return Some(own.network.ip());
    }
    // It will have one in a moment: duplicates of it are looked for (RFC 4862).
    let itself = facts.interface(&next_hop.interface)?;
    if !delegated.is_empty() || itself.addresses.iter().any(|own| own.network.is_ipv6() && own.global) {
        return None;
    }
    // What is left where each other line has its own may be one delegation.
    for other in &others {
        let by_other = delegated_by(other, facts);
        if other.addresses.is_empty() && other.traits.source.is_none() && by_other.is_empty() {
            return None;
        }
        addresses.retain(|own| Some(*own) != other.traits.source && !is_of(&by_other, own));
    }
    let first = *addresses.first()?;
    let likely = IpNetwork::new(first, LIKELY_DELEGATION).ok()?;
    addresses.iter().all(|own| likely.contains(*own)).then_some(first)
}

/// The prefixes that `default from PREFIX` routes of this way name.
fn delegated_by(next_hop: &NextHop, facts: &Facts) -> Vec<IpNetwork> {
    let defaults = facts.routes.iter().filter(|route| route.is_default(Family::V6));
    let prefix = |route: &Route| match (&route.target, &route.only) {
        (RouteTarget::Out { interface, via, .. }, Some(Only::From(prefix)))
            if *interface == next_hop.interface && *via == next_hop.via =>
        {
            Some(*prefix)
        }
        _ => None,
    };
    defaults.filter_map(prefix).collect()
}

/// The interface that a link uses: the one it names, else the one whose subnet holds its gateway.
pub fn interface_of<'a>(link: &Link, interfaces: &'a [Interface]) -> Option<&'a Interface> {
    match (&link.interface, link.gateway) {
        (Some(name), _) => interfaces.iter().find(|interface| interface.is_called(name)),
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
    let unique_local =
        || interface.addresses.iter().map(|own| own.network.ip()).find(|own| is_unique_local(*own));
    if no_address && let Some(unique_local) = unique_local() {
        return Err(LinkFault::OnlyUniqueLocal(name, unique_local));
    }
    let defaults = own_defaults(interface, family, protocol, facts);
    let way = |via: Option<IpAddr>, source| {
        let traits = defaults.iter().find(|default| default.via == via).map(|default| default.traits.clone());
        NextHop {
            interface: name.clone(),
            via,
            source,
            onlink: via.is_some_and(|gateway| !is_neighbour(gateway, interface, protocol, facts)),
            traits: traits.unwrap_or_default(),
            named_source: None,
            addresses: addresses.clone(),
        }
    };
    let by_default = |default: &OwnDefault| {
        let way = way(default.via, default.via.map(|_| Source::DefaultRoute));
        NextHop { onlink: default.onlink || way.onlink, ..way }
    };
    match setting {
        Gateway::Address(gateway) => Ok(way(Some(gateway), Some(Source::Config))),
        Gateway::None if no_address => Err(LinkFault::NoAddress(family, name)),
        Gateway::None if family == Family::V4 => Ok(way(None, None)),
        // `gateway6: none` says that the link has no IPv6. Where it is point-to-point and has, `auto` knows that it needs none.
        Gateway::None => Err(LinkFault::NoGateway(family, name)),
        Gateway::Auto => match (&defaults[..], lease_of(interface, &addresses, facts)) {
            ([best, ..], _) if best.fits => Ok(by_default(best)),
            // An IPv6 gateway comes by router advertisement, never by DHCP.
            (_, Some(lease)) if family == Family::V4 => {
                Ok(way(Some(lease.gateway.into()), Some(Source::Lease(lease.client))))
            }
            // The kernel goes on sending that way, and perhaps somebody there listens.
            ([best, ..], _) => Ok(by_default(best)),
            _ if no_address => Err(LinkFault::NoAddress(family, name)),
            _ if interface.point_to_point => Ok(way(None, None)),
            _ => Err(LinkFault::NoGateway(family, name)),
        },
    }
}

/// The lease that the interface's address comes from.
fn lease_of<'a>(interface: &Interface, addresses: &[Address], facts: &'a Facts) -> Option<&'a Lease> {
    let leases = facts.leases.iter().filter(|file| file.interface == interface.name);
    leases
        .flat_map(|file| &file.lease)
        .find(|lease| addresses.iter().any(|own| own.network.ip() == IpAddr::from(lease.address)))
}

/// The interface's own addresses of a family that can be used on the Internet.
fn usable_addresses(interface: &Interface, setting: Gateway, family: Family) -> Vec<Address> {
    // A tunnel's, or one that goes with the gateway that the admin names, is meant to be used.
    let is_meant = |own: &Address| match setting {
        Gateway::Address(gateway) => own.reaches(gateway) || is_link_local(gateway),
        _ => interface.point_to_point,
    };
    let is_for_the_house = |own: IpAddr| is_ipv4_link_local(own) || is_unique_local(own);
    let usable = |own: &&Address| {
        Family::from(&own.network) == family
            && own.global
            && !own.tentative
            && (!is_for_the_house(own.network.ip()) || is_meant(own))
    };
    interface.addresses.iter().filter(usable).copied().collect()
}

/// The interfaces whose IPv4 gateway only a DHCP client can know.
pub fn in_need_of_a_lease<'a>(config: &Config, facts: &'a Facts) -> Vec<&'a Interface> {
    let protocol = config.routing.protocol;
    let links = config.links.iter().filter(|link| link.gateway == Gateway::Auto);
    let mut needy: Vec<&Interface> = Vec::new();
    for interface in links.filter_map(|link| interface_of(link, &facts.interfaces)) {
        let next_hop = find_next_hop(Gateway::Auto, Family::V4, interface, protocol, facts);
        let knows_none = matches!(next_hop, Err(LinkFault::NoGateway(..)));
        let is_stale =
            || own_defaults(interface, Family::V4, protocol, facts).first().is_some_and(|best| !best.fits);
        if (knows_none || next_hop.is_ok() && is_stale()) && !needy.contains(&interface) {
            needy.push(interface);
        }
    }
    needy
}

/// What a default route of the interface's own says.
struct OwnDefault<'a> {
    via: Option<IpAddr>,
    onlink: bool,
    traits: &'a Traits,
    /// The kernel would take it today. One that stands may be older than the interface's addresses.
    fits: bool,
}

/// The interface's own default routes, the one to go by first: not ours, any metric.
///
/// Those that fit come first. Then it is the kernel's own order: one by a router that does not answer comes last, whatever
/// its metric and preference (rt6_score_route, net/ipv6/route.c; fib_select_default, net/ipv4/fib_semantics.c).
fn own_defaults<'a>(
    interface: &Interface,
    family: Family,
    protocol: u8,
    facts: &'a Facts,
) -> Vec<OwnDefault<'a>> {
    let foreign = facts.routes.iter().filter(|route| route.protocol != protocol && route.is_default(family));
    let mut defaults: Vec<_> = foreign
        .filter_map(|route| match &route.target {
            RouteTarget::Out { interface: out, via, onlink, traits } if *out == interface.name => {
                let fits = fits(route, interface, protocol, facts);
                let elsewhere = route.table != MAIN_TABLE;
                let rank = (
                    !fits,
                    is_silent(route, facts),
                    (elsewhere, route.only.is_some()),
                    (Reverse(route.destination.prefix()), route.metric, route.preference),
                );
                Some((rank, OwnDefault { via: *via, onlink: *onlink, traits, fits }))
            }
            _ => None,
        })
        .collect();
    defaults.sort_by_key(|(rank, _)| *rank);
    defaults.into_iter().map(|(_, default)| default).collect()
}

/// Whether the route's gateway did not answer when the kernel last asked for it.
pub fn is_silent(route: &Route, facts: &Facts) -> bool {
    let RouteTarget::Out { interface, via: Some(gateway), .. } = &route.target else { return false };
    facts.silent_gateways.iter().any(|(on, silent)| on == interface && silent == gateway)
}

/// Whether the kernel would take a route out of the interface today.
pub fn fits(route: &Route, interface: &Interface, protocol: u8, facts: &Facts) -> bool {
    match &route.target {
        RouteTarget::Out { via: Some(gateway), onlink: false, .. } => {
            is_neighbour(*gateway, interface, protocol, facts)
        }
        _ => true,
    }
}

/// Whether the kernel takes a route by way of this gateway without being told that it is a neighbour (fib_check_nh,
/// net/ipv4/fib_semantics.c): a subnet of the interface holds it, or a route that leads there directly.
fn is_neighbour(gateway: IpAddr, interface: &Interface, protocol: u8, facts: &Facts) -> bool {
    let leads_there = |route: &Route| {
        matches!(&route.target, RouteTarget::Out { interface: out, via: None, .. } if *out == interface.name)
            && route.protocol != protocol
            && route.table == MAIN_TABLE
            && route.destination.prefix() > 0
            && route.destination.contains(gateway)
    };
    is_link_local(gateway)
        || interface.addresses.iter().any(|own| own.reaches(gateway))
        || facts.routes.iter().any(leads_there)
}

/// The links' interfaces on which two gateways or more are known: which of them answer is worth a question.
pub fn with_a_choice<'a>(config: &Config, facts: &'a Facts) -> Vec<&'a Interface> {
    let protocol = config.routing.protocol;
    let have_choice = |interface: &&Interface| {
        [Family::V4, Family::V6].into_iter().any(|family| {
            let defaults = own_defaults(interface, family, protocol, facts);
            defaults.iter().any(|default| default.via != defaults[0].via)
        })
    };
    let interfaces = config.links.iter().filter_map(|link| interface_of(link, &facts.interfaces));
    let mut choice: Vec<&Interface> = interfaces.filter(have_choice).collect();
    choice.dedup();
    choice
}
