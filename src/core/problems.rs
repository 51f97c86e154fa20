//! What an admin should look at: every check of a run, each with its code and its cure.
//!
//! A new problem is a new `Code` in problem.rs and a few lines here.

use std::fmt::Display;

use ipnetwork::IpNetwork;

use super::config::{Config, Gateway, Link, Pin, Target};
use super::facts::Family;
use super::gateway::{LinkFault, ResolvedLink, View, shared_targets};
use super::health::{ProbeError, Verdict};
use super::problem::{Code, Problem};
use super::round::{LinkResult, RunInput};
use super::routing;

/// How many foreign routes or rules are named in one sentence.
const NAMED: usize = 3;

/// Everything that this run found, links first.
pub fn find(input: &RunInput, view: &View, results: &[LinkResult]) -> Vec<Problem> {
    let mut problems = of_links(input.config, view);
    problems.extend(conflicts(input.config, view));
    problems.extend(left_behind(input, view, results));
    problems.extend(refused(input.config, view, input.active()));
    problems.extend(no_link_up(input, results));
    problems.extend(surroundings(input, view));
    problems
}

/// What config, interfaces, addresses and gateways of the links say by themselves.
pub fn of_links(config: &Config, view: &View) -> Vec<Problem> {
    let links = config.links.iter().zip(&view.links);
    let mut problems: Vec<Problem> =
        links.flat_map(|(link, resolved)| of_link(link, resolved, view)).collect();
    problems.extend(shared(config, &view.links));
    problems.extend(routes_on_targets(config, &view.links));
    problems.extend(same_addresses(config, &view.links));
    problems
}

/// What keeps this machine from probing. It says nothing of any line.
pub fn own_faults(results: &[LinkResult]) -> Vec<Problem> {
    let mut faults: Vec<Problem> = Vec::new();
    for reply in results.iter().filter_map(|link| link.replies.as_ref()).flatten() {
        if let Err(ProbeError::OwnFault(fault) | ProbeError::Refused(fault)) = &reply.result {
            let fault = Problem::new(Code::CannotProbe, None, fault);
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
    }
    faults
}

fn of_link(link: &Link, resolved: &ResolvedLink, view: &View) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |code, text: String| problems.push(Problem::new(code, Some(&link.name), text));
    if let Some(fault) = resolved.fault() {
        let (code, cure) = code_and_cure(fault);
        add(code, format!("{fault}{cure}"));
    }
    if let Err(LinkFault::NoGateway(_, name)) = &resolved.v4 {
        let files = view.facts.leases.iter().filter(|file| file.interface == *name);
        for why in files.filter_map(|file| file.lease.as_ref().err()) {
            add(Code::LeaseNotUsed, why.clone());
        }
    }
    if resolved.v6 == Err(LinkFault::NoIpv6)
        && let Some(wish) = first_of_ipv6(link)
    {
        let text = format!(
            "this kernel has no IPv6 for {wish}; take that out of the config, or start the kernel without \
             `ipv6.disable=1`"
        );
        add(Code::NoIpv6, text);
    }
    for (setting, next_hop) in [(link.gateway, &resolved.v4), (link.gateway6, &resolved.v6)] {
        // A host address (/32, /128) is how modems in half-bridge mode hand out theirs: nothing wrong there.
        if let (Gateway::Address(gateway), Ok(next_hop)) = (setting, next_hop)
            && next_hop.onlink
            && next_hop.addresses.iter().any(|own| own.network.prefix() < IpNetwork::from(gateway).prefix())
        {
            let subnets: Vec<String> = next_hop.addresses.iter().map(|own| own.network.to_string()).collect();
            let text = format!(
                "gateway {gateway} lies outside the subnets of {} ({}); if it is not really a neighbour there, correct \
                 `gateway` or the interface's address",
                next_hop.interface,
                subnets.join(", ")
            );
            add(Code::GatewayOutsideSubnet, text);
        }
    }
    problems
}

fn code_and_cure(fault: &LinkFault) -> (Code, &'static str) {
    match fault {
        // `ip` prints the interface below a VLAN like a part of its name. As the kernel lets a name hold an at sign,
        // only that there is no such interface tells.
        LinkFault::NoInterface(name) if name.contains('@') => (
            Code::NoInterface,
            "; behind the at sign `ip link` prints the interface below, which is no part of the name: for eth0.5@eth0 \
             write `interface: eth0.5`",
        ),
        LinkFault::NoInterface(_) => (Code::NoInterface, "; see `ip link` for the names there are"),
        LinkFault::GatewayInNoSubnet(_) => {
            (Code::GatewayInNoSubnet, "; give an interface an address there, or name the link's `interface`")
        }
        LinkFault::AdminDown(_) => (Code::AdminDown, "; `ip link set DEV up` brings it up"),
        LinkFault::NoCarrier(_) => (Code::NoCarrier, "; is the cable in, and the modem on?"),
        LinkFault::NoAddress(Family::V4, _) => (Code::NoAddress, "; is its DHCP or PPP client running?"),
        LinkFault::OnlyLinkLocal(..) => {
            (Code::NoAddress, "; is its DHCP client running, and what does it say?")
        }
        LinkFault::OnlyUniqueLocal(..) => {
            (Code::NoAddress, "; if the router there translates it, set `gateway6` in the config")
        }
        LinkFault::NoAddress(Family::V6, _) => (Code::NoAddress, NO_ADVERTISEMENT),
        LinkFault::NoGateway(Family::V6, _) => (Code::NoGateway, NO_ADVERTISEMENT),
        LinkFault::NoGateway(..) => (
            Code::NoGateway,
            " (of systemd-networkd, NetworkManager, dhcpcd, dhclient, or udhcpc by its hook); set `gateway` in the \
             config, or let its DHCP client install a default route",
        ),
        LinkFault::NoIpv6 => (Code::NoIpv6, ""),
    }
}

