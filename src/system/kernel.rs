//! What the kernel knows of interfaces, routes and rules, asked over rtnetlink(7). Nothing is changed here.

/// What the kernel's answers say.
pub mod read;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Range, RangeInclusive};

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    DecodeError, DefaultNla, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{self, SockFlag, SockType, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::geteuid;

use self::read::{
    Answer, End, IFLA_ALT_IFNAME, Objects, push_interface, read_address, read_object, read_route, read_rule,
    read_silent_neighbour, read_way,
};
use crate::core::change::WIDE;
use crate::core::facts::{Address, Facts, Family, Interface, MAIN_TABLE, Route, Rule};
use crate::core::flow::{Flow, RouteAnswer};

/// The kernel answers at once or never; without a limit a run would hang and hold the lock.
const ANSWER_LIMIT_SECONDS: i64 = 5;

/// How often a dump is asked for again because something changed while it was read.
const TRIES: u32 = 5;

/// Room for one datagram. The kernel fills 32 KiB at most, as long as no single message is larger (af_netlink.c,
/// netlink_recvmsg), as that of a network card with hundreds of virtual functions is. What is not touched takes no memory.
const DATAGRAM_BYTES: usize = 1024 * 1024;

/// linux/rtnetlink.h
const RTM_GETNEXTHOP: u16 = 106;

/// How many foreign routes of one interface and family are kept besides its default routes. With a full BGP table there are
/// hundreds of thousands.
const KEPT: usize = 1000;

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
    /// Foreign rules of this priority matter, as do those that look up one of the tables, the main table for what is narrow, or
    /// a table with a default route out of one of the interfaces.
    pub rule_priorities: RangeInclusive<u32>,
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
        Ok(Kernel { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM_BYTES), names, objects })
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
                let Some((index, via, redirected)) = answers.pop().with_context(asking)? else {
                    return Ok(RouteAnswer::Broadcast);
                };
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
                    let is_default = header.destination_prefix_length <= WIDE;
                    if matters && !is_default {
                        kept.set(kept.get() + 1);
                    }
                    matters && (is_default || kept.get() <= KEPT)
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

        // There may be thousands of routes and of rules: the few tables are picked out once.
        let defaults = routes.iter().filter(|route| route.destination.prefix() <= WIDE);
        let with_default: BTreeSet<u32> =
            defaults.map(|route| route.table).filter(|table| *table != MAIN_TABLE).collect();
        let rules = self.rules(|rule| {
            rule.protocol == selection.protocol
                || selection.rule_priorities.contains(&rule.priority)
                || selection.tables.contains(&rule.table)
                || rule.table == MAIN_TABLE && rule.suppress_prefix.is_some()
                || with_default.contains(&rule.table)
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

        let mut answer = Answer::to(sequence, flags & NLM_F_DUMP != 0);
        loop {
            let datagram = self.receive()?;
            if let Some(end) = answer.hear(datagram, |payload| read(payload, found))? {
                return Ok(end);
            }
            if enough(found) {
                return Ok(End::Enough);
            }
        }
    }

    /// The next datagram, whole.
    fn receive(&mut self) -> Result<&[u8]> {
        loop {
            self.buffer.clear();
            // It tells the size of the whole, also where that does not fit (recv(2)).
            match self.socket.recv(&mut self.buffer, libc::MSG_TRUNC) {
                Ok(size) if size > self.buffer.len() => {
                    bail!("one answer has {size} bytes, more than is read")
                }
                Ok(_) => return Ok(&self.buffer),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) => bail!("no reply within {ANSWER_LIMIT_SECONDS} s"),
                    Some(libc::ENOBUFS) => bail!("the kernel had no memory for its answer"),
                    _ => return Err(error.into()),
                },
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

fn attach(interfaces: &mut [Interface], addresses: Vec<(u32, Address)>) {
    for (index, address) in addresses {
        if let Some(interface) = interfaces.iter_mut().find(|interface| interface.index == index) {
            interface.addresses.push(address);
        }
    }
}

fn families(without_ipv6: bool) -> impl Iterator<Item = AddressFamily> {
    // Without IPv6 the kernel answers a question about it with what it has of others.
    [AddressFamily::Inet, AddressFamily::Inet6].into_iter().take(if without_ipv6 { 1 } else { 2 })
}
