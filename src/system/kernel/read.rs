//! What the kernel's messages say, as the core's facts. Nothing is asked here.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};
use ipnetwork::IpNetwork;
use netlink_packet_core::{
    DecodeError, DoneBuffer, Emitable, ErrorBuffer, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP,
    NLMSG_OVERRUN, NetlinkBuffer, Nla, NlasIterator, Parseable, ParseableParametrized,
};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeader};
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourHeader, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteMetric, RouteNextHopFlags,
    RoutePreference, RouteProtocol, RouteType, RouteVia,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleHeader};
use nix::libc;

use crate::core::facts::{Address, Family, Interface, Only, Preference, Route, RouteTarget, Rule, Traits};

/// linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_PROP_LIST: u16 = 52;
pub const IFLA_ALT_IFNAME: u16 = 53;

/// linux/nexthop.h
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

/// What of an attribute's type is no type (NLA_F_NESTED, NLA_F_NET_BYTEORDER; linux/netlink.h).
const NLA_TYPE_MASK: u16 = 0x3fff;

/// linux/in_route.h: how IPv4 marks it; IPv6 by the protocol number.
const RTCF_REDIRECTED: u32 = 0x0004_0000;

/// Where routes go that name a nexthop object, by its number (ip-nexthop(8)).
pub type Objects = HashMap<u32, Vec<NextHop>>;

/// The answer to one request, as it comes in.
pub struct Answer {
    sequence: u32,
    /// A list was asked for, whose end is told; else it is one message.
    is_dump: bool,
    is_interrupted: bool,
}

/// How an answer ended, where nothing failed on our side.
#[derive(Debug)]
pub enum End {
    Whole,
    /// NLM_F_DUMP_INTR: a change came in between, so entries may be missing or doubled.
    Interrupted,
    /// There is more, and nobody wants it.
    Enough,
    Refused(io::Error),
}

impl Answer {
    /// `sequence`: the number of the request.
    pub fn to(sequence: u32, is_dump: bool) -> Answer {
        Answer { sequence, is_dump, is_interrupted: false }
    }

    /// Has `read` understand what one datagram says of it. `None`: more is to come.
    pub fn hear(
        &mut self,
        datagram: &[u8],
        mut read: impl FnMut(&[u8]) -> Result<(), DecodeError>,
    ) -> Result<Option<End>> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest)?;
            rest = rest.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
            // What is left of an earlier dump that failed halfway.
            if message.sequence_number() != self.sequence {
                continue;
            }
            self.is_interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
            let payload = message.payload();
            let code = match message.message_type() {
                NLMSG_ERROR => ErrorBuffer::new_checked(payload)?.code().map_or(0, |code| code.get()),
                // Old kernels send no code here, newer ones also what went wrong in the middle.
                NLMSG_DONE => DoneBuffer::new_checked(payload).map_or(0, |done| done.code()),
                NLMSG_NOOP => continue,
                NLMSG_OVERRUN => bail!("the kernel lost part of its answer"),
                _ => {
                    read(payload)?;
                    if !self.is_dump {
                        return Ok(Some(End::Whole));
                    }
                    continue;
                }
            };
            return Ok(Some(match (code, self.is_interrupted) {
                (0, false) => End::Whole,
                (0, true) => End::Interrupted,
                (code, _) => End::Refused(io::Error::from_raw_os_error(code.saturating_abs())),
            }));
        }
        Ok(None)
    }
}

pub fn push_interface(payload: &[u8], interfaces: &mut Vec<Interface>) -> Result<(), DecodeError> {
    interfaces.push(read_interface(payload)?);
    Ok(())
}

