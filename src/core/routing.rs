//! What should be in the kernel, and the difference to what is there.
//!
//! `wanted` computes the routes and rules from config, gateways and active link; `plan` compares them with what the
//! kernel holds under our protocol number. Nobody else's route or rule is ever a part of a plan.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use super::addresses;
use super::change::{
    BACKSTOP_METRIC, Change, Wanted, everything, global_ipv6, global_ipv6_halves, halves, nat64,
    plain_metric, quarters,
};
use super::config::{Config, Ipv6WithoutGateway, Override, Pin};
use super::defaults::{self, OVERRIDE_METRIC};
use super::facts::{
    Facts, Family, MAIN_PRIORITY, MAIN_TABLE, Preference, Route, RouteTarget, Rule, Traits, other_than,
};
use super::gateway::{self, NextHop, ResolvedLink, Source, View};
use super::pin;
use super::service::Check;

/// A router with a NAT64 of its own has a route to it, which wins.
const NAT64_METRIC: u32 = BACKSTOP_METRIC - 1;

/// The routes and rules that should be there while `active` carries the traffic.
pub fn wanted(config: &Config, resolved: &[ResolvedLink], active: usize, facts: &Facts) -> Wanted {
    let mut builder = Builder::new(config, facts);
    for (index, resolved_link) in resolved.iter().enumerate() {
        builder.pin(index, resolved_link);
    }
    for (link, resolved_link) in config.links.iter().zip(resolved) {
        for destination in &link.routes {
            builder.tie(*destination, resolved_link.next_hop(Family::from(destination)).ok());
        }
    }
    for family in [Family::V4, Family::V6] {
        builder.carry_default_traffic(family, resolved, active);
    }
    builder.wanted.addresses = addresses::wanted(config);
    if facts.without_ipv6 {
        builder.wanted.leave_out_ipv6();
    }
    builder.wanted
}

/// The ways of lines whose default routes are for what comes from their own prefixes (RTA_SRC; RFC 8028): repeated where an
/// override, which is narrower, would take that traffic to a provider who drops it. For the links that are up.
///
/// As halves of the override's destination: in its own place they would hide it from packets with other sources
/// (fib6_node_lookup_1, net/ipv6/ip6_fib.c, goes on to what is wider).
pub fn own_sources(
    config: &Config,
    view: &View,
    active: usize,
    wanted: &Wanted,
    is_up: impl Fn(usize) -> bool,
) -> Vec<Route> {
    let is_override = |route: &&Route| {
        route.table == MAIN_TABLE
            && route.destination == global_ipv6()
            && matches!(route.target, RouteTarget::Out { .. })
    };
    let Some(taken) = wanted.routes.iter().find(is_override) else { return Vec::new() };
    let links = config.links.iter().zip(&view.links).enumerate();
    let others: Vec<_> = links
        .filter(|(index, (link, _))| *index != active && !link.routes_only && is_up(*index))
        .filter_map(|(_, (_, other))| other.interface.as_deref())
        .collect();
    let defaults = defaults::foreign(config, &view.facts, Family::V6).into_iter();
    let of_sources = defaults
        .filter(|route| route.only.is_some() && others.iter().any(|interface| route.leaves_by(interface)));
    let mut routes: Vec<Route> = Vec::new();
    for route in of_sources {
        for destination in global_ipv6_halves() {
            let (only, target) = (route.only, route.target.clone());
            let repeated = Route { destination, only, target, ..taken.clone() };
            if !routes.iter().any(|other| other.place() == repeated.place()) {
                routes.push(repeated);
            }
        }
    }
    routes
}

struct Builder<'a> {
    config: &'a Config,
    facts: &'a Facts,
    pin: Pin,
    wanted: Wanted,
}

