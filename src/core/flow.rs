//! Which way something takes that leaves this host: what the kernel is asked, and what its answer says of a link.
//!
//! Rules and routes of others may come before ours in more ways than can be foretold; the kernel's answer is the truth.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::change::{default_parts, global_ipv6};
use super::config::{Config, Target};
use super::facts::{Facts, Family, RouteTarget};
use super::gateway::NextHop;
use super::health::ProbeError;
use super::service::Check;

/// IP protocol numbers (RFC 5237 registry).
const TCP: u8 = 6;
const UDP: u8 = 17;

/// No user at all, as the kernel has it of what it forwards (INVALID_UID, linux/uidgid.h).
const NOBODY: u32 = u32::MAX;

/// The loopback interface: what leaves by it arrives here.
const LOOPBACK: &str = "lo";

/// Foreign routes up to this length are a part of the default traffic, as 192.0.0.0/3 is. The widest networks that serve
/// a purpose of their own are longer: 10.0.0.0/8; of IPv6 a /12 is what IANA gives to a whole continent.
const WIDE: [u8; 2] = [7, 12];

/// What leaves, by everything that a rule may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    pub to: IpAddr,
    /// An IP protocol number (RFC 5237 registry). The kernel takes one for granted where none is said.
    pub ipproto: u8,
    /// The user that sends it; `None`: the one that wanfo runs as.
    pub uid: Option<u32>,
}

/// What the kernel says of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAnswer {
    Out {
        interface: String,
        via: Option<IpAddr>,
        /// A router on the link has named another one for this destination (RFC 792 and 4861).
        redirected: bool,
    },
    /// It would go to all hosts of a network, which takes a leave that echo requests do not ask for (SO_BROADCAST, socket(7)).
    Broadcast,
    /// It is not sent: the errno that the sender gets.
    Refused(i32),
}

/// As it goes on after "the kernel sends it".
impl fmt::Display for RouteAnswer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            RouteAnswer::Out { interface, .. } if interface == LOOPBACK => {
                f.write_str("to this router itself")
            }
            RouteAnswer::Out { interface, via: Some(via), .. } => write!(f, "out of {interface} via {via}"),
            RouteAnswer::Out { interface, via: None, .. } => write!(f, "out of {interface}"),
            RouteAnswer::Broadcast => f.write_str("nowhere, it is a network's broadcast address"),
            RouteAnswer::Refused(errno) => write!(f, "nowhere, {}", io::Error::from_raw_os_error(*errno)),
        }
    }
}

impl Flow {
    /// Our own echo request, under the uid of a link or our own.
    pub fn echo_request(to: IpAddr, uid: Option<u32>) -> Flow {
        Flow { to, ipproto: Family::from(to).icmp(), uid }
    }

    /// What a program of this user sends.
    pub fn tcp_of(to: IpAddr, uid: u32) -> Flow {
        Flow { to, ipproto: TCP, uid: Some(uid) }
    }

    pub fn is_echo_request(&self) -> bool {
        self.ipproto == Family::from(self.to).icmp()
    }

    /// What a check sends first, under the uid of a link.
    pub fn check(check: &Check, uid: Option<u32>) -> Flow {
        let ipproto = match check {
            Check::Dns(_) => UDP,
            Check::Tcp(_) | Check::Http(_) => TCP,
        };
        Flow { to: check.server(), ipproto, uid }
    }

    /// What the LAN sends most of.
    pub fn forwarded_tcp(to: IpAddr) -> Flow {
        Flow { to, ipproto: TCP, uid: Some(NOBODY) }
    }
}

impl Family {
    /// IP_PROTO ICMP and ICMPv6 (RFC 5237 registry). By number, for `ip` looks names up in /etc/protocols, which a small
    /// system may not have.
    pub fn icmp(self) -> u8 {
        match self {
            Family::V4 => 1,
            Family::V6 => 58,
        }
    }
}

