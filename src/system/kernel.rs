//! What the kernel knows of interfaces, routes and rules, asked over rtnetlink(7). Nothing is changed here.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use ipnetwork::IpNetwork;
use netlink_packet_core::{
    DecodeError, DefaultNla, DoneBuffer, Emitable, ErrorBuffer, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, Nla, NlasIterator, Parseable, ParseableParametrized,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeader, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourHeader, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteMessage, RouteMetric,
    RouteNextHopFlags, RoutePreference, RouteProtocol, RouteType, RouteVia,
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

use crate::core::facts::{
    Address, Facts, Family, Interface, MAIN_TABLE, Only, Preference, Route, RouteTarget, Rule, Traits,
};
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
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;

/// linux/rtnetlink.h
const RTM_GETNEXTHOP: u16 = 106;

/// linux/nexthop.h
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

/// What of an attribute's type is no type (NLA_F_NESTED, NLA_F_NET_BYTEORDER; linux/netlink.h).
const NLA_TYPE_MASK: u16 = 0x3fff;

/// How many foreign routes of one interface and family are kept besides its default routes. With a full BGP table there are
/// hundreds of thousands.
const KEPT: usize = 1000;

/// Where routes go that name a nexthop object, by its number (ip-nexthop(8)).
type Objects = HashMap<u32, Vec<NextHop>>;

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
    /// Asked for where routes tell nothing but the number.
    objects: Objects,
}

/// Which routes and rules matter. A whole table is never asked for unless it must be: with a full BGP table
/// that costs tens of milliseconds.
pub struct Selection<'a> {
    /// Every route and rule of this protocol number is ours.
    pub protocol: u8,
    /// Names of the interfaces whose foreign routes matter, in any table. A name that does not exist has none.
    pub wan: &'a [&'a str],
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
    /// There is more, and nobody wants it.
    Enough,
    Refused(io::Error),
}

/// What the kernel listed.
struct Listed<T> {
    what: &'static str,
    entries: Vec<T>,
    /// As it had them at one moment; else they changed during each try, and some may be missing or doubled.
    is_whole: bool,
}

impl<T> Listed<T> {
    /// The entries, where none can be missing.
    fn whole(self) -> Result<Vec<T>> {
        if !self.is_whole {
            bail!(
                "asking the kernel for its {} over netlink: they changed during each of {TRIES} tries to read them; something \
                 changes them without pause",
                self.what
            );
        }
        Ok(self.entries)
    }
}

/// The request for every nexthop object: an empty `struct nhmsg` (linux/nexthop.h).
#[derive(Clone)]
struct GetNextHops;

impl NetlinkSerializable for GetNextHops {
    fn message_type(&self) -> u16 {
        RTM_GETNEXTHOP
    }

    fn buffer_len(&self) -> usize {
        8
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
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
        let (names, objects) = (Vec::new(), Objects::new());
        Ok(Kernel { socket, sequence: 0, buffer: vec![0; DATAGRAM_BYTES], names, objects })
    }

    /// Every interface with its addresses of both families. Where others come and go without a pause, so that no list of
    /// all is ever whole, at least those of the links' names are.
    pub fn interfaces(&mut self, of_links: &[&str]) -> Result<Vec<Interface>> {
        let request = RouteNetlinkMessage::GetLink(get_link());
        let listed = self.dump("interfaces", request, &[], |_| false, push_interface)?;
        let addresses = self.addresses(None)?;
        let is_whole = listed.is_whole && addresses.is_whole;
        let mut interfaces = listed.entries;
        // An interface that came up between the two dumps waits for the next run.
        attach(&mut interfaces, addresses.entries);
        if !is_whole {
            for name in of_links {
                let Some(mut interface) = self.interface(name)? else { continue };
                let addresses = self.addresses(Some(interface.index))?;
                attach(std::slice::from_mut(&mut interface), addresses.entries);
                interfaces.retain(|listed| listed.index != interface.index && listed.name != interface.name);
                interfaces.push(interface);
            }
        }
        self.names = interfaces.iter().map(|interface| (interface.index, interface.name.clone())).collect();
        Ok(interfaces)
    }