impl<'a> Builder<'a> {
    fn new(config: &'a Config, facts: &'a Facts) -> Builder<'a> {
        Builder { config, facts, pin: pin::in_force(config, facts), wanted: Wanted::default() }
    }

    /// The link's own table, and the rules that send its probes there, and nothing else.
    fn pin(&mut self, index: usize, resolved_link: &ResolvedLink) {
        let table = self.config.table_of(index);
        let targets = self.asked(index, resolved_link);
        for family in [Family::V4, Family::V6] {
            let next_hop = resolved_link.next_hop(family).ok();
            let targets: Vec<IpAddr> =
                targets.iter().copied().filter(|target| Family::from(*target) == family).collect();
            if self.pin == Pin::Target && next_hop.is_none() && targets.is_empty() {
                continue;
            }
            if let Some(next_hop) = next_hop {
                self.route(table, everything(family), next_hop.toward_gateway(), plain_metric(family));
                for &target in
                    targets.iter().filter(|&&target| next_hop.holds(target) && next_hop.via != Some(target))
                {
                    self.route(table, IpNetwork::from(target), next_hop.direct(), plain_metric(family));
                }
            }
            self.route(table, everything(family), RouteTarget::Unreachable, BACKSTOP_METRIC);
            let rules = pin::rules(self.config, self.pin, index, family, next_hop, &targets);
            rules.into_iter().for_each(|rule| self.rule(rule));
        }
    }

    /// Ties a destination to a link for all traffic, with nowhere else to go when the link has no way.
    fn tie(&mut self, destination: IpNetwork, next_hop: Option<&NextHop>) {
        let metric = plain_metric(Family::from(&destination));
        if let Some(next_hop) = next_hop {
            let out =
                if next_hop.holds_all(destination) { next_hop.direct() } else { next_hop.toward_gateway() };
            self.route(MAIN_TABLE, destination, out, metric);
        }
        self.route(MAIN_TABLE, destination, RouteTarget::Unreachable, BACKSTOP_METRIC);
    }

    fn carry_default_traffic(&mut self, family: Family, resolved: &[ResolvedLink], active: usize) {
        let out = match resolved[active].next_hop(family) {
            Ok(next_hop) if active == 0 && self.default_leaves_by(next_hop, family) => return,
            Ok(next_hop) => next_hop.toward_gateway(),
            Err(_) if self.must_refuse(family, resolved, active) => RouteTarget::Unreachable,
            Err(_) => {
                self.wanted.routes.extend(self.kept_override(family, &resolved[active]));
                return;
            }
        };
        for (destination, metric) in self.override_places(family) {
            self.route(MAIN_TABLE, destination, out.clone(), metric);
        }
    }

    /// Whether the primary needs no help of ours: of the default routes that others made, the best is its own. Of two on a
    /// par the kernel may long take the one whose gateway is gone: what it forwards does not heed who answers
    /// (fib_select_path, net/ipv4/fib_semantics.c).
    fn default_leaves_by(&self, next_hop: &NextHop, family: Family) -> bool {
        let best_ones = defaults::best_foreign(self.config, self.facts, family);
        let fits = |route: &&Route| {
            let interface = self.facts.interface(&next_hop.interface);
            !gateway::is_silent(route, self.facts)
                && interface
                    .is_none_or(|own| gateway::fits(route, own, self.config.routing.protocol, self.facts))
        };
        let is_its_own =
            |route: &&Route| matches!(&route.target, RouteTarget::Out { via, .. } if *via == next_hop.via);
        best_ones.iter().all(|route| route.leaves_by(&next_hop.interface))
            && (best_ones.len() == 1 || best_ones.iter().all(fits))
            // Another router of the line may be as good, unless the admin has named one.
            && match next_hop.source {
                Some(Source::Config) => best_ones.iter().all(is_its_own) && !best_ones.is_empty(),
                _ => best_ones.iter().any(is_its_own),
            }
    }

    /// The override by the active link as it stands, where its IPv4 gateway is gone from sight for a moment (a DHCP client
    /// at work), or for good. What carries the traffic stays; the link's failed rounds will tell.
    fn kept_override(&self, family: Family, active: &ResolvedLink) -> Vec<Route> {
        let places = self.override_places(family);
        let stands = |route: &&Route| {
            family == Family::V4
                && route.only.is_none()
                && route.table == MAIN_TABLE
                && active.interface.as_ref().is_some_and(|interface| route.leaves_by(interface))
                && places.contains(&(route.destination, route.metric))
        };
        self.ours().filter(stands).cloned().collect()
    }

    /// Whether traffic for which the active link has no way would go astray by another one: into a dead line, or out of one
    /// that drops the source address, and every client in the LAN would wait for its timeouts. Refused at once, it falls
    /// back to the other family.
    ///
    /// On the primary a foreign default route is none of our business as long as it leads over no link. But that of a link
    /// that is for its routes only must never carry the traffic.
    ///
    /// With a VPN for everything, as wg-quick(8) has it, a rule before the VPN's own takes from the main table what is narrower
    /// than a default route. A refusal in there is an answer all the same (fib_rules_lookup, net/core/fib_rules.c), and
    /// would shut the VPN.
    fn must_refuse(&self, family: Family, resolved: &[ResolvedLink], active: usize) -> bool {
        let is_left_alone =
            defaults::rules_for_narrow_routes(self.config, self.facts, family).next().is_some()
                || match family {
                    Family::V4 => self.all_ipv4_is_tied(0, 0),
                    Family::V6 => self.config.routing.ipv6_without_gateway == Ipv6WithoutGateway::Leave,
                };
        if is_left_alone || !self.kept_override(family, &resolved[active]).is_empty() {
            return false;
        }
        let has = |family| resolved[active].next_hop(family).is_ok();
        let has_other = has(other_than(family));
        let may_refuse = has_other || family == Family::V6 && active > 0;
        let leads_into = |interface: &Option<String>| {
            interface.as_ref().is_some_and(|interface| self.default_leads_into(interface, family))
        };
        let mut links = self.config.links.iter().zip(resolved).enumerate();
        links.any(|(index, (link, other))| match other.next_hop(family) {
            // The primary's own default routes are none of our business either, whatever we take it for.
            _ if index == active && active == 0 => false,
            Ok(next_hop) if link.routes_only && self.default_leaves_by(next_hop, family) => true,
            // Somebody's default route leads into it, whether or not it has a way by what is configured or known of it.
            _ => may_refuse && leads_into(&other.interface),
        })
    }

    /// Whether `routes` of the links cover this network, whole or in parts: then nothing of it can go astray.
    fn all_ipv4_is_tied(&self, start: u32, length: u8) -> bool {
        let address = IpAddr::from(Ipv4Addr::from(start));
        let mut routes = self.config.links.iter().flat_map(|link| &link.routes);
        routes.any(|route| route.prefix() <= length && route.contains(address))
            || length < 4
                && self.all_ipv4_is_tied(start, length + 1)
                && self.all_ipv4_is_tied(start | 1 << (31 - length), length + 1)
    }

    /// Whether a default route of somebody else's takes traffic out of this interface.
    fn default_leads_into(&self, interface: &str, family: Family) -> bool {
        let narrowed = defaults::foreign(self.config, self.facts, family).into_iter();
        let narrowed = narrowed.filter(|route| route.only.is_some());
        narrowed
            .chain(defaults::best_foreign(self.config, self.facts, family))
            .any(|route| route.leaves_by(interface))
    }

    fn override_places(&self, family: Family) -> Vec<(IpNetwork, u32)> {
        match (defaults::override_in_force(self.config, self.facts, family), family) {
            (Override::Halves, Family::V4) if self.a_line_is_in_halves() => {
                quarters().map(|quarter| (quarter, 0)).into()
            }
            (Override::Halves, Family::V4) => halves().map(|half| (half, 0)).into(),
            (Override::Halves, Family::V6) => {
                let nat64 = nat64().map(|network| (network, NAT64_METRIC));
                [(global_ipv6(), OVERRIDE_METRIC)].into_iter().chain(nat64).collect()
            }
            (Override::Default, family) => vec![(everything(family), OVERRIDE_METRIC)],
        }
    }

    /// Whether a link's own default route is in halves, with a metric that nothing beats. A VPN's halves are not ours to beat: it
    /// leaves by whichever link is active.
    fn a_line_is_in_halves(&self) -> bool {
        let interfaces: Vec<_> = (self.config.links.iter())
            .filter_map(|link| gateway::interface_of(link, &self.facts.interfaces))
            .collect();
        let defaults = defaults::foreign(self.config, self.facts, Family::V4);
        let is_a_line_s = |half: &IpNetwork| {
            defaults.iter().any(|route| {
                route.destination == *half
                    && route.metric == 0
                    && interfaces.iter().any(|interface| route.leaves_by(&interface.name))
            })
        };
        halves().iter().all(is_a_line_s)
    }

    /// Whom the link is asked for: its targets that have an address just now, less those that serve another link already,
    /// and the servers of its checks, as far as these are asked.
    fn asked(&self, index: usize, resolved_link: &ResolvedLink) -> Vec<IpAddr> {
        let link = &self.config.links[index];
        let addresses = link.targets.iter().filter_map(|target| resolved_link.resolve(*target));
        let mut asked: Vec<IpAddr> = addresses.filter(|address| !self.is_pinned(*address, index)).collect();
        for server in pin::checks(link, self.pin).iter().map(Check::server) {
            if !asked.contains(&server) {
                asked.push(server);
            }
        }
        asked
    }

    /// Whether an earlier link has a pin of its own for the target. Two of them would send it where the first says.
    fn is_pinned(&self, target: IpAddr, index: usize) -> bool {
        let (to, table) = (IpNetwork::from(target), self.config.table_of(index));
        let is_pin = |rule: &&Rule| rule.to == Some(to) && rule.ipproto.is_some();
        self.wanted.rules.iter().filter(is_pin).any(|rule| rule.table != table)
    }

    fn ours(&self) -> impl Iterator<Item = &Route> {
        let protocol = self.config.routing.protocol;
        self.facts.routes.iter().filter(move |route| route.protocol == protocol)
    }

    fn route(&mut self, table: u32, destination: IpNetwork, target: RouteTarget, metric: u32) {
        let protocol = self.config.routing.protocol;
        let preference = Preference::default();
        let route = Route { table, destination, only: None, target, metric, protocol, preference };
        if !self.wanted.routes.iter().any(|other| other.place() == route.place()) {
            self.wanted.routes.push(route);
        }
    }

    /// Of two that are about the same packets the first counts.
    fn rule(&mut self, rule: Rule) {
        let is_like = |other: &Rule| Rule { table: rule.table, ..other.clone() } == rule;
        if !self.wanted.rules.iter().any(is_like) {
            self.wanted.rules.push(rule);
        }
    }
}

