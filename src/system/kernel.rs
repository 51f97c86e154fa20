//! What the kernel knows of interfaces, routes and rules, asked over rtnetlink(7). Nothing is changed here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use ipnetwork::IpNetwork;
use netlink_packet_core::{
    DecodeError, DoneBuffer, Emitable, ErrorBuffer, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkMessage, NlasIterator, Parseable,
    ParseableParametrized,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeader, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteMessage, RouteNextHopFlags,
    RouteProtocol, RouteType, RouteVia,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleHeader, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{self, MsgFlags, SockFlag, SockType, recv, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::geteuid;

use crate::core::facts::{Address, Facts, Family, Interface, MAIN_TABLE, Route, RouteTarget, Rule};
use crate::core::flow::{Flow, RouteAnswer};

/// The kernel answers at once or never; without a limit a run would hang and hold the lock.
const ANSWER_LIMIT_SECONDS: i64 = 5;

/// How often a dump is asked for again because something changed while it was read.
const TRIES: u32 = 5;

/// What the kernel puts into one datagram at most, as long as no single message is larger (af_netlink.c,
/// netlink_recvmsg): it takes the size of our buffer as the size that is wanted.
const DATAGRAM_BYTES: usize = 32 * 1024;

/// linux/if_link.h
const IFLA_IFNAME: u16 = 3;

/// linux/in_route.h: how IPv4 marks it; IPv6 by the protocol number.
const RTCF_REDIRECTED: u32 = 0x0004_0000;

/// The kernel, reached by one rtnetlink socket. Reading needs no privilege.
pub struct Kernel {
    socket: Socket,
    /// Number of the latest request, which its answers carry.
    sequence: u32,
    buffer: Vec<u8>,
    /// Index and name of each interface, as it was listed last.
    names: Vec<(u32, String)>,
}

/// Which routes and rules matter. A whole table is never asked for unless it must be: with a full BGP table
/// that costs tens of milliseconds.
pub struct Selection<'a> {
    /// Every route and rule of this protocol number is ours.
    pub protocol: u8,
    /// Names of the interfaces whose foreign routes matter, in any table. A name that does not exist has none.
    pub wan: &'a [&'a str],
    /// Foreign default routes of the main table matter over any interface. This reads the whole table.
    pub every_default: bool,
    /// The links' own tables, in which every foreign route matters.
    pub tables: Range<u32>,
    /// Foreign rules of this priority matter, as do those that look up one of the tables.
    pub rule_priority: u32,
}

/// How a dump ended, where nothing failed on our side.
enum End {
    Whole,
    /// NLM_F_DUMP_INTR: a change came in between, so entries may be missing or doubled.
    Interrupted,
    Refused(io::Error),
}

impl Kernel {
    /// Opens the socket, in the network namespace of the calling thread.
    pub fn open() -> Result<Kernel> {
        Self::connect().context("opening a netlink socket, which every look at routes needs")
    }