fn read_interface(payload: &[u8]) -> Result<Interface, DecodeError> {
    let header = LinkHeader::parse(payload)?;
    let mut interface = Interface {
        name: String::new(),
        altnames: Vec::new(),
        index: header.index,
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::LowerUp),
        point_to_point: header.flags.contains(LinkFlags::Pointopoint),
        addresses: Vec::new(),
    };
    // The kernel allows a name that is not UTF-8; it is none that the config can name.
    let name = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_string();
    // Of some seventy attributes, which grow with every kernel, only two matter here; the others stay undecoded.
    for attribute in NlasIterator::new(&payload[header.buffer_len()..]) {
        let attribute = attribute?;
        match attribute.kind() & NLA_TYPE_MASK {
            IFLA_IFNAME => interface.name = name(attribute.value()),
            IFLA_PROP_LIST => {
                let properties = NlasIterator::new(attribute.value()).flatten();
                let altnames = properties.filter(|property| property.kind() == IFLA_ALT_IFNAME);
                interface.altnames.extend(altnames.map(|altname| name(altname.value())));
            }
            _ => {}
        }
    }
    if interface.name.is_empty() {
        return Err(format!("interface {} has no name", interface.index).into());
    }
    Ok(interface)
}

/// An address and the index of its interface. None where it belongs to a family that is neither IPv4 nor IPv6.
pub fn read_address(payload: &[u8]) -> Result<Option<(u32, Address)>, DecodeError> {
    let header = AddressHeader::parse(payload)?;
    if family(header.family).is_none() {
        return Ok(None);
    }
    let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
    let (mut address, mut local) = (None, None);
    for attribute in NlasIterator::new(&payload[header.buffer_len()..]) {
        match AddressAttribute::parse(&attribute?) {
            Ok(AddressAttribute::Address(ip)) => address = Some(ip),
            Ok(AddressAttribute::Local(ip)) => local = Some(ip),
            // The header has room for 8 of them only.
            Ok(AddressAttribute::Flags(all)) => flags = all,
            _ => {}
        }
    }
    // IFA_ADDRESS is the far end where there is one, and then IFA_LOCAL is our own. IPv4 sends both always, IPv6
    // leaves out IFA_LOCAL where it is the same (linux/if_addr.h).
    let (Some(own), Some(subnet)) = (local.or(address), address.or(local)) else {
        return Err(format!("an address of interface {} is empty", header.index).into());
    };
    let subnet = network(subnet, header.prefix_len)?;
    let (network, peer) = if subnet.ip() == own {
        (subnet, None)
    } else {
        // The prefix length belongs to the far end's subnet (devinet.c, fib_add_ifaddr).
        (IpNetwork::from(own), Some(subnet))
    };
    Ok(Some((
        header.index,
        Address {
            network,
            peer,
            // Numbers below are wider: global, site, and those that an admin made up (rtnetlink(7)).
            global: u8::from(header.scope) < libc::RT_SCOPE_LINK,
            tentative: flags.contains(AddressFlags::Dadfailed)
                || flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic),
            deprecated: flags.contains(AddressFlags::Deprecated),
        },
    )))
}

/// Where a unicast route, or one branch of a multipath route, leads.
#[derive(Clone)]
pub struct NextHop {
    interface: u32,
    via: Option<IpAddr>,
    flags: RouteNextHopFlags,
}

/// The number of a nexthop object, where it leads, and of which others it is a group. None of one that leads nowhere.
pub type Object = (u32, Option<NextHop>, Vec<u32>);

pub fn read_object(payload: &[u8]) -> Result<Option<Object>, DecodeError> {
    // struct nhmsg: family, scope, protocol, a reserved byte, and RTNH_F_* in 32 bits.
    let Some((header, attributes)) = payload.split_at_checked(8) else {
        return Err("a nexthop object is cut off".into());
    };
    let flags =
        RouteNextHopFlags::from_bits_retain(
            u32::from_ne_bytes([header[4], header[5], header[6], header[7]]) as u8
        );
    let number = |value: &[u8]| Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?));
    let (mut id, mut interface, mut via, mut members) = (None, None, None, Vec::new());
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() & NLA_TYPE_MASK {
            NHA_ID => id = number(value),
            NHA_OIF => interface = number(value),
            // struct nexthop_grp: the member's number, its weight, and three bytes.
            NHA_GROUP => members.extend(value.chunks_exact(8).filter_map(number)),
            NHA_GATEWAY => {
                via = (<[u8; 4]>::try_from(value).map(IpAddr::from))
                    .or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from))
                    .ok()
            }
            _ => {}
        }
    }
    let hop = interface.map(|interface| NextHop { interface, via, flags });
    Ok(id.map(|id| (id, hop, members)))
}