impl NextHop {
    fn told_traits(&self) -> Traits {
        Traits { source: self.traits.source.or(self.named_source), ..self.traits.clone() }
    }

    fn toward_gateway(&self) -> RouteTarget {
        let traits = self.told_traits();
        RouteTarget::Out { interface: self.interface.clone(), via: self.via, onlink: self.onlink, traits }
    }

    fn direct(&self) -> RouteTarget {
        let traits = self.told_traits();
        RouteTarget::Out { interface: self.interface.clone(), via: None, onlink: false, traits }
    }
}

/// Whether the default traffic of a family has a route of ours that refuses it.
pub fn is_refused(config: &Config, facts: &Facts, family: Family) -> bool {
    let builder = Builder::new(config, facts);
    let places = builder.override_places(family);
    let mut ours = builder.ours().filter(|route| route.table == MAIN_TABLE);
    ours.any(|route| {
        route.only.is_none()
            && route.target == RouteTarget::Unreachable
            && places.contains(&(route.destination, route.metric))
    })
}

/// Which link the kernel's own routes prefer: asked where there is no state to tell.
pub fn active_by_kernel(config: &Config, resolved: &[ResolvedLink], facts: &Facts) -> usize {
    let builder = Builder::new(config, facts);
    let places = [builder.override_places(Family::V4), builder.override_places(Family::V6)].concat();
    let overriding = builder
        .ours()
        .filter(|route| route.only.is_none() && route.table == MAIN_TABLE)
        .filter(|route| places.contains(&(route.destination, route.metric)));
    let defaults = [Family::V4, Family::V6].into_iter().flat_map(|family| {
        let mut defaults = defaults::foreign(config, facts, family);
        defaults.retain(|route| route.only.is_none());
        defaults.sort_by_key(|route| (Reverse(route.destination.prefix()), route.metric));
        defaults
    });
    overriding.chain(defaults).find_map(|route| link_of(config, route, resolved)).unwrap_or(0)
}

