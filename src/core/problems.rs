//! What an admin should look at: every check of a run, each with its code and its cure.
//!
//! What else a new problem takes than a `Code` in problem.rs and a few lines here, docs/ARCHITECTURE.md lists.

/// What the answers of targets and checks show, and those that never come.
pub mod answers;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::change::global_ipv6;
use super::config::{Config, Gateway, Link, Override, Target};
use super::defaults;
use super::facts::{Facts, Family, MAIN_TABLE, Purpose, Route, Rule};
use super::flow::{self, Flow, RouteAnswer};
use super::gateway::{LinkFault, NextHop, ResolvedLink, View};
use super::health::{LinkResult, Verdict};
use super::pin;
use super::problem::{Code, Problem, list};
use super::round::RunInput;
use super::routing;
use super::state::State;

/// What DHCP clients mark their routes with (RTPROT_DHCP, rtnetlink(7)).
const DHCP: u8 = 16;

/// Everything that this run found, links first.
pub fn find(input: &RunInput, view: &View, results: &[LinkResult]) -> Vec<Problem> {
    let mut problems = of_links(input.config, view);
    problems.extend(conflicts(input.config, view));
    problems.extend(host_routes(input, view));
    problems.extend(left_behind(input, view, results));
    problems.extend(answers::no_link_up(input, results));
    problems.extend(answers::checks_fail(input, results));
    problems.extend(answers::checks_untied(input));
    problems.extend(surroundings(input, view));
    problems.extend(of_config(input.config, view));
    problems
}

/// What is wrong with the config on this machine, whatever the lines are like just now: all that breaks on the night of the
/// switch and not before.
pub fn of_config(config: &Config, view: &View) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &view.facts.files {
        let (code, what) = match file.purpose {
            Purpose::ActionScript => (Code::ScriptUnusable, "no switch is told to the action script"),
            Purpose::ExitScript => (Code::ScriptUnusable, "no failback can be asked of the exit script"),
            Purpose::LinkScript => (Code::ScriptUnusable, "no change of a link is told to the link script"),
            Purpose::Mail => (Code::MailFileUnusable, "no mail can be sent"),
            Purpose::Webhook => (Code::WebhookFileUnusable, "the webhook can be told nothing"),
        };
        problems.push(Problem::new(code, None, format!("{what}: {}", file.why)));
    }
    for (link, resolved) in config.links.iter().zip(&view.links) {
        let mut add = |code, text: String| problems.push(Problem::new(code, Some(&link.name), text));
        for address in link.targets.iter().filter_map(|target| resolved.resolve(*target)) {
            if let Some(whose) = owner_of(address, config, &view.facts) {
                let text = format!(
                    "target {address} is this router's own address ({whose}), and its own answers say nothing of the line; \
                     take one beyond it"
                );
                add(Code::TargetIsOwnAddress, text);
            }
        }
        for check in &link.checks {
            if let Some(whose) = owner_of(check.server(), config, &view.facts) {
                let text = format!(
                    "{check} is asked of this router itself ({whose}), which answers however dead the line is; take a server \
                     beyond it"
                );
                add(Code::TargetIsOwnAddress, text);
            }
        }
        for next_hop in [&resolved.v4, &resolved.v6].into_iter().flatten() {
            if let Some(gateway) = next_hop.via
                && let Some(whose) = owner_of(gateway, config, &view.facts)
            {
                let text = format!(
                    "gateway {gateway} is this router's own address ({whose}), so nothing leaves by it; set `gateway` to \
                     the provider's router"
                );
                add(Code::GatewayIsOwnAddress, text);
            }
        }
        if link.targets.is_empty() && !link.routes_only {
            let text = "it has no targets, so it is not probed, and counts as good for as long as its interface has \
                        carrier; give it `targets`";
            add(Code::NotProbed, text.to_owned());
        }
    }
    problems.extend(defaults::equal(config, view).into_iter().map(|(link, other)| {
        let text = format!(
            "its default route has the same metric as that of {other}, so without wanfo it is left to chance which one \
             is taken; give each its own in their DHCP or network settings"
        );
        Problem::new(Code::EqualDefaults, Some(link), text)
    }));
    problems
}

