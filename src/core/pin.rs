//! What ties the probes of a link to it: its own routing table, and the rules that lead there.
//!
//! ping-rs binds its sockets to no interface, no address and no mark. By what a rule may look at, an echo request is told
//! by the file-system uid under which its socket was made, or else by where it goes.

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::change::{BACKSTOP_METRIC, WIDE, Wanted};
use super::config::{Config, Link, Pin};
use super::facts::{Facts, Family, MAIN_TABLE, RouteTarget, Rule};
use super::flow::{self, Flow, RouteAnswer};
use super::gateway::{NextHop, ResolvedLink, View};
use super::service::Check;

/// The loopback interface, which in a rule's `iif` means: sent by this host itself (ip-rule(8)).
const OURSELVES: &str = "lo";

/// The pin that is in force on this machine.
pub fn in_force(config: &Config, facts: &Facts) -> Pin {
    match config.probe.pin {
        Pin::Link if facts.cannot_take_uids => Pin::Target,
        pin => pin,
    }
}

/// The checks of a link that are asked: all or none, for only the uid ties TCP and UDP to a link.
pub fn checks(link: &Link, pin: Pin) -> &[Check] {
    match pin {
        Pin::Link => &link.checks,
        Pin::Target => &[],
    }
}

impl Config {
    /// The routing table of link number `index`, counted from 0 here and from 1 in the table's number.
    pub fn table_of(&self, index: usize) -> u32 {
        self.routing.table + 1 + index as u32
    }

    /// The links' own tables.
    pub fn tables(&self) -> Range<u32> {
        self.table_of(0)..self.table_of(self.links.len())
    }

    /// The file-system uid under which link number `index`, counted from 0, is probed.
    pub fn uid_of(&self, index: usize) -> u32 {
        self.routing.uid + 1 + index as u32
    }

    /// All of the links'.
    pub fn uids(&self) -> Range<u32> {
        self.uid_of(0)..self.uid_of(self.links.len())
    }

    /// The one under which its requests leave with this pin; `None`: our own.
    pub fn uid_with(&self, pin: Pin, index: usize) -> Option<u32> {
        (pin == Pin::Link).then(|| self.uid_of(index))
    }

    /// Of all our rules: those of the pins, and those of `inbound` before and behind them.
    pub fn rule_priorities(&self) -> RangeInclusive<u32> {
        let priority = self.routing.rule_priority;
        if self.links.iter().any(|link| link.inbound) {
            priority - 2..=priority + 1
        } else {
            priority..=priority
        }
    }

    fn rule(&self, index: usize, family: Family) -> Rule {
        let (table, protocol) = (self.table_of(index), self.routing.protocol);
        Rule { priority: self.routing.rule_priority, ..Rule::of_all(family, table, protocol) }
    }
}

/// The rules that send the probes of a link to its table, and their answers' way back.
pub fn rules(
    config: &Config,
    pin: Pin,
    index: usize,
    family: Family,
    next_hop: Option<&NextHop>,
    targets: &[IpAddr],
) -> Vec<Rule> {
    let plain = config.rule(index, family);
    let ours = Rule { iif: Some(OURSELVES.to_owned()), ..plain.clone() };
    let mut rules: Vec<Rule> = match pin {
        Pin::Link => vec![Rule { uid: Some(config.uid_of(index)), ..ours }],
        Pin::Target => {
            let of_target = |target: &IpAddr| {
                let (to, ipproto) = (Some(IpNetwork::from(*target)), Some(family.icmp()));
                Rule { to, ipproto, ..ours.clone() }
            };
            targets.iter().map(of_target).collect()
        }
    };
    // Strict reverse-path filtering asks for the way back to whoever sent, without naming a protocol or a user
    // (__fib_validate_source, net/ipv4/fib_frontend.c); without a rule of its own the answer of an inactive link is
    // dropped, and so is the gateway's ARP request where another line has a gateway of the same address. For IPv6 a
    // firewall asks in the same way (`fib saddr . mark . iif oif missing drop`, as firewalld has it by default).
    let Some(next_hop) = next_hop else { return rules };
    let gateway = next_hop.via.filter(IpAddr::is_ipv4);
    let sources = next_hop.sources();
    for to in targets.iter().copied().chain(gateway) {
        let from = |own: &IpAddr| Rule {
            from: Some(IpNetwork::from(*own)),
            to: Some(IpNetwork::from(to)),
            ..plain.clone()
        };
        rules.extend(sources.iter().map(from));
    }
    rules
}

