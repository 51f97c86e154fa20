//! The default routes that others made, and what they mean for ours.

use std::cmp::Reverse;

use ipnetwork::IpNetwork;

use super::change::{default_parts, global_ipv6};
use super::config::{Config, Override};
use super::facts::{Facts, Family, MAIN_TABLE, Route, Rule};
use super::gateway::{ResolvedLink, View};

/// Of an override that has to beat others in the same place. (0 is none in IPv6.)
pub const OVERRIDE_METRIC: u32 = 1;

/// Default routes, or parts of them, in the main table, for some packets at least. One over a cable that is out counts too: the
/// kernel goes on using it (`linkdown`).
pub fn foreign<'a>(config: &Config, facts: &'a Facts, family: Family) -> Vec<&'a Route> {
    let is_foreign = |route: &&Route| route.protocol != config.routing.protocol && route.table == MAIN_TABLE;
    facts.routes.iter().filter(is_foreign).filter(|route| route.is_default(family)).collect()
}

/// Of those for all packets the narrowest that have the lowest metric, for each part of the default traffic.
pub fn best_foreign<'a>(config: &Config, facts: &'a Facts, family: Family) -> Vec<&'a Route> {
    let mut defaults = foreign(config, facts, family);
    defaults.retain(|route| route.only.is_none());
    let rank = |route: &Route| (Reverse(route.destination.prefix()), route.metric);
    let best_of = |part: &IpNetwork| {
        let of_it = defaults.iter().filter(|route| route.covers(*part));
        of_it.map(|route| rank(route)).min()
    };
    let parts = default_parts(family);
    let is_best =
        |route: &&Route| parts.iter().any(|part| route.covers(*part) && best_of(part) == Some(rank(route)));
    defaults.iter().copied().filter(is_best).collect()
}

/// How a backup takes the traffic of a family. Where somebody's rule takes from the main table what is narrower than a default
/// route, as those of wg-quick(8) and NetBird do, the narrow overrides would be taken by it: out of the VPN, and past our
/// pins where it comes before these. A default route is not, where it beats the others.
pub fn override_in_force(config: &Config, facts: &Facts, family: Family) -> Override {
    match takes_narrow_overrides(config, facts, family) && rivals(config, facts, family).next().is_none() {
        true => Override::Default,
        false => config.routing.override_by,
    }
}

/// Where somebody's rule would take narrow overrides, and a default route would be beaten: by these.
pub fn keeping_overrides_narrow<'a>(config: &Config, facts: &'a Facts) -> Vec<&'a Route> {
    let is_kept = |family: &Family| {
        config.routing.override_by == Override::Halves && takes_narrow_overrides(config, facts, *family)
    };
    let families = [Family::V4, Family::V6].into_iter().filter(is_kept);
    families.flat_map(|family| rivals(config, facts, family)).collect()
}

/// What comes before a default route of ours.
fn rivals<'a>(
    config: &Config,
    facts: &'a Facts,
    family: Family,
) -> impl Iterator<Item = &'a Route> + use<'a> {
    foreign(config, facts, family).into_iter().filter(|route| beats_a_default(route))
}

fn beats_a_default(route: &Route) -> bool {
    route.metric <= OVERRIDE_METRIC || route.only.is_some() || route.destination.prefix() > 0
}

fn takes_narrow_overrides(config: &Config, facts: &Facts, family: Family) -> bool {
    let narrow = default_parts(family).iter().map(|part| u32::from(part.prefix())).min();
    rules_for_narrow_routes(config, facts, family).any(|rule| rule.suppress_prefix < narrow)
}

/// The rules of others by which packets, all of them or the LAN's, take what the main table has that is narrow enough.
pub fn rules_for_narrow_routes<'a>(
    config: &Config,
    facts: &'a Facts,
    family: Family,
) -> impl Iterator<Item = &'a Rule> + use<'a> {
    let protocol = config.routing.protocol;
    let is_theirs = move |rule: &Rule| rule.family == family && rule.protocol != protocol;
    let takes_narrow = |rule: &Rule| rule.table == MAIN_TABLE && rule.suppress_prefix.is_some();
    facts.rules.iter().filter(move |rule| is_theirs(rule) && takes_narrow(rule))
}

/// Links whose default routes, made by others, have the same metric: each with the other before it in the config.
pub fn equal<'a>(config: &'a Config, view: &View) -> Vec<(&'a str, &'a str)> {
    let carriers = || config.links.iter().zip(&view.links).filter(|(link, _)| !link.routes_only);
    let mut equal: Vec<(&str, &str)> = Vec::new();
    for family in [Family::V4, Family::V6] {
        let mut defaults = foreign(config, &view.facts, family);
        defaults.retain(|route| route.destination.prefix() == 0 && route.only.is_none());
        let metric = |resolved_link: &ResolvedLink| {
            let interface = resolved_link.interface.as_deref()?;
            let own = defaults.iter().filter(|route| route.leaves_by(interface));
            own.map(|route| route.metric).min().map(|metric| (interface.to_owned(), metric))
        };
        let metrics: Vec<_> =
            carriers().filter_map(|(link, it)| Some((link.name.as_str(), metric(it)?))).collect();
        for (index, (name, (interface, metric))) in metrics.iter().enumerate() {
            let is_equal =
                |(_, (other, of_other)): &&(&str, (String, u32))| other != interface && of_other == metric;
            let pair = metrics[..index].iter().find(is_equal).map(|(other, _)| (*name, *other));
            equal.extend(pair.filter(|pair| !equal.contains(pair)));
        }
    }
    equal
}

/// The families in which default routes over interfaces that are no link's matter too: ours must beat them, or they tell
/// whether traffic that a link has no way for goes astray.
pub fn all_needed(config: &Config, resolved: &[ResolvedLink], facts: &Facts) -> Vec<Family> {
    let needs = |family: &Family| {
        let is_known = !foreign(config, facts, *family).is_empty();
        let has = |link: &ResolvedLink| link.next_hop(*family).is_ok();
        override_in_force(config, facts, *family) == Override::Default
            || (is_known || resolved.iter().any(has)) && !resolved.iter().all(has)
    };
    [Family::V4, Family::V6].into_iter().filter(needs).collect()
}

/// Default routes of others that an override, with its metric 1, cannot beat. What narrows a route counts before its metric.
pub fn unbeatable<'a>(config: &Config, facts: &'a Facts) -> Vec<&'a Route> {
    let of_family = |family| {
        let by = override_in_force(config, facts, family);
        foreign(config, facts, family).into_iter().filter(move |route| match by {
            Override::Default => beats_a_default(route),
            Override::Halves => route.metric <= OVERRIDE_METRIC && route.destination == global_ipv6(),
        })
    };
    [Family::V4, Family::V6].into_iter().flat_map(of_family).collect()
}