/// The interface of this machine that has the address, or is given it by the config.
fn owner_of<'a>(address: IpAddr, config: &'a Config, facts: &'a Facts) -> Option<&'a str> {
    let found =
        facts.interfaces.iter().flat_map(|it| it.addresses.iter().map(|own| (it.name.as_str(), own.network)));
    let given = config.links.iter().filter_map(|link| Some((link.interface.as_deref()?, &link.address)));
    let given = given.flat_map(|(name, networks)| networks.iter().map(move |network| (name, *network)));
    found.chain(given).find(|(_, network)| network.ip() == address).map(|(name, _)| name)
}

/// What config, interfaces, addresses and gateways of the links say by themselves.
pub fn of_links(config: &Config, view: &View) -> Vec<Problem> {
    let links = config.links.iter().zip(&view.links);
    let mut problems: Vec<Problem> =
        links.flat_map(|(link, resolved)| of_link(link, resolved, view)).collect();
    problems.extend(shared(config, view));
    problems.extend(same_interfaces(config, &view.links));
    problems.extend(same_addresses(config, &view.links));
    problems
}

/// How it stands with the default traffic and the link that carries it now, when all else is done.
pub fn of_default_traffic(
    config: &Config,
    state: &State,
    view: &View,
    way: &mut dyn FnMut(&Flow) -> Result<RouteAnswer>,
) -> Vec<Problem> {
    let mut problems = refused(config, state, view);
    problems.extend(beside_the_override(config, state, view));
    problems.extend(default_elsewhere(config, state, view, way));
    problems
}

/// Foreign routes that our IPv6 override beats by its metric alone, while it is there and they lead elsewhere.
fn beside_the_override(config: &Config, state: &State, view: &View) -> Vec<Problem> {
    let active = state.active_in(config).and_then(|active| view.links[active].interface.as_deref());
    let ours = |route: &&Route| route.protocol == config.routing.protocol;
    let in_place = view.facts.routes.iter().filter(|route| {
        route.table == MAIN_TABLE && route.destination == global_ipv6() && route.only.is_none()
    });
    let is_there = in_place.clone().any(|route| ours(&route));
    let others = in_place.filter(|route| is_there && !ours(route));
    let others = others.filter(|route| !active.is_some_and(|active| route.leaves_by(active)));
    let told = |route: &Route| {
        let text = format!(
            "another program has a route for all of IPv6 as well, and only the metric has the override come first: {route}; a \
             default route (::/0) in its place would be no rival"
        );
        Problem::new(Code::ForeignRoute, None, text)
    };
    others.map(told).collect()
}