/// The link that a default route leaves by; two links on one interface are told apart by the gateway.
fn link_of(config: &Config, route: &Route, resolved: &[ResolvedLink]) -> Option<usize> {
    let RouteTarget::Out { interface, via, .. } = &route.target else { return None };
    let on_interface = |resolved_link: &ResolvedLink| resolved_link.interface.as_ref() == Some(interface);
    let same_gateway = |resolved_link: &ResolvedLink| {
        resolved_link.next_hop(route.family()).is_ok_and(|next_hop| next_hop.via == *via)
    };
    let place = |is_it: &dyn Fn(&ResolvedLink) -> bool| {
        let mut links = config.links.iter().zip(resolved);
        links.position(|(link, resolved_link)| !link.routes_only && is_it(resolved_link))
    };
    place(&|resolved_link| on_interface(resolved_link) && same_gateway(resolved_link))
        .or_else(|| place(&on_interface))
}

/// Families whose traffic is refused, because the active link has no way for it and it would go astray by another.
pub fn refused(config: &Config, resolved: &[ResolvedLink], active: usize, facts: &Facts) -> Vec<Family> {
    let builder = Builder::new(config, facts);
    let is_refused = |family: &Family| {
        resolved[active].next_hop(*family).is_err() && builder.must_refuse(*family, resolved, active)
    };
    [Family::V4, Family::V6].into_iter().filter(is_refused).collect()
}