const NO_ADVERTISEMENT: &str = "; does a router there advertise itself, and does the kernel listen (`accept_ra=2` where \
                                it forwards)? Else set `gateway6` in the config";

/// The first of what a link can have only by IPv6.
fn first_of_ipv6(link: &Link) -> Option<String> {
    let gateway = match link.gateway6 {
        Gateway::Address(address) => Some(address),
        Gateway::Auto | Gateway::None => None,
    };
    let target = link.targets.iter().find_map(|target| match target {
        Target::Address(address) if address.is_ipv6() => Some(*address),
        _ => None,
    });
    let network = || link.address.iter().chain(&link.routes).find(|network| network.is_ipv6());
    gateway.or(target).map(|address| address.to_string()).or_else(|| network().map(ToString::to_string))
}

fn shared(config: &Config, resolved: &[ResolvedLink]) -> Vec<Problem> {
    let shared = shared_targets(config, resolved).into_iter();
    shared
        .map(|(first, second, address)| {
            let [first, second] = [first, second].map(|index| &config.links[index].name);
            let text = format!(
                "{first} has {address} as a target as well just now, and one target can serve only one link; give one \
                 of them another target"
            );
            Problem::new(Code::SharedTarget, Some(second), text)
        })
        .collect()
}

/// With `pin: route`: destinations of one link that are the gateway and target of another just now. The config refuses
/// the ones that it can see.
fn routes_on_targets(config: &Config, resolved: &[ResolvedLink]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.probe.pin == Pin::Rule {
        return problems;
    }
    for (index, (link, resolved)) in config.links.iter().zip(resolved).enumerate() {
        for address in link.targets.iter().filter_map(|target| resolved.resolve(*target)) {
            let mut others = config.links.iter().enumerate().filter(|(other, _)| *other != index);
            if let Some((_, other)) =
                others.find(|(_, other)| other.routes.contains(&IpNetwork::from(address)))
            {
                let text = format!(
                    "{address} is a target just now, so with `pin: route` it cannot be a destination of {}: take it out \
                     of the `routes` there, give {} another target, or use `pin: rule`",
                    other.name, link.name
                );
                problems.push(Problem::new(Code::RouteIsTarget, Some(&link.name), text));
            }
        }
    }
    problems
}

/// Two modems that hand out the same address.
fn same_addresses(config: &Config, resolved: &[ResolvedLink]) -> Vec<Problem> {
    let links = config.links.iter().zip(resolved).enumerate();
    let mut problems = Vec::new();
    for (index, (link, resolved_link)) in links {
        let (earlier, names) = (&resolved[..index], config.links.iter());
        let mine = resolved_link.addresses();
        let has_mine = |other: &ResolvedLink| {
            let shared = other.addresses().into_iter().find(|address| mine.contains(address));
            shared.filter(|address| address.is_ipv4() && other.interface != resolved_link.interface)
        };
        let mut same = earlier.iter().zip(names).filter_map(|(other, first)| Some((has_mine(other)?, first)));
        if let Some((address, first)) = same.next() {
            let text = format!(
                "it has the address {address}, as {} has: with strict reverse-path filtering (`rp_filter=1`) the kernel drops                  what comes back by one of the two, and `flush_conntrack` cannot tell their flows apart; set one modem to                  another subnet, or `net.ipv4.conf.DEV.rp_filter=2` for both interfaces",
                first.name
            );
            problems.push(Problem::new(Code::SameAddress, Some(&link.name), text));
        }
    }
    problems
}

/// What other programs send by a link that is down and does not carry the default traffic: no failover moves it.
fn left_behind(input: &RunInput, view: &View, results: &[LinkResult]) -> Vec<Problem> {
    let links = input.config.links.iter().zip(&view.links).zip(results).enumerate();
    let down = links
        .filter(|(index, (_, result))| *index != input.active() && result.health.verdict == Verdict::Down);
    let problem = |(_, ((link, resolved), _)): (usize, ((&Link, &ResolvedLink), &LinkResult))| {
        let routes = list(routing::foreign_destinations(input.config, resolved, &view.facts))?;
        let text = format!(
            "it is down, and foreign routes lead some destinations there all the same ({routes}); take them out, or to another              link, if somebody needs these destinations"
        );
        Some(Problem::new(Code::RouteStays, Some(&link.name), text))
    };
    down.filter_map(problem).collect()
}

