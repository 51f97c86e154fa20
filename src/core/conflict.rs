//! Others who use the numbers that wanfo takes: a link's own table, or the priority of its rules.
//!
//! What they have there stays. But an echo request that would follow it says nothing of the link that it was meant for.

use std::cmp::Reverse;
use std::net::IpAddr;

use super::config::{Config, Pin};
use super::facts::{Facts, Family, Route, RouteTarget, Rule};
use super::gateway::ResolvedLink;

/// Why our echo request to a target of link number `index` would not take the link's way, though its pin is there.
pub fn diversion(
    config: &Config,
    facts: &Facts,
    index: usize,
    resolved_link: &ResolvedLink,
    target: IpAddr,
) -> Option<String> {
    if config.probe.pin == Pin::Route {
        return None;
    }
    let name = &config.links[index].name;
    let stray = stray_rule(config, facts, index, target).map(|rule| format!("rule ({rule})"));
    let stray = stray
        .or(stray_route(config, facts, index, resolved_link, target).map(|route| format!("route ({route})")));
    stray.map(|stray| format!("a foreign {stray} would lead the echo request to {target} past {name}"))
}

/// A rule that takes the request before ours does: it has the same priority and is older. That its table may have no
/// way for the request, so that ours would be asked after all, is not looked into.
fn stray_rule<'a>(config: &Config, facts: &'a Facts, index: usize, target: IpAddr) -> Option<&'a Rule> {
    let pin = config.rule_of_request(index, target);
    let same = |rule: &Rule| Rule { protocol: pin.protocol, ..rule.clone() } == pin;
    let before_ours = facts.rules.iter().take_while(|rule| !same(rule));
    // The request has no source address when the rules are asked, so one that wants a source passes it by.
    before_ours.filter(|rule| rule.priority == pin.priority && rule.family == pin.family).find(|rule| {
        !rule.narrowed
            && rule.protocol != pin.protocol
            && rule.table != pin.table
            && rule.from.is_none()
            && rule.to.is_none_or(|to| to.contains(target))
            && (rule.iif.is_none() || rule.iif == pin.iif)
            && (rule.ipproto.is_none() || rule.ipproto == pin.ipproto)
    })
}

/// The route in the link's table that the request takes, where that is not ours and leads elsewhere.
fn stray_route<'a>(
    config: &Config,
    facts: &'a Facts,
    index: usize,
    resolved_link: &ResolvedLink,
    target: IpAddr,
) -> Option<&'a Route> {
    let family = Family::from(target);
    let table = config.table_of(index);
    let leads_there = |route: &&Route| {
        route.table == table && route.family() == family && route.destination.contains(target)
    };
    let is_ours = |route: &Route| route.protocol == config.routing.protocol;
    // Of two in one place the kernel takes the first, and which that is cannot be seen.
    let rank = |route: &&Route| (Reverse(route.destination.prefix()), route.metric, is_ours(route));
    let taken = facts.routes.iter().filter(leads_there).min_by_key(rank)?;
    let next_hop = resolved_link.next_hop(family).ok()?;
    let same_way = match &taken.target {
        RouteTarget::Out { interface, via, .. } => {
            *interface == next_hop.interface && (via.is_none() || *via == next_hop.via)
        }
        RouteTarget::Unreachable | RouteTarget::Other => false,
    };
    (!is_ours(taken) && !same_way).then_some(taken)
}