/// The default traffic that does not take the active link, or is not refused where the link has none of the family and
/// it should be. The kernel is asked.
pub fn default_elsewhere(
    config: &Config,
    state: &State,
    view: &View,
    way: &mut dyn FnMut(&Flow) -> Result<RouteAnswer>,
) -> Option<Problem> {
    let active = state.active_in(config).filter(|_| !view.facts.pretended)?;
    let mut astray: BTreeMap<String, Vec<IpNetwork>> = BTreeMap::new();
    for family in [Family::V4, Family::V6] {
        let next_hop = view.links[active].next_hop(family).ok();
        if next_hop.is_none() && !routing::is_refused(config, &view.facts, family) {
            continue;
        }
        // Another router of the line may be as good; that of another link on the same interface is not.
        let is_right = |answer: &RouteAnswer| match (answer, next_hop) {
            (RouteAnswer::Out { interface, via, .. }, Some(next_hop)) => {
                let mut others = view.links.iter().filter_map(|other| other.next_hop(family).ok());
                let is_anothers = others
                    .any(|other| other != next_hop && other.interface == *interface && other.via == *via);
                *interface == next_hop.interface && !is_anothers
            }
            (RouteAnswer::Refused(_), None) => true,
            _ => false,
        };
        for (part, address) in flow::default_traffic(family, config, &view.facts) {
            // An error has no other way to be told than the next look's.
            if let Some(answer) = way(&Flow::forwarded_tcp(address)).ok().filter(|answer| !is_right(answer)) {
                astray.entry(answer.to_string()).or_default().push(part);
            }
        }
    }
    let ways = astray.into_iter().filter_map(|(way, parts)| Some(format!("{} {way}", list(parts)?)));
    let text = format!(
        "the default traffic goes elsewhere: the kernel sends {}; `ip rule` and `ip route show table all` list what \
         leads it there",
        list(ways)?
    );
    Some(Problem::new(Code::DefaultElsewhere, Some(&state.active), text))
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
    for family in [Family::V4, Family::V6] {
        // A link that can do nothing at all is told above.
        let (Err(fault), Some(wish)) = (resolved.next_hop(family), first_wish(link, family)) else {
            continue;
        };
        if *fault == LinkFault::NoIpv6 {
            let text = format!(
                "this kernel has no IPv6 for {wish}; take that out of the config, or start the kernel without \
                 `ipv6.disable=1`"
            );
            add(Code::NoIpv6, text);
        } else if resolved.fault().is_none() {
            let (code, cure) = code_and_cure(fault);
            add(code, format!("{wish} in the config is {family}, and {fault}{cure}"));
        }
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

fn code_and_cure(fault: &LinkFault) -> (Code, Cow<'static, str>) {
    let (code, cure) = match fault {
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
        LinkFault::AdminDown(name) => {
            return (Code::AdminDown, format!("; `ip link set {name} up` brings it up").into());
        }
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
    };
    (code, cure.into())
}

const NO_ADVERTISEMENT: &str = "; does a router there advertise itself, and does the kernel listen (`accept_ra=2` where \
                                it forwards)? Else set `gateway6` in the config";

/// The first of what a link can have only by this family.
fn first_wish(link: &Link, family: Family) -> Option<String> {
    let gateway = match if family == Family::V4 { link.gateway } else { link.gateway6 } {
        Gateway::Address(address) => Some(address),
        Gateway::Auto | Gateway::None => None,
    };
    let target = link.targets.iter().find_map(|target| match target {
        Target::Address(address) if Family::from(*address) == family => Some(*address),
        _ => None,
    });
    let mut networks = link.address.iter().chain(&link.routes);
    let mut network = || networks.find(|network| Family::from(*network) == family);
    gateway.or(target).map(|address| address.to_string()).or_else(|| network().map(ToString::to_string))
}

fn shared(config: &Config, view: &View) -> Vec<Problem> {
    let pin = pin::in_force(config, &view.facts);
    let shared = pin::shared_targets(config, pin, &view.links).into_iter();
    shared
        .map(|(first, second, address)| {
            let [first, second] = [first, second].map(|index| &config.links[index].name);
            let text = format!(
                "{first} has {address} as a target as well just now, and with `pin: target` one target can serve only one link; \
                 give one of them another target"
            );
            Problem::new(Code::SharedTarget, Some(second), text)
        })
        .collect()
}

/// One interface by two of its names; the config has refused the same name twice. Two gateways on one interface are two lines.
fn same_interfaces(config: &Config, resolved: &[ResolvedLink]) -> Vec<Problem> {
    let named = || config.links.iter().zip(resolved).filter(|(link, _)| link.interface.is_some());
    let way = |resolved: &ResolvedLink| {
        let via = |family| resolved.next_hop(family).ok().and_then(|next_hop| next_hop.via);
        (resolved.interface.clone(), [Family::V4, Family::V6].map(via))
    };
    let problem = |(index, (link, resolved)): (usize, (&Link, &ResolvedLink))| {
        let (written, name) = (link.interface.as_ref()?, resolved.interface.as_ref()?);
        let (first, _) = named().take(index).find(|(_, other)| way(other) == way(resolved))?;
        let text = format!(
            "its interface {written} is that of {} by another name ({name}), so both are one line; give each link an interface of \
             its own",
            first.name
        );
        Some(Problem::new(Code::NoInterface, Some(&link.name), text))
    };
    named().enumerate().filter_map(problem).collect()
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
                "it has the address {address}, as {} has: with strict reverse-path filtering (`rp_filter=1`) the kernel drops \
                 what comes back by one of the two, and `flush_conntrack` cannot tell their flows apart; set one modem to another subnet, or `net.ipv4.conf.DEV.rp_filter=2` for both interfaces",
                first.name
            );
            problems.push(Problem::new(Code::SameAddress, Some(&link.name), text));
        }
    }
    problems
}

