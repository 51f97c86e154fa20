//! The configuration: what the admin wants, with every default filled in.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::IpNetwork;

/// The whole configuration file, checked and complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// 2 to 8 links in order of preference; the first is the primary.
    pub links: Vec<Link>,
    pub probe: Probe,
    pub routing: Routing,
    pub paths: Paths,
    pub log_level: LogLevel,
}

/// One WAN line.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Letters, digits, '-' and '_'; unique.
    pub name: String,
    /// Missing only where `gateway` is an address: the interface whose subnet holds it is found on every run.
    pub interface: Option<String>,
    /// Only ever an IPv4 address.
    pub gateway: Gateway,
    /// Only ever an IPv6 address.
    pub gateway6: Gateway,
    pub targets: Vec<Target>,
    /// How many targets must answer for a good round.
    pub quorum: u32,
    /// The time after a switch to this link in which no automatic switch leaves it.
    pub delay: Duration,
    /// How often this link is probed while it waits, healthy, as a backup; zero is every run.
    pub standby_interval: Duration,
    /// Destinations that use this link all the time.
    pub routes: Vec<IpNetwork>,
}

/// Where a link's gateway comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// What the kernel knows.
    Auto,
    /// There is none: a point-to-point interface.
    None,
    Address(IpAddr),
}

/// What is pinged to learn whether a link works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Address(IpAddr),
    /// The link's own gateway, whichever it is at the time.
    Gateway,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// An answer later than this is no answer.
    pub timeout: Duration,
    /// How many failed rounds bring a link down.
    pub threshold: u32,
    pub pin: Pin,
}

/// How a target is tied to its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// By policy rules: only our own echo requests take the link's table.
    Rule,
    /// By host routes in the main table, for kernels without policy routing.
    Route,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// The route protocol number that marks every route and rule of ours.
    pub protocol: u8,
    /// Link number i, from 1, has table `table` + i.
    pub table: u32,
    pub rule_priority: u32,
    pub override_by: Override,
    pub ipv6_without_gateway: Ipv6WithoutGateway,
}

/// How a backup takes the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// 0.0.0.0/1, 128.0.0.0/1 and 2000::/3, which beat a default route of any metric.
    Halves,
    /// One default route with metric 1.
    Default,
}

/// What happens to IPv6 while the active link has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6WithoutGateway {
    Unreachable,
    Leave,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Paths {
    pub run: PathBuf,
    pub state: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Info,
    Debug,
}