    fn connect() -> io::Result<Kernel> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        // Connected, it takes no message from another process (af_netlink.c, netlink_getsockbyportid).
        socket.connect(&SocketAddr::new(0, 0))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_LIMIT_SECONDS))?;
        // Only a strict socket makes the kernel filter dumps. Before 4.20 it cannot: then every answer is the
        // whole list, and since everything is filtered here as well, that is slower but not different.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Kernel { socket, sequence: 0, buffer: vec![0; DATAGRAM_BYTES], names: Vec::new() })
    }

    /// Every interface with its addresses of both families.
    pub fn interfaces(&mut self) -> Result<Vec<Interface>> {
        let mut links = LinkMessage::default();
        links.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let mut interfaces =
            self.dump("interfaces", RouteNetlinkMessage::GetLink(links), &[], |payload, interfaces| {
                interfaces.push(read_interface(payload)?);
                Ok(())
            })?;

        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        for (index, address) in self.dump("addresses", addresses, &[], |payload, addresses| {
            addresses.extend(read_address(payload)?);
            Ok(())
        })? {
            // An interface that came up between the two dumps waits for the next run.
            if let Some(interface) = interfaces.iter_mut().find(|interface| interface.index == index) {
                interface.addresses.push(address);
            }
        }
        self.names = interfaces.iter().map(|interface| (interface.index, interface.name.clone())).collect();
        Ok(interfaces)
    }

    /// Which way the kernel would send this now (RTM_GETROUTE), out of an interface that was listed before.
    pub fn way(&mut self, flow: &Flow) -> Result<RouteAnswer> {
        let mut request = RouteMessage::default();
        (request.header.address_family, request.header.destination_prefix_length) = match flow.to {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        let uid = flow.uid.unwrap_or_else(|| geteuid().as_raw());
        request.attributes = vec![
            RouteAttribute::Destination(flow.to.into()),
            RouteAttribute::Uid(uid),
            RouteAttribute::IpProto(flow.ipproto),
        ];
        let asking = || format!("asking the kernel for the way to {} over netlink", flow.to);
        let read = |payload: &[u8], answers: &mut Vec<_>| {
            answers.push(read_way(payload)?);
            Ok(())
        };
        let mut answers = Vec::new();
        match self
            .ask_once(RouteNetlinkMessage::GetRoute(request), 0, &read, &mut answers)
            .with_context(asking)?
        {
            End::Refused(error) => match error.raw_os_error() {
                // None, `unreachable`, `prohibit`, `blackhole` (fib_props, net/ipv4/fib_semantics.c).
                Some(errno @ (libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)) => {
                    Ok(RouteAnswer::Refused(errno))
                }
                _ => Err(error).with_context(asking),
            },
            End::Whole | End::Interrupted => {
                let (index, via, redirected) = answers.pop().with_context(asking)?;
                let name = self.names.iter().find(|(known, _)| *known == index).map(|(_, name)| name.clone());
                let interface = name.unwrap_or_else(|| format!("interface number {index}"));
                Ok(RouteAnswer::Out { interface, via, redirected })
            }
        }
    }

    /// Adds the routes and rules that matter to `interfaces`. A route out of an interface that is not among
    /// them, since it appeared later, is left out.
    pub fn facts(&mut self, interfaces: Vec<Interface>, selection: &Selection) -> Result<Facts> {
        let (wan, others): (Vec<_>, Vec<_>) =
            interfaces.iter().partition(|interface| selection.wan.contains(&interface.name.as_str()));
        let all: Vec<_> = interfaces.iter().collect();
        let is_ours = |header: &RouteHeader| u8::from(header.protocol) == selection.protocol;

        let mut ours = RouteMessage::default();
        ours.header.protocol = selection.protocol.into();
        let mut routes = self.routes(ours, &all, is_ours)?;

        for interface in wan {
            let mut out_of_it = RouteMessage::default();
            out_of_it.attributes.push(RouteAttribute::Oif(interface.index));
            // Unreachable and the like lead out of no interface (IPv6 says lo).
            let out_of_it = self.routes(out_of_it, &[interface], |header| {
                header.kind == RouteType::Unicast && !is_ours(header)
            })?;
            routes.extend(out_of_it.into_iter().filter(|route| !selection.tables.contains(&route.table)));
        }

        for table in selection.tables.clone() {
            let mut in_it = RouteMessage::default();
            in_it.attributes.push(RouteAttribute::Table(table));
            let in_it = self.routes(in_it, &all, |header| !is_ours(header))?;
            // A kernel that does not filter lists every table.
            routes.extend(in_it.into_iter().filter(|route| route.table == table));
        }

        if selection.every_default {
            let mut main = RouteMessage::default();
            main.attributes.push(RouteAttribute::Table(MAIN_TABLE));
            routes.extend(self.routes(main, &others, |header| {
                u32::from(header.table) == MAIN_TABLE
                    && header.destination_prefix_length == 0
                    && !is_ours(header)
            })?);
        }

        let rules = self.rules(|rule| {
            rule.protocol == selection.protocol
                || rule.priority == selection.rule_priority
                || selection.tables.contains(&rule.table)
        })?;
        Ok(Facts { interfaces, routes, rules, without_ipv6: is_without_ipv6(), ..Facts::default() })
    }

    /// The routes that `request` selects and `wanted` confirms; of those that lead somewhere, the next hops
    /// over one of `interfaces`.
    fn routes(
        &mut self,
        request: RouteMessage,
        interfaces: &[&Interface],
        wanted: impl Fn(&RouteHeader) -> bool,
    ) -> Result<Vec<Route>> {
        // The interface or the table of the filter may have gone since.
        let gone = [libc::ENODEV, libc::ENOENT];
        self.dump("routes", RouteNetlinkMessage::GetRoute(request), &gone, |payload, routes| {
            read_route(payload, interfaces, &wanted, routes)
        })
    }

    fn rules(&mut self, wanted: impl Fn(&Rule) -> bool) -> Result<Vec<Rule>> {
        // A kernel without policy routing (CONFIG_IP_MULTIPLE_TABLES) has no rules to tell.
        let unknown = [libc::EOPNOTSUPP, libc::EAFNOSUPPORT];
        let request = RouteNetlinkMessage::GetRule(RuleMessage::default());
        self.dump("rules", request, &unknown, |payload, rules| {
            rules.extend(read_rule(payload)?.filter(&wanted));
            Ok(())
        })
    }

    /// Everything that the kernel lists in answer to `request`, as `read` understands it. Requests leave the
    /// address family open (AF_UNSPEC), which lists all families that this kernel has: one without IPv6
    /// refuses nothing. `what` is for people; a refusal with one of the `none` error numbers is an empty list.
    ///
    /// A message that cannot be read is an error, not skipped: an interface or route left out would look like
    /// a dead line.
    fn dump<T>(
        &mut self,
        what: &str,
        request: RouteNetlinkMessage,
        none: &[i32],
        read: impl Fn(&[u8], &mut Vec<T>) -> Result<(), DecodeError>,
    ) -> Result<Vec<T>> {
        let asking = || format!("asking the kernel for its {what} over netlink");
        for _ in 0..TRIES {
            let mut found = Vec::new();
            match self.ask_once(request.clone(), NLM_F_DUMP, &read, &mut found).with_context(asking)? {
                End::Whole => return Ok(found),
                End::Interrupted => {}
                End::Refused(error) if error.raw_os_error().is_some_and(|number| none.contains(&number)) => {
                    return Ok(found);
                }
                End::Refused(error) => return Err(error).with_context(asking),
            }
        }
        bail!(
            "{}: they changed during each of {TRIES} tries to read them; something changes them without pause",
            asking()
        )
    }

    /// One request, and what it is answered with: a list where `flags` ask for a dump, else one message.
    fn ask_once<T>(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        read: &impl Fn(&[u8], &mut Vec<T>) -> Result<(), DecodeError>,
        found: &mut Vec<T>,
    ) -> Result<End> {
        self.sequence += 1;
        let sequence = self.sequence;
        let mut request = NetlinkMessage::from(request);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut end = End::Whole;
        loop {
            let mut rest = self.receive()?;
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest)?;
                rest = rest.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
                // What is left of an earlier dump that failed halfway.
                if message.sequence_number() != sequence {
                    continue;
                }
                if message.flags() & NLM_F_DUMP_INTR != 0 {
                    end = End::Interrupted;
                }
                let payload = message.payload();
                let code = match message.message_type() {
                    NLMSG_ERROR => ErrorBuffer::new_checked(payload)?.code().map_or(0, |code| code.get()),
                    // Old kernels send no code here, newer ones also what went wrong in the middle.
                    NLMSG_DONE => DoneBuffer::new_checked(payload).map_or(0, |done| done.code()),
                    NLMSG_NOOP => continue,
                    NLMSG_OVERRUN => bail!("the kernel lost part of its answer"),
                    _ => {
                        read(payload, found)?;
                        if flags & NLM_F_DUMP == 0 {
                            return Ok(End::Whole);
                        }
                        continue;
                    }
                };
                return Ok(match code {
                    0 => end,
                    code => End::Refused(io::Error::from_raw_os_error(code.saturating_abs())),
                });
            }
        }
    }

    /// The next datagram, whole.
    fn receive(&mut self) -> Result<&[u8]> {
        // A datagram that does not fit is cut off, so its size is asked for first.
        let size = self.receive_with(MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC, 0)?;
        if size > self.buffer.len() {
            self.buffer.resize(size, 0);
        }
        let size = self.receive_with(MsgFlags::empty(), self.buffer.len())?;
        Ok(&self.buffer[..size])
    }

    /// recv(2) into the first `limit` bytes of the buffer.
    fn receive_with(&mut self, flags: MsgFlags, limit: usize) -> Result<usize> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer[..limit], flags) {
                Ok(size) => return Ok(size),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => bail!("no reply within {ANSWER_LIMIT_SECONDS} s"),
                Err(Errno::ENOBUFS) => bail!("the kernel had no memory for its answer"),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A kernel that has IPv6 always opens such a socket, also where no interface may use it.
fn is_without_ipv6() -> bool {
    let asked =
        socket::socket(socket::AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
    asked.is_err_and(|error| error == Errno::EAFNOSUPPORT)
}

fn read_interface(payload: &[u8]) -> Result<Interface, DecodeError> {
    let header = LinkHeader::parse(payload)?;
    let mut interface = Interface {
        name: String::new(),
        index: header.index,
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::LowerUp),
        point_to_point: header.flags.contains(LinkFlags::Pointopoint),
        addresses: Vec::new(),
    };
    // Of some seventy attributes, which grow with every kernel, only one matters here; the others stay undecoded.
    for attribute in NlasIterator::new(&payload[header.buffer_len()..]) {
        let attribute = attribute?;
        if attribute.kind() == IFLA_IFNAME {
            // The kernel allows a name that is not UTF-8; it is none that the config can name.
            interface.name = String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_string();
        }
    }
    if interface.name.is_empty() {
        return Err(format!("interface {} has no name", interface.index).into());
    }
    Ok(interface)
}

/// An address and the index of its interface. None where it belongs to a family that is neither IPv4 nor IPv6.
fn read_address(payload: &[u8]) -> Result<Option<(u32, Address)>, DecodeError> {
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
        },
    )))
}