/// What other programs' routes and rules send by a link that is down and does not carry the default traffic: no failover moves it.
fn left_behind(input: &RunInput, view: &View, results: &[LinkResult]) -> Vec<Problem> {
    let links = input.config.links.iter().zip(&view.links).zip(results).enumerate();
    let down = links
        .filter(|(index, (_, result))| *index != input.active() && result.health.verdict == Verdict::Down);
    let problem = |(_, ((link, resolved), _)): (usize, ((&Link, &ResolvedLink), &LinkResult))| {
        let (config, facts) = (input.config, &view.facts);
        let routes = list(routing::foreign_destinations(config, resolved, facts));
        let rules = list(routing::foreign_rules(config, resolved, facts));
        let told = [("routes", routes), ("rules", rules)].into_iter();
        let told: Vec<String> =
            told.filter_map(|(what, all)| Some(format!("foreign {what} ({})", all?))).collect();
        let text = format!(
            "it is down, and {} lead traffic there all the same, which no failover moves; take them out, or to another link, if \
             somebody needs that traffic",
            told.join(" and ")
        );
        (!told.is_empty()).then(|| Problem::new(Code::RouteStays, Some(&link.name), text))
    };
    down.filter_map(problem).collect()
}

/// A family that the active link has no way for, though the config does not say that it has none, and another link has.
fn refused(config: &Config, state: &State, view: &View) -> Vec<Problem> {
    let active = state.active_in(config).unwrap_or(0);
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
    for ((link, resolved), table) in config.links.iter().zip(&view.links).zip(config.tables()) {
        let in_it = facts.routes.iter().filter(|route| route.table == table && route.protocol != protocol);
        if let Some(routes) = list(in_it) {
            let text = format!(
                "its table {table} holds foreign routes ({routes}); set `routing.table` in the config to another number"
            );
            problems.push(Problem::new(Code::ForeignRoute, Some(&link.name), text));
        }
        // Somebody may use the link on purpose: by a mark, for a user, from the link's own address.
        let own = resolved.addresses();
        let is_meant = |rule: &Rule| {
            rule.narrowed || rule.uid.is_some() || rule.from.is_some_and(|from| own.contains(&from.ip()))
        };
        let looking = facts
            .rules
            .iter()
            .filter(|rule| rule.table == table && rule.protocol != protocol && !is_meant(rule));
        if let Some(rules) = list(looking) {
            let text = format!(
                "foreign rules look up its table {table} ({rules}); set `routing.table` in the config to another number"
            );
            problems.push(Problem::new(Code::ForeignRule, Some(&link.name), text));
        }
    }
    let ours = config.rule_priorities();
    let beside_ours = facts
        .rules
        .iter()
        .filter(|rule| ours.contains(&rule.priority) && rule.protocol != protocol && !rule.narrowed);
    if let Some(rules) = list(beside_ours) {
        let ours = match ours.start() == ours.end() {
            true => format!("priority {}", ours.start()),
            false => format!("priorities {} to {}", ours.start(), ours.end()),
        };
        let text = format!(
            "foreign rules have wanfo's {ours} ({rules}); set `routing.rule_priority` in the config to a smaller number"
        );
        problems.push(Problem::new(Code::ForeignRule, None, text));
    }
    for route in defaults::unbeatable(config, facts) {
        let is_narrow = route.only.is_some() || route.destination.prefix() > 0;
        let cure = match defaults::override_in_force(config, facts, route.family()) {
            Override::Default if is_narrow => {
                "what narrows it counts before any metric; set `routing.override: halves`"
            }
            _ => "give it a metric of 2 or more",
        };
        let text = format!("no failover can beat this route of another program's: {route}; {cure}");
        problems.push(Problem::new(Code::ForeignDefault, None, text));
    }
    for route in defaults::keeping_overrides_narrow(config, facts) {
        let text = format!(
            "another program's rule takes narrow routes from the main table (`ip rule`), and would take what a failover sets, out of a \
             VPN or away from the probes; it would set a default route in its place, were it not for this one: {route}; give it a \
             metric of 2 or more"
        );
        problems.push(Problem::new(Code::ForeignDefault, None, text));
    }
    problems
}