/// The address of a neighbour on this interface from which no answer came; none of any other.
pub fn read_silent_neighbour(payload: &[u8], interface: u32) -> Result<Option<IpAddr>, DecodeError> {
    let header = NeighbourHeader::parse(payload)?;
    let is_silent = matches!(header.state, NeighbourState::Incomplete | NeighbourState::Failed);
    if header.ifindex != interface || !is_silent {
        return Ok(None);
    }
    for attribute in NlasIterator::new(payload.get(header.buffer_len()..).unwrap_or_default()) {
        match NeighbourAttribute::parse_with_param(&attribute?, header.family) {
            Ok(NeighbourAttribute::Destination(NeighbourAddress::Inet(ip))) => return Ok(Some(ip.into())),
            Ok(NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip))) => return Ok(Some(ip.into())),
            _ => {}
        }
    }
    Ok(None)
}

/// Adds what one message says: one route for each next hop over one of `interfaces`.
pub fn read_route(
    payload: &[u8],
    interfaces: &[&Interface],
    objects: &Objects,
    wanted: impl Fn(&RouteHeader) -> bool,
    routes: &mut Vec<Route>,
) -> Result<(), DecodeError> {
    let header = RouteHeader::parse(payload)?;
    let mut destination: IpAddr = match family(header.address_family) {
        Some(Family::V4) => Ipv4Addr::UNSPECIFIED.into(),
        Some(Family::V6) => Ipv6Addr::UNSPECIFIED.into(),
        // Multicast routing and MPLS answer as well when the family is left open.
        None => return Ok(()),
    };
    // A cloned route is a cached decision (an exception for one destination), not configuration.
    if header.flags.contains(RouteFlags::Cloned) || !wanted(&header) {
        return Ok(());
    }

    let flags = RouteNextHopFlags::from_bits_retain(header.flags.bits() as u8); // rtnetlink.h: the lowest byte
    let (mut table, mut metric) = (u32::from(header.table), 0);
    let (mut interface, mut via, mut next_hops, mut object) = (None, None, Vec::new(), None);
    let mut only = (header.tos != 0).then_some(Only::Tos(header.tos));
    let mut preference = Preference::default();
    let mut traits = Traits::default();
    let how = (header.address_family, header.kind, RouteLwEnCapType::default());
    for attribute in NlasIterator::new(&payload[header.buffer_len()..]) {
        // One that cannot be read is of a newer kernel; those that matter here are as old as rtnetlink itself.
        match RouteAttribute::parse_with_param(&attribute?, how) {
            Ok(RouteAttribute::Table(number)) => table = number,
            Ok(RouteAttribute::Priority(number)) => metric = number,
            Ok(RouteAttribute::Destination(RouteAddress::Inet(ip))) => destination = ip.into(),
            Ok(RouteAttribute::Destination(RouteAddress::Inet6(ip))) => destination = ip.into(),
            Ok(RouteAttribute::Source(RouteAddress::Inet6(ip))) => {
                only = Some(Only::From(network(ip.into(), header.source_prefix_length)?));
            }
            Ok(RouteAttribute::PrefSource(RouteAddress::Inet(ip))) => traits.source = Some(ip.into()),
            Ok(RouteAttribute::PrefSource(RouteAddress::Inet6(ip))) => traits.source = Some(ip.into()),
            Ok(RouteAttribute::Metrics(metrics)) => traits.words.extend(words(&metrics)),
            Ok(RouteAttribute::Realm(realm)) => {
                traits.words.push(format!("realms {}/{}", realm.source, realm.destination));
            }
            Ok(RouteAttribute::Preference(RoutePreference::High)) => preference = Preference::High,
            Ok(RouteAttribute::Preference(RoutePreference::Low)) => preference = Preference::Low,
            Ok(RouteAttribute::NhId(number)) => object = Some(number),
            Ok(RouteAttribute::Oif(index)) => interface = Some(index),
            Ok(RouteAttribute::MultiPath(branches)) => {
                next_hops.extend(branches.iter().map(|branch| NextHop {
                    interface: branch.interface_index,
                    via: branch.attributes.iter().find_map(gateway),
                    flags: branch.flags | flags,
                }))
            }
            Ok(attribute) => via = via.or(gateway(&attribute)),
            Err(_) => {}
        }
    }
    next_hops.extend(interface.map(|interface| NextHop { interface, via, flags }));
    if next_hops.is_empty() {
        next_hops.extend(object.and_then(|number| objects.get(&number)).into_iter().flatten().cloned());
    }

    let mut add = |target| -> Result<(), DecodeError> {
        routes.push(Route {
            table,
            destination: network(destination, header.destination_prefix_length)?,
            only,
            target,
            metric,
            protocol: header.protocol.into(),
            preference,
        });
        Ok(())
    };
    match header.kind {
        RouteType::Unicast => {
            for hop in next_hops {
                if let Some(interface) = interfaces.iter().find(|interface| interface.index == hop.interface)
                {
                    let onlink = hop.flags.contains(RouteNextHopFlags::Onlink);
                    let (interface, traits) = (interface.name.clone(), traits.clone());
                    add(RouteTarget::Out { interface, via: hop.via, onlink, traits })?;
                }
            }
            Ok(())
        }
        RouteType::Unreachable => add(RouteTarget::Unreachable),
        RouteType::BlackHole | RouteType::Prohibit | RouteType::Throw => add(RouteTarget::Other),
        // Local, broadcast, anycast and multicast routes follow from addresses and decide nothing here.
        _ => Ok(()),
    }
}