/// Where a unicast route, or one branch of a multipath route, leads.
struct NextHop {
    interface: u32,
    via: Option<IpAddr>,
    flags: RouteNextHopFlags,
}

/// Adds what one message says: one route for each next hop over one of `interfaces`.
fn read_route(
    payload: &[u8],
    interfaces: &[&Interface],
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
    let (mut interface, mut via, mut next_hops) = (None, None, Vec::new());
    let how = (header.address_family, header.kind, RouteLwEnCapType::default());
    for attribute in NlasIterator::new(&payload[header.buffer_len()..]) {
        // One that cannot be read is of a newer kernel; those that matter here are as old as rtnetlink itself.
        match RouteAttribute::parse_with_param(&attribute?, how) {
            Ok(RouteAttribute::Table(number)) => table = number,
            Ok(RouteAttribute::Priority(number)) => metric = number,
            Ok(RouteAttribute::Destination(RouteAddress::Inet(ip))) => destination = ip.into(),
            Ok(RouteAttribute::Destination(RouteAddress::Inet6(ip))) => destination = ip.into(),
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

    let mut add = |target| -> Result<(), DecodeError> {
        routes.push(Route {
            table,
            destination: network(destination, header.destination_prefix_length)?,
            target,
            metric,
            protocol: header.protocol.into(),
        });
        Ok(())
    };
    match header.kind {
        RouteType::Unicast => {
            for hop in next_hops {
                if let Some(interface) = interfaces.iter().find(|interface| interface.index == hop.interface)
                {
                    let onlink = hop.flags.contains(RouteNextHopFlags::Onlink);
                    let interface = interface.name.clone();
                    add(RouteTarget::Out { interface, via: hop.via, onlink })?;
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

/// Interface, gateway, and whether a redirect named that.
fn read_way(payload: &[u8]) -> Result<(u32, Option<IpAddr>, bool), DecodeError> {
    let header = RouteHeader::parse(payload)?;
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
    Ok((interface, via, redirected))
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
fn read_rule(payload: &[u8]) -> Result<Option<Rule>, DecodeError> {
    let header = RuleHeader::parse(payload)?;
    let Some(family) = family(header.family) else {
        return Ok(None);
    };
    let mut rule = Rule {
        family,
        priority: 0,
        from: None,
        to: None,
        iif: None,
        ipproto: None,
        table: header.table.into(),
        // Kernels before 4.17 keep no protocol number of a rule.
        protocol: libc::RTPROT_UNSPEC,
        narrowed: header.tos != 0
            || header.action != RuleAction::ToTable
            || header.flags.contains(RuleFlags::Invert),
    };
    for attribute in NlasIterator::new(&payload[header.buffer_len()..]) {
        match RuleAttribute::parse(&attribute?) {
            Ok(RuleAttribute::Priority(number)) => rule.priority = number,
            Ok(RuleAttribute::Source(ip)) => rule.from = Some(network(ip, header.src_len)?),
            Ok(RuleAttribute::Destination(ip)) => rule.to = Some(network(ip, header.dst_len)?),
            Ok(RuleAttribute::Iifname(name)) => rule.iif = Some(name),
            Ok(RuleAttribute::IpProtocol(number)) => rule.ipproto = Some(number.into()),
            Ok(RuleAttribute::Table(number)) => rule.table = number,
            Ok(RuleAttribute::Protocol(number)) => rule.protocol = number.into(),
            // Listed of every rule; none is u32::MAX (fib_rules.c, fib_nl_fill_rule).
            Ok(RuleAttribute::SuppressPrefixLen(u32::MAX)) => {}
            Ok(
                RuleAttribute::FwMark(_)
                | RuleAttribute::FwMask(_)
                | RuleAttribute::Oifname(_)
                | RuleAttribute::TunId(_)
                | RuleAttribute::SuppressPrefixLen(_)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `payload` as each kind of message; what comes out does not matter, only that something does.
    fn read_every_way(payload: &[u8]) {
        let _ = read_interface(payload);
        let _ = read_address(payload);
        let _ = read_rule(payload);
        let _ = read_way(payload);
        let interface = Interface {
            name: "wan1".into(),
            index: 7,
            up: true,
            carrier: true,
            point_to_point: false,
            addresses: Vec::new(),
        };
        let _ = read_route(payload, &[&interface], |_| true, &mut Vec::new());
    }

    proptest! {
        /// A header of any of the four kinds, then attributes with a right outer form and any content.
        #[test]
        fn an_odd_message_never_panics(
            v6 in any::<bool>(),
            header in proptest::collection::vec(any::<u8>(), 15),
            attributes in proptest::collection::vec(
                (0..40u16, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
            cut in 0..300usize,
        ) {
            // The header is 8 bytes long for addresses, 12 for routes and rules, 16 for interfaces.
            for header_bytes in [8, 12, 16] {
                let mut payload = vec![if v6 { libc::AF_INET6 } else { libc::AF_INET } as u8];
                payload.extend(&header[..header_bytes - 1]);
                for (kind, value) in &attributes {
                    payload.extend((value.len() as u16 + 4).to_ne_bytes());
                    payload.extend(kind.to_ne_bytes());
                    payload.extend(value);
                    payload.resize(payload.len().next_multiple_of(4), 0);
                }
                read_every_way(&payload);
                payload.truncate(cut);
                read_every_way(&payload);
            }
        }
    }
}