/// What others send out of a link by way of a gateway, and no override moves.
pub fn foreign_destinations<'a>(
    config: &Config,
    resolved_link: &'a ResolvedLink,
    facts: &'a Facts,
) -> impl Iterator<Item = &'a Route> {
    let protocol = config.routing.protocol;
    let leads_on = |route: &Route| matches!(route.target, RouteTarget::Out { via: Some(_), .. });
    facts.routes.iter().filter(move |route| {
        route.table == MAIN_TABLE
            && route.protocol != protocol
            && !route.is_default(route.family())
            && leads_on(route)
            && resolved_link.interface.as_ref().is_some_and(|interface| route.leaves_by(interface))
    })
}

/// The rules of others that send traffic by this link before the main table is asked, so that no failover moves it. That from
/// the link's own addresses cannot go elsewhere anyway.
pub fn foreign_rules<'a>(
    config: &Config,
    resolved_link: &ResolvedLink,
    facts: &'a Facts,
) -> impl Iterator<Item = &'a Rule> {
    let protocol = config.routing.protocol;
    let leads_out = |route: &&Route| {
        route.protocol != protocol
            && route.is_default(route.family())
            && resolved_link.interface.as_ref().is_some_and(|interface| route.leaves_by(interface))
    };
    let defaults = facts.routes.iter().filter(leads_out);
    let tables: Vec<(u32, Family)> = defaults.map(|route| (route.table, route.family())).collect();
    let own = resolved_link.addresses();
    facts.rules.iter().filter(move |rule| {
        rule.protocol != protocol
            && rule.priority < MAIN_PRIORITY
            && rule.table != MAIN_TABLE
            && !rule.from.is_some_and(|from| own.contains(&from.ip()))
            && tables.contains(&(rule.table, rule.family))
    })
}

/// The changes that bring the kernel from `facts` to `wanted`: of routes and rules additions and replacements first,
/// removals last, so that there is no moment without a route.
pub fn plan(facts: &Facts, wanted: &Wanted, protocol: u8) -> Vec<Change> {
    let (ours, foreign): (Vec<_>, Vec<_>) = facts.routes.iter().partition(|route| route.protocol == protocol);
    let mut changes = addresses::plan(facts, wanted);
    for route in &wanted.routes {
        let in_place: Vec<_> = ours.iter().filter(|other| other.place() == route.place()).collect();
        match in_place[..] {
            [only] if only.target == route.target => {}
            // Somebody else made the very same route; it serves, and it is not ours to touch.
            [] if foreign.iter().any(|o| o.place() == route.place() && o.target == route.target) => {}
            [] => changes.push(Change::AddRoute(route.clone())),
            // A replacement takes whichever of them comes first, and that may be a foreign one.
            _ if is_taken(&foreign, route) => changes.push(Change::AddRoute(route.clone())),
            _ => changes.push(Change::ReplaceRoute(route.clone())),
        }
    }
    for rule in &wanted.rules {
        // As with routes, a foreign one that is the very same serves.
        if !facts.rules.iter().any(|other| Rule { protocol, ..other.clone() } == *rule) {
            changes.push(Change::AddRule(rule.clone()));
        }
    }
    for rule in facts.rules.iter().filter(|rule| rule.protocol == protocol) {
        if !wanted.rules.contains(rule) {
            changes.push(Change::DeleteRule(rule.clone()));
        }
    }
    // Of several in one place (multipath, `append`) the replacement takes away one or all of them, as the kernel
    // likes; what it leaves goes, and where it left nothing the removal fails and does no harm.
    for route in &ours {
        let is_extra = ours.iter().filter(|other| other.place() == route.place()).count() > 1;
        let goes = match wanted.routes.iter().find(|wanted| wanted.place() == route.place()) {
            Some(wanted) => (is_extra || is_taken(&foreign, wanted)) && wanted.target != route.target,
            None => true,
        };
        if goes {
            changes.push(Change::DeleteRoute((*route).clone()));
        }
    }
    changes
}

/// Whether somebody else has a route in the place of ours.
fn is_taken(foreign: &[&Route], route: &Route) -> bool {
    foreign.iter().any(|other| other.place() == route.place())
}