/// Interface, gateway, and whether a redirect named that; `None`: it is a broadcast address.
pub fn read_way(payload: &[u8]) -> Result<Option<(u32, Option<IpAddr>, bool)>, DecodeError> {
    let header = RouteHeader::parse(payload)?;
    if header.kind == RouteType::Broadcast {
        return Ok(None);
    }
    let (mut interface, mut via) = (0, None);
    let how = (header.address_family, header.kind, RouteLwEnCapType::default());
    for attribute in NlasIterator::new(&payload[header.buffer_len()..]) {
        match RouteAttribute::parse_with_param(&attribute?, how) {
            Ok(RouteAttribute::Oif(index)) => interface = index,
            Ok(attribute) => via = via.or(gateway(&attribute)),
            Err(_) => {}
        }
    }
    let redirected =
        header.flags.bits() & RTCF_REDIRECTED != 0 || header.protocol == RouteProtocol::IcmpRedirect;
    Ok(Some((interface, via, redirected)))
}

/// Metrics as `ip route` prints and takes them; times stay in the kernel's own units, which it takes without a unit. What a
/// newer kernel may have besides is left out.
fn words(metrics: &[RouteMetric]) -> Vec<String> {
    // Bit n says that the kernel may not change metric number n (RTAX_LOCK).
    let locks = metrics.iter().find_map(|metric| match metric {
        RouteMetric::Lock(bits) => Some(*bits),
        _ => None,
    });
    let word = |metric: &RouteMetric| {
        let (name, value) = match metric {
            RouteMetric::Mtu(value) => ("mtu", value),
            RouteMetric::Window(value) => ("window", value),
            RouteMetric::Rtt(value) => ("rtt", value),
            RouteMetric::RttVar(value) => ("rttvar", value),
            RouteMetric::SsThresh(value) => ("ssthresh", value),
            RouteMetric::Cwnd(value) => ("cwnd", value),
            RouteMetric::Advmss(value) => ("advmss", value),
            RouteMetric::Reordering(value) => ("reordering", value),
            RouteMetric::Hoplimit(value) => ("hoplimit", value),
            RouteMetric::InitCwnd(value) => ("initcwnd", value),
            RouteMetric::InitRwnd(value) => ("initrwnd", value),
            // `ip` takes no word of a lock for these, and locks the first by itself.
            RouteMetric::RtoMin(value) => return Some(format!("rto_min {value}")),
            RouteMetric::QuickAck(value) => return Some(format!("quickack {value}")),
            RouteMetric::FastopenNoCookie(value) => return Some(format!("fastopen_no_cookie {value}")),
            // RTAX_FEATURE_ECN, the only one that every `ip` knows.
            RouteMetric::Features(bits) if bits & 1 != 0 => return Some("features ecn".to_owned()),
            RouteMetric::CcAlgo(name) => return Some(format!("congctl{} {name}", lock(locks, metric))),
            _ => return None,
        };
        Some(format!("{name}{} {value}", lock(locks, metric)))
    };
    metrics.iter().filter_map(word).collect()
}