/// Whether all that the link's user sends leaves by the link, or is refused; else why not.
pub fn holds(
    config: &Config,
    view: &View,
    index: usize,
    way: &mut dyn FnMut(&Flow) -> Result<RouteAnswer>,
) -> Result<(), String> {
    if view.facts.cannot_take_uids {
        return Err("this process may not take the link's uid; run it as root (CAP_SETUID)".to_owned());
    }
    let resolved_link = &view.links[index];
    if let Some(fault) = resolved_link.fault() {
        return Err(fault.to_string());
    }
    let uid = config.uid_of(index);
    for family in view.facts.families() {
        let is_its =
            |rule: &&Rule| (rule.family, rule.uid, rule.table) == (family, Some(uid), config.table_of(index));
        if !view.facts.rules.iter().any(|rule| is_its(&rule)) {
            return Err(format!("no rule of {family} ties uid {uid} to it; `wanfo check` makes it"));
        }
        for (part, to) in flow::default_traffic(family, config, &view.facts) {
            let answer = way(&Flow::tcp_of(to, uid)).map_err(|error| format!("{error:#}"))?;
            let own = resolved_link.next_hop(family).ok().map(|next_hop| &next_hop.interface);
            if matches!(&answer, RouteAnswer::Out { interface, .. } if Some(interface) != own) {
                return Err(format!(
                    "the kernel sends {part} of uid {uid} {answer}; `ip rule` lists what leads it there"
                ));
            }
        }
    }
    Ok(())
}

/// The rules by which what leaves from a link's own address leaves by that link, for the links with `inbound` that are up:
/// what was asked of the router over a line is answered over it. The LAN, and whatever else has a route of its own, comes
/// first; but before that come the link's pins once more, or its probes would take another's route as well.
///
/// Not at the priority of the pins: to the kernel a rule is there already where another of the same priority and table
/// has all that it names (rule_exists, net/core/fib_rules.c).
pub fn inbound(
    config: &Config,
    resolved: &[ResolvedLink],
    wanted: &Wanted,
    is_up: impl Fn(usize) -> bool,
) -> Vec<Rule> {
    let priority = config.routing.rule_priority;
    let links = config.links.iter().zip(resolved).enumerate();
    let answering = links.filter(|(index, (link, _))| link.inbound && is_up(*index));
    let rules = answering.flat_map(|(index, (_, resolved_link))| {
        let of_address = move |own: IpAddr| {
            let family = Family::from(own);
            let plain = Rule { from: Some(IpNetwork::from(own)), ..config.rule(index, family) };
            let by_main = Rule { table: MAIN_TABLE, suppress_prefix: Some(WIDE.into()), ..plain.clone() };
            // Where the main table refuses, it answers instead of being suppressed (fib_rules_lookup, net/core/fib_rules.c).
            let by_main = (!refuses(wanted, family)).then_some(Rule { priority: priority - 1, ..by_main });
            by_main.into_iter().chain([Rule { priority: priority + 1, ..plain }])
        };
        let pins = wanted.rules.iter().filter(move |rule| rule.table == config.table_of(index));
        let pins = pins.map(move |pin| Rule { priority: priority - 2, ..pin.clone() });
        pins.chain(resolved_link.addresses().into_iter().flat_map(of_address))
    });
    rules.collect()
}

/// Whether the main table is to refuse the default traffic of this family.
fn refuses(wanted: &Wanted, family: Family) -> bool {
    let mut wide = wanted.routes.iter().filter(|route| {
        let destination = route.destination;
        route.table == MAIN_TABLE && Family::from(&destination) == family && destination.prefix() <= WIDE
    });
    wide.any(|route| route.target == RouteTarget::Unreachable && route.metric != BACKSTOP_METRIC)
}

/// Targets that two links have in common just now, where one can serve only one of them: first link, second link,
/// address. The config refuses the ones that it can see.
pub fn shared_targets(config: &Config, pin: Pin, resolved: &[ResolvedLink]) -> Vec<(usize, usize, IpAddr)> {
    let mut taken: Vec<(usize, IpAddr)> = Vec::new();
    let mut shared = Vec::new();
    if pin == Pin::Link {
        return shared;
    }
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