/// Host routes of a DHCP client that keep to a line which is not active, as systemd-networkd's to name servers do.
fn host_routes(input: &RunInput, view: &View) -> Vec<Problem> {
    let active = view.links[input.active()].interface.as_deref();
    let links =
        input.config.links.iter().zip(&view.links).filter(|(link, resolved_link)| {
            !link.routes_only && resolved_link.interface.as_deref() != active
        });
    let problems = links.filter_map(|(link, resolved_link)| {
        let interface = resolved_link.interface.as_deref()?;
        let tied = view.facts.routes.iter().filter(|route| {
            let (to, family) = (route.destination.ip(), route.family());
            let is_neighbour = |next_hop: &NextHop| next_hop.holds(to) || next_hop.via == Some(to);
            route.protocol == DHCP
                && route.table == MAIN_TABLE
                && route.destination == IpNetwork::from(to)
                && route.leaves_by(interface)
                && !link.routes.contains(&route.destination)
                && !resolved_link.next_hop(family).is_ok_and(is_neighbour)
        });
        let text = format!(
            "its DHCP client ties {} to this line, also while another one is active; if that is a name or time server, \
             everybody waits for it while the line is dead: set `RoutesToDNS=no` and `RoutesToNTP=no` under [DHCPv4] in \
             its .network file (systemd-networkd)",
            list(tied.map(|route| route.destination.ip()))?
        );
        Some(Problem::new(Code::HostRoute, Some(&link.name), text))
    });
    problems.collect()
}

/// What else on this machine keeps a part of wanfo from its work.
fn surroundings(input: &RunInput, view: &View) -> Vec<Problem> {
    let config = input.config;
    let mut problems = Vec::new();
    if config.flush_conntrack && view.facts.without_conntrack {
        let text = "`flush_conntrack` needs the program conntrack; install conntrack (conntrack-tools)";
        problems.push(Problem::new(Code::ConntrackMissing, None, text));
    }
    if config.probe.pin != pin::in_force(config, &view.facts) {
        let text = "wanfo may not take the uids of the links (it has no CAP_SETUID, or this user namespace has no such users), \
                    so each target is tied for itself, and one target can serve only one link; give it CAP_SETUID, or write \
                    `pin: target` where that is meant";
        problems.push(Problem::new(Code::PinnedByTarget, None, text));
    }
    for (uid, user) in &view.facts.owned_uids {
        let text = format!(
            "the user {user} has the uid {uid}, which is that of a link: all that this user sends leaves by that link; set \
             `routing.uid` in the config to a range that nobody has"
        );
        problems.push(Problem::new(Code::UidTaken, None, text));
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