impl NextHop {
    /// Whether a flow with this answer leaves by this way, and by no other. A direct neighbour is reached without the
    /// gateway, and so is the gateway itself.
    fn is_way_to(&self, to: IpAddr, answer: &RouteAnswer) -> bool {
        match answer {
            RouteAnswer::Out { interface, via, redirected } => {
                let direct = via.is_none() && (self.holds(to) || self.via == Some(to));
                *interface == self.interface && (*via == self.via || direct || *redirected)
            }
            RouteAnswer::Broadcast | RouteAnswer::Refused(_) => false,
        }
    }
}

/// Whether the echo request to a target would leave by its link; else why it is not sent. `pretended`: some of our
/// routes and rules are not there yet.
pub fn check_probe(
    next_hop: &NextHop,
    to: IpAddr,
    answer: Result<RouteAnswer>,
    pretended: bool,
) -> Result<(), ProbeError> {
    match answer {
        Ok(answer) if next_hop.is_way_to(to, &answer) => Ok(()),
        Ok(_) if pretended => Err(ProbeError::Unpinned),
        Ok(answer) => {
            let NextHop { interface, via, .. } = next_hop.clone();
            let wanted = RouteAnswer::Out { interface, via, redirected: false };
            Err(ProbeError::Diverted(format!("not asked, for the kernel sends it {answer}, not {wanted}")))
        }
        Err(error) => Err(ProbeError::OwnFault(format!("{error:#}"))),
    }
}

/// Parts of the default traffic of a family, each with an address that stands for it: the halves of IPv4 or all of global
/// IPv6, and whatever wide part of it a foreign route leads out of a WAN interface.
pub fn default_traffic(family: Family, config: &Config, facts: &Facts) -> Vec<(IpNetwork, IpAddr)> {
    let mut parts = default_parts(family);
    let wide = match family {
        Family::V4 => WIDE[0],
        Family::V6 => WIDE[1],
    };
    for route in facts.routes.iter().filter(|route| route.protocol != config.routing.protocol) {
        let network = route.destination;
        let is_part = parts[0].prefix() < network.prefix() && network.prefix() <= wide && is_unicast(network);
        let leads_out = matches!(route.target, RouteTarget::Out { .. });
        if leads_out && is_part && route.family() == family && !parts.contains(&network) {
            parts.push(network);
        }
    }
    parts.into_iter().filter_map(|part| Some((part, somewhere_in(part, config, facts)?))).collect()
}

fn is_unicast(network: IpNetwork) -> bool {
    match network.network() {
        IpAddr::V4(address) => address < Ipv4Addr::new(224, 0, 0, 0),
        first => global_ipv6().contains(first),
    }
}

/// An address inside a wide network that nothing narrower is known to be about: in the middle of the first thirty-second
/// of it for which that is so.
fn somewhere_in(network: IpNetwork, config: &Config, facts: &Facts) -> Option<IpAddr> {
    let of_links = config.links.iter().flat_map(|link| {
        let targets = link.targets.iter().filter_map(|target| match target {
            Target::Address(address) => Some(IpNetwork::from(*address)),
            Target::Gateway => None,
        });
        link.routes.iter().copied().chain(targets)
    });
    let subnets = facts.interfaces.iter().flat_map(|interface| &interface.addresses).map(|own| own.network);
    let foreign = facts.routes.iter().filter(|route| route.protocol != config.routing.protocol);
    let routes = foreign.map(|route| route.destination);
    let is_about =
        |narrower: IpNetwork, address| narrower.prefix() > network.prefix() && narrower.contains(address);
    let middle = |of: u32| match network.network() {
        IpAddr::V4(first) => {
            let step = 1 << (32 - 6 - u32::from(network.prefix()));
            IpAddr::from((u32::from(first) + (2 * of + 1) * step + 1).to_be_bytes())
        }
        IpAddr::V6(first) => {
            let step = 1 << (128 - 6 - u32::from(network.prefix()));
            IpAddr::from((u128::from(first) + (2 * u128::from(of) + 1) * step + 1).to_be_bytes())
        }
    };
    let is_private = |address: &IpAddr| matches!(address, IpAddr::V4(address) if address.is_private());
    (0..32).map(middle).filter(|address| !is_private(address)).find(|address| {
        !of_links.clone().chain(subnets.clone()).chain(routes.clone()).any(|known| is_about(known, *address))
    })
}