fn lock(locks: Option<u32>, metric: &RouteMetric) -> &'static str {
    match locks.unwrap_or_default() & 1 << metric.kind() {
        0 => "",
        _ => " lock",
    }
}

/// RTA_VIA is a gateway of the other family: IPv4 by way of an IPv6 neighbour (RFC 5549).
fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(ip)) | RouteAttribute::Via(RouteVia::Inet(ip)) => {
            Some((*ip).into())
        }
        RouteAttribute::Gateway(RouteAddress::Inet6(ip)) | RouteAttribute::Via(RouteVia::Inet6(ip)) => {
            Some((*ip).into())
        }
        _ => None,
    }
}

/// None for a rule of a family that is neither IPv4 nor IPv6: multicast routing has rules, too.
pub fn read_rule(payload: &[u8]) -> Result<Option<Rule>, DecodeError> {
    let header = RuleHeader::parse(payload)?;
    let Some(family) = family(header.family) else {
        return Ok(None);
    };
    // Kernels before 4.17 keep no protocol number of a rule.
    let mut rule = Rule::of_all(family, header.table.into(), libc::RTPROT_UNSPEC);
    rule.narrowed =
        header.tos != 0 || header.action != RuleAction::ToTable || header.flags.contains(RuleFlags::Invert);
    for attribute in NlasIterator::new(&payload[header.buffer_len()..]) {
        match RuleAttribute::parse(&attribute?) {
            Ok(RuleAttribute::Priority(number)) => rule.priority = number,
            Ok(RuleAttribute::Source(ip)) => rule.from = Some(network(ip, header.src_len)?),
            Ok(RuleAttribute::Destination(ip)) => rule.to = Some(network(ip, header.dst_len)?),
            Ok(RuleAttribute::Iifname(name)) => rule.iif = Some(name),
            Ok(RuleAttribute::IpProtocol(number)) => rule.ipproto = Some(number.into()),
            Ok(RuleAttribute::Table(number)) => rule.table = number,
            Ok(RuleAttribute::Protocol(number)) => rule.protocol = number.into(),
            Ok(RuleAttribute::UidRange(range)) if range.start == range.end => rule.uid = Some(range.start),
            // Listed of every rule; none is u32::MAX (fib_rules.c, fib_nl_fill_rule).
            Ok(RuleAttribute::SuppressPrefixLen(length)) => {
                rule.suppress_prefix = Some(length).filter(|length| *length != u32::MAX);
            }
            Ok(
                RuleAttribute::FwMark(_)
                | RuleAttribute::FwMask(_)
                | RuleAttribute::Oifname(_)
                | RuleAttribute::TunId(_)
                | RuleAttribute::SuppressIfGroup(_)
                | RuleAttribute::L3MDev(_)
                | RuleAttribute::UidRange(_)
                | RuleAttribute::SourcePortRange(_)
                | RuleAttribute::DestinationPortRange(_),
            ) => rule.narrowed = true,
            _ => {}
        }
    }
    Ok(Some(rule))
}

fn family(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

fn network(address: IpAddr, prefix_length: u8) -> Result<IpNetwork, DecodeError> {
    IpNetwork::new(address, prefix_length)
        .map_err(|error| format!("{address}/{prefix_length} is no network: {error}").into())
}