/// A family that the active link has no way for, though the config does not say that it has none, and another link has.
fn refused(config: &Config, view: &View, active: usize) -> Vec<Problem> {
    let link = &config.links[active];
    let problem = |family| {
        let (setting, key) = match family {
            Family::V4 => (link.gateway, "gateway"),
            Family::V6 => (link.gateway6, "gateway6"),
        };
        let fault = view.links[active].next_hop(family).err().filter(|_| setting != Gateway::None)?;
        let (_, cure) = code_and_cure(fault);
        let text = format!(
            "{family} is refused while this link carries the traffic, or it would go astray by another: {fault}{cure}; where \
             it has none, set `{key}: none`"
        );
        Some(Problem::new(Code::FamilyRefused, Some(&link.name), text))
    };
    let families = routing::refused(config, &view.links, active, &view.facts).into_iter();
    families.filter_map(problem).collect()
}

/// Others who use the numbers that wanfo takes: a link's own table, or the priority of its rules.
fn conflicts(config: &Config, view: &View) -> Vec<Problem> {
    let protocol = config.routing.protocol;
    let facts = &view.facts;
    let mut problems = Vec::new();
    for (link, table) in config.links.iter().zip(config.tables()) {
        let in_it = facts.routes.iter().filter(|route| route.table == table && route.protocol != protocol);
        if let Some(routes) = list(in_it) {
            let text = format!(
                "its table {table} holds foreign routes ({routes}); set `routing.table` in the config to another number"
            );
            problems.push(Problem::new(Code::ForeignRoute, Some(&link.name), text));
        }
        let looking = facts.rules.iter().filter(|rule| rule.table == table && rule.protocol != protocol);
        if let Some(rules) = list(looking) {
            let text = format!(
                "foreign rules look up its table {table} ({rules}); set `routing.table` in the config to another number"
            );
            problems.push(Problem::new(Code::ForeignRule, Some(&link.name), text));
        }
    }
    let priority = config.routing.rule_priority;
    let beside_ours =
        facts.rules.iter().filter(|rule| rule.priority == priority && rule.protocol != protocol);
    if config.probe.pin == Pin::Rule
        && let Some(rules) = list(beside_ours)
    {
        let text = format!(
            "foreign rules have wanfo's priority {priority} ({rules}); set `routing.rule_priority` in the config to a \
             smaller number"
        );
        problems.push(Problem::new(Code::ForeignRule, None, text));
    }
    for route in routing::unbeatable_defaults(config, facts) {
        let cure = match route.only {
            None => "give it a metric of 2 or more",
            Some(_) => "what narrows it counts before any metric; use `override: halves`",
        };
        let text =
            format!("with `override: default` no failover can beat this default route: {route}; {cure}");
        problems.push(Problem::new(Code::ForeignDefault, None, text));
    }
    problems
}

fn no_link_up(input: &RunInput, results: &[LinkResult]) -> Option<Problem> {
    let mut carriers = input.config.links.iter().zip(results).filter(|(link, _)| !link.routes_only);
    let none = carriers.all(|(_, result)| result.health.verdict == Verdict::Down);
    let text = || format!("no link is up; staying on {} until one is", input.name(input.active()));
    none.then(|| Problem::new(Code::NoLinkUp, None, text()))
}

/// What else on this machine keeps a part of wanfo from its work.
fn surroundings(input: &RunInput, view: &View) -> Vec<Problem> {
    let config = input.config;
    let mut problems = Vec::new();
    if config.flush_conntrack && view.facts.without_conntrack {
        let text = "`flush_conntrack` needs the program conntrack; install conntrack (conntrack-tools)";
        problems.push(Problem::new(Code::ConntrackMissing, None, text));
    }
    if config.action_script.is_some() || config.exit_script.is_some() {
        let text = "the scripts run inside the sandbox of wanfo.service and may fail at what they do; install the drop-in \
                    action-script.conf that comes with the units";
        let sandboxed = Problem::new(Code::ScriptsSandboxed, None, text);
        // A command by hand cannot tell: what the unit's own run found stands.
        let stood = || input.state.problems.iter().any(|problem| problem.is(&sandboxed));
        if view.facts.sandboxed.unwrap_or_else(stood) {
            problems.push(sandboxed);
        }
    }
    problems
}

fn list<T: Display>(items: impl Iterator<Item = T>) -> Option<String> {
    let all: Vec<String> = items.map(|item| item.to_string()).collect();
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!all.is_empty()).then(|| all[..all.len().min(NAMED)].join(", ") + &more)
}