    /// The interface of a name or altname.
    fn interface(&mut self, name: &str) -> Result<Option<Interface>> {
        let asking = || format!("asking the kernel for interface {name} over netlink");
        let terminated = [name.as_bytes(), &[0]].concat();
        let by_altname = LinkAttribute::Other(DefaultNla::new(IFLA_ALT_IFNAME, terminated));
        let by = [LinkAttribute::IfName(name.to_owned()), by_altname];
        for attribute in by {
            // No interface has so long a name (IFNAMSIZ, linux/if.h), and the kernel would complain.
            if matches!(attribute, LinkAttribute::IfName(_)) && name.len() >= libc::IFNAMSIZ {
                continue;
            }
            let mut link = get_link();
            link.attributes.push(attribute);
            let mut found = Vec::new();
            let request = RouteNetlinkMessage::GetLink(link);
            let end = self.ask_once(request, 0, &|_: &[_]| false, &push_interface, &mut found);
            match end.with_context(asking)? {
                End::Refused(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                End::Refused(error) => return Err(error).with_context(asking),
                End::Whole | End::Interrupted | End::Enough => return Ok(found.pop()),
            }
        }
        Ok(None)
    }

    /// The addresses of one interface or of all, each with its interface's index.
    fn addresses(&mut self, of: Option<u32>) -> Result<Listed<(u32, Address)>> {
        let mut addresses = AddressMessage::default();
        addresses.header.index = of.unwrap_or(0);
        let request = RouteNetlinkMessage::GetAddress(addresses);
        let gone = [libc::ENODEV];
        self.dump(
            "addresses",
            request,
            &gone,
            |_| false,
            |payload, addresses| {
                let address = read_address(payload)?;
                // A kernel that does not filter lists those of every interface.
                addresses.extend(address.filter(|(index, _)| of.is_none_or(|of| of == *index)));
                Ok(())
            },
        )
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
            .ask_once(RouteNetlinkMessage::GetRoute(request), 0, &|_: &[_]| false, &read, &mut answers)
            .with_context(asking)?
        {
            End::Refused(error) => match error.raw_os_error() {
                // None, `unreachable`, `prohibit`, `blackhole` (fib_props, net/ipv4/fib_semantics.c).
                Some(errno @ (libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)) => {
                    Ok(RouteAnswer::Refused(errno))
                }
                _ => Err(error).with_context(asking),
            },
            End::Whole | End::Interrupted | End::Enough => {
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
        let wan = interfaces.iter().filter(|interface| selection.wan.contains(&interface.name.as_str()));
        let all: Vec<_> = interfaces.iter().collect();
        let is_ours = |header: &RouteHeader| u8::from(header.protocol) == selection.protocol;
        let without_ipv6 = is_without_ipv6();
        self.learn_objects()?;

        let mut ours = RouteMessage::default();
        ours.header.protocol = selection.protocol.into();
        let mut routes = self.routes(ours, &all, is_ours, |_| false)?;

        for interface in wan {
            for family in families(without_ipv6) {
                let mut out_of_it = RouteMessage::default();
                out_of_it.header.address_family = family;
                out_of_it.attributes.push(RouteAttribute::Oif(interface.index));
                let kept = Cell::new(0);
                // Unreachable and the like lead out of no interface (IPv6 says lo).
                let wanted = |header: &RouteHeader| {
                    let matters = header.kind == RouteType::Unicast
                        && header.address_family == family
                        && !is_ours(header);
                    if matters && header.destination_prefix_length > 0 {
                        kept.set(kept.get() + 1);
                    }
                    matters && (header.destination_prefix_length == 0 || kept.get() <= KEPT)
                };
                // IPv4 lists a table's default routes before the others, and the main table nearly last; IPv6 lists them
                // last.
                let enough = |routes: &[Route]| {
                    let main = |route: &&Route| route.table == MAIN_TABLE && route.destination.prefix() > 0;
                    family == AddressFamily::Inet && routes.iter().filter(main).count() >= KEPT
                };
                let out_of_it = self.routes(out_of_it, &[interface], wanted, enough)?;
                routes.extend(out_of_it.into_iter().filter(|route| !selection.tables.contains(&route.table)));
            }
        }

        for table in selection.tables.clone() {
            let mut in_it = RouteMessage::default();
            in_it.attributes.push(RouteAttribute::Table(table));
            let in_it = self.routes(in_it, &all, |header| !is_ours(header), |_| false)?;
            // A kernel that does not filter lists every table.
            routes.extend(in_it.into_iter().filter(|route| route.table == table));
        }

        let rules = self.rules(|rule| {
            rule.protocol == selection.protocol
                || rule.priority == selection.rule_priority
                || selection.tables.contains(&rule.table)
        })?;
        Ok(Facts { interfaces, routes, rules, without_ipv6, ..Facts::default() })
    }

    /// The foreign default routes of the main table over all other interfaces, and over none.
    pub fn defaults_elsewhere(
        &mut self,
        facts: &Facts,
        selection: &Selection,
        family: Family,
    ) -> Result<Vec<Route>> {
        let all: Vec<_> = facts.interfaces.iter().collect();
        let family = match family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        };
        let mut main = RouteMessage::default();
        main.header.address_family = family;
        main.attributes.push(RouteAttribute::Table(MAIN_TABLE));
        let wanted = |header: &RouteHeader| {
            header.address_family == family
                && u32::from(header.table) == MAIN_TABLE
                && u8::from(header.protocol) != selection.protocol
                // IPv4 lists them first, and what comes next says that there are no more.
                && (family == AddressFamily::Inet || header.destination_prefix_length == 0)
        };
        let next =
            |route: &Route| family == AddressFamily::Inet && route.destination.ip() != Ipv4Addr::UNSPECIFIED;
        let mut routes = self.routes(main, &all, wanted, |routes| routes.iter().any(next))?;
        routes.retain(|route| {
            route.destination.prefix() == 0 && !selection.wan.iter().any(|name| route.leaves_by(name))
        });
        Ok(routes)
    }

    /// Of an interface's neighbours those that the kernel got no answer from when it last asked for them.
    pub fn silent_neighbours(&mut self, interface: &Interface) -> Result<Vec<(String, IpAddr)>> {
        let mut request = NeighbourMessage::default();
        request.attributes.push(NeighbourAttribute::IfIndex(interface.index));
        let request = RouteNetlinkMessage::GetNeighbour(request);
        // The interface may have gone since.
        self.dump(
            "neighbours",
            request,
            &[libc::ENODEV],
            |_| false,
            |payload, silent| {
                let address = read_silent_neighbour(payload, interface.index)?;
                silent.extend(address.map(|address| (interface.name.clone(), address)));
                Ok(())
            },
        )?
        .whole()
    }

    /// With `net.ipv4.nexthop_compat_mode=0` a route by way of a nexthop object tells its number alone.
    fn learn_objects(&mut self) -> Result<()> {
        self.objects.clear();
        let tells_all = fs::read_to_string("/proc/sys/net/ipv4/nexthop_compat_mode");
        if tells_all.is_ok_and(|value| value.trim() == "0") {
            let objects = self.dump(
                "nexthops",
                GetNextHops,
                &[],
                |_| false,
                |payload, objects| {
                    objects.extend(read_object(payload)?);
                    Ok(())
                },
            )?;
            let objects = objects.whole()?;
            // A group names its members.
            let single: Objects =
                objects.iter().map(|(id, hop, _)| (*id, hop.clone().into_iter().collect())).collect();
            for (id, hop, members) in objects {
                let members = members.iter().filter_map(|member| single.get(member)).flatten();
                self.objects.insert(id, hop.into_iter().chain(members.cloned()).collect());
            }
        }
        Ok(())
    }

    /// The routes that `request` selects and `wanted` confirms, until there are `enough`; of those that lead somewhere, the
    /// next hops over one of `interfaces`.
    fn routes(
        &mut self,
        request: RouteMessage,
        interfaces: &[&Interface],
        wanted: impl Fn(&RouteHeader) -> bool,
        enough: impl Fn(&[Route]) -> bool,
    ) -> Result<Vec<Route>> {
        // The interface or the table of the filter may have gone since.
        let gone = [libc::ENODEV, libc::ENOENT];
        let objects = std::mem::take(&mut self.objects);
        let routes =
            self.dump("routes", RouteNetlinkMessage::GetRoute(request), &gone, enough, |payload, routes| {
                read_route(payload, interfaces, &objects, &wanted, routes)
            });
        self.objects = objects;
        routes?.whole()
    }

    /// Every rule, in the kernel's order; none where the kernel has no policy routing.
    pub fn all_rules(&mut self) -> Result<Vec<Rule>> {
        self.rules(|_| true)
    }

    fn rules(&mut self, wanted: impl Fn(&Rule) -> bool) -> Result<Vec<Rule>> {
        // A kernel without policy routing (CONFIG_IP_MULTIPLE_TABLES) has no rules to tell.
        let unknown = [libc::EOPNOTSUPP, libc::EAFNOSUPPORT];
        let request = RouteNetlinkMessage::GetRule(RuleMessage::default());
        self.dump(
            "rules",
            request,
            &unknown,
            |_| false,
            |payload, rules| {
                rules.extend(read_rule(payload)?.filter(&wanted));
                Ok(())
            },
        )?
        .whole()
    }

    /// Everything that the kernel lists in answer to `request`, as `read` understands it. Requests leave the
    /// address family open (AF_UNSPEC), which lists all families that this kernel has: one without IPv6
    /// refuses nothing. `what` is for people; a refusal with one of the `none` error numbers is an empty list.
    ///
    /// A message that cannot be read is an error, not skipped: an interface or route left out would look like
    /// a dead line.
    fn dump<T>(
        &mut self,
        what: &'static str,
        request: impl NetlinkSerializable + Clone,
        none: &[i32],
        enough: impl Fn(&[T]) -> bool,
        read: impl Fn(&[u8], &mut Vec<T>) -> Result<(), DecodeError>,
    ) -> Result<Listed<T>> {
        let asking = || format!("asking the kernel for its {what} over netlink");
        let mut entries = Vec::new();
        for _ in 0..TRIES {
            entries.clear();
            match self
                .ask_once(request.clone(), NLM_F_DUMP, &enough, &read, &mut entries)
                .with_context(asking)?
            {
                End::Whole => {}
                End::Enough => {
                    // A dump is broken off with its socket.
                    let Kernel { socket, .. } = Self::connect().with_context(asking)?;
                    self.socket = socket;
                }
                End::Interrupted => continue,
                End::Refused(error) if error.raw_os_error().is_some_and(|number| none.contains(&number)) => {}
                End::Refused(error) => return Err(error).with_context(asking),
            }
            return Ok(Listed { what, entries, is_whole: true });
        }
        Ok(Listed { what, entries, is_whole: false })
    }

    /// One request, and what it is answered with: a list where `flags` ask for a dump, else one message.
    fn ask_once<T>(
        &mut self,
        request: impl NetlinkSerializable,
        flags: u16,
        enough: &impl Fn(&[T]) -> bool,
        read: &impl Fn(&[u8], &mut Vec<T>) -> Result<(), DecodeError>,
        found: &mut Vec<T>,
    ) -> Result<End> {
        self.sequence += 1;
        let sequence = self.sequence;
        let mut request =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(request));
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
            if enough(found) {
                return Ok(End::Enough);
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

fn get_link() -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    link
}

fn push_interface(payload: &[u8], interfaces: &mut Vec<Interface>) -> Result<(), DecodeError> {
    interfaces.push(read_interface(payload)?);
    Ok(())
}

fn attach(interfaces: &mut [Interface], addresses: Vec<(u32, Address)>) {
    for (index, address) in addresses {
        if let Some(interface) = interfaces.iter_mut().find(|interface| interface.index == index) {
            interface.addresses.push(address);
        }
    }
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
#[derive(Clone)]
struct NextHop {
    interface: u32,
    via: Option<IpAddr>,
    flags: RouteNextHopFlags,
}

/// The number of a nexthop object, where it leads, and of which others it is a group. None of one that leads nowhere.
type Object = (u32, Option<NextHop>, Vec<u32>);

fn read_object(payload: &[u8]) -> Result<Option<Object>, DecodeError> {
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
fn read_silent_neighbour(payload: &[u8], interface: u32) -> Result<Option<IpAddr>, DecodeError> {
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
fn read_route(
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

fn families(without_ipv6: bool) -> impl Iterator<Item = AddressFamily> {
    // Without IPv6 the kernel answers a question about it with what it has of others.
    [AddressFamily::Inet, AddressFamily::Inet6].into_iter().take(if without_ipv6 { 1 } else { 2 })
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
            altnames: Vec::new(),
            index: 7,
            up: true,
            carrier: true,
            point_to_point: false,
            addresses: Vec::new(),
        };
        let _ = read_route(payload, &[&interface], &Objects::new(), |_| true, &mut Vec::new());
        let _ = read_object(payload);
        let _ = read_silent_neighbour(payload, 7);
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
