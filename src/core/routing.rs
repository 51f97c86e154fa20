//! What should be in the kernel, and the difference to what is there.
//!
//! `wanted` computes the routes and rules from config, gateways and active link; `plan` compares them with what the
//! kernel holds under our protocol number. Nobody else's route or rule is ever a part of a plan.

use std::net::IpAddr;
use std::ops::Range;

use ipnetwork::IpNetwork;

use super::addresses;
use super::change::{Change, IPV6_METRIC, Wanted, everything, global_ipv6, half, plain_metric};
use super::config::{Config, Ipv6WithoutGateway, Override, Pin};
use super::facts::{Facts, Family, MAIN_TABLE, Route, RouteTarget, Rule};
use super::gateway::{NextHop, ResolvedLink};

/// The metric of the `unreachable` routes that stand behind ours (0xff000000): far behind any other route, so that
/// traffic tied to a link is refused, not sent out of another one, when the link's own route is gone.
const BACKSTOP_METRIC: u32 = 4_278_198_272;

/// The loopback interface, which in a rule's `iif` means: sent by this host itself (ip-rule(8)).
const OURSELVES: &str = "lo";

/// The routes and rules that should be there while `active` carries the traffic.
pub fn wanted(config: &Config, resolved: &[ResolvedLink], active: usize, facts: &Facts) -> Wanted {
    let mut builder = Builder { config, facts, wanted: Wanted::default() };
    for (index, resolved_link) in resolved.iter().enumerate() {
        match config.probe.pin {
            Pin::Rule => builder.pin_by_rule(index, resolved_link),
            Pin::Route => builder.pin_by_route(index, resolved_link),
        }
    }
    // After every pin: with `pin: route` a destination of one link must not take the echo requests of another.
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

struct Builder<'a> {
    config: &'a Config,
    facts: &'a Facts,
    wanted: Wanted,
}

impl Builder<'_> {
    /// The link's own table, and rules that send our own echo requests to its targets there, and nothing else.
    fn pin_by_rule(&mut self, index: usize, resolved_link: &ResolvedLink) {
        let table = self.config.table_of(index);
        let targets = self.targets(index, resolved_link);
        for family in [Family::V4, Family::V6] {
            let next_hop = resolved_link.next_hop(family).ok();
            let targets: Vec<IpAddr> =
                targets.iter().copied().filter(|target| Family::from(*target) == family).collect();
            if next_hop.is_none() && targets.is_empty() {
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
            for target in targets {
                self.rule(self.config.rule_of_request(index, target));
                // Strict reverse-path filtering asks for the way back to the target without naming a protocol
                // (__fib_validate_source, net/ipv4/fib_frontend.c); without a rule of its own the answer of an
                // inactive link is dropped. IPv6 has no such filter.
                let own = next_hop
                    .map_or(&[][..], |next_hop| &next_hop.addresses)
                    .iter()
                    .filter(|_| family == Family::V4);
                for from in own.map(|own| Some(IpNetwork::from(own.network.ip()))) {
                    self.rule(Rule { from, ..self.config.rule_to(index, target) });
                }
            }
        }
    }

    /// AstLinux's way: a host route to each target, for everybody.
    fn pin_by_route(&mut self, index: usize, resolved_link: &ResolvedLink) {
        for target in self.targets(index, resolved_link) {
            self.tie(IpNetwork::from(target), resolved_link.next_hop(Family::from(target)).ok());
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
            // Its gateway is gone from sight for a moment (a DHCP client at work), or for good. What carries the
            // traffic stays; the link's failed rounds will tell.
            Err(_) if family == Family::V4 && self.keep_override(resolved[active].interface.as_deref()) => {
                return;
            }
            Err(_) if self.must_refuse(family, resolved, active) => RouteTarget::Unreachable,
            Err(_) => return,
        };
        for (destination, metric) in self.override_places(family) {
            self.route(MAIN_TABLE, destination, out.clone(), metric);
        }
    }

    /// Whether the primary needs no help of ours: of the default routes that others made, the best is its own.
    fn default_leaves_by(&self, next_hop: &NextHop, family: Family) -> bool {
        let defaults = foreign_defaults(self.facts, self.config.routing.protocol, family);
        let Some(best) = defaults.iter().map(|route| route.metric).min() else { return false };
        let best_ones = || defaults.iter().filter(|route| route.metric == best);
        best_ones().all(|route| route.leaves_by(&next_hop.interface))
            && best_ones()
                .any(|route| matches!(&route.target, RouteTarget::Out { via, .. } if *via == next_hop.via))
    }

    /// Keeps the IPv4 override by this interface as it stands.
    fn keep_override(&mut self, interface: Option<&str>) -> bool {
        let Some(interface) = interface else { return false };
        let places = self.override_places(Family::V4);
        let kept: Vec<Route> = self
            .ours()
            .filter(|route| route.table == MAIN_TABLE && route.leaves_by(interface))
            .filter(|route| places.contains(&(route.destination, route.metric)))
            .cloned()
            .collect();
        let any = !kept.is_empty();
        for Route { table, destination, target, metric, .. } in kept {
            self.route(table, destination, target, metric);
        }
        any
    }

    /// IPv6 would go on into the dead line, and every client in the LAN would wait for its timeouts; refused at once,
    /// it falls back to IPv4. Only where a link has IPv6 to go astray by. On the primary a foreign default route
    /// is none of our business, but that of a link that is for its routes only must carry the traffic of neither family.
    fn must_refuse(&self, family: Family, resolved: &[ResolvedLink], active: usize) -> bool {
        let mut links = self.config.links.iter().zip(resolved);
        let leave_ipv6 = self.config.routing.ipv6_without_gateway == Ipv6WithoutGateway::Leave;
        !(family == Family::V6 && leave_ipv6)
            && links.any(|(link, resolved_link)| match resolved_link.next_hop(family) {
                Ok(_) if family == Family::V6 && active > 0 => true,
                Ok(next_hop) => link.routes_only && self.default_leaves_by(next_hop, family),
                Err(_) => false,
            })
    }

    fn override_places(&self, family: Family) -> Vec<(IpNetwork, u32)> {
        match (self.config.routing.override_by, family) {
            (Override::Halves, Family::V4) => vec![(half(0), 0), (half(128), 0)],
            (Override::Halves, Family::V6) => vec![(global_ipv6(), IPV6_METRIC)],
            (Override::Default, family) => vec![(everything(family), 1)],
        }
    }

    /// The link's targets that have an address just now, less those that serve another link already.
    fn targets(&self, index: usize, resolved_link: &ResolvedLink) -> Vec<IpAddr> {
        let link = &self.config.links[index];
        let addresses = link.targets.iter().filter_map(|target| resolved_link.resolve(*target));
        addresses.filter(|address| !self.is_pinned(*address, index)).collect()
    }

    /// Whether an earlier link has pinned the target. Two pins of one target would send it where the first says.
    fn is_pinned(&self, target: IpAddr, index: usize) -> bool {
        let to = IpNetwork::from(target);
        match self.config.probe.pin {
            Pin::Rule => {
                let table = self.config.table_of(index);
                self.wanted.rules.iter().any(|rule| rule.to == Some(to) && rule.table != table)
            }
            Pin::Route => {
                self.wanted.routes.iter().any(|route| route.table == MAIN_TABLE && route.destination == to)
            }
        }
    }

    fn ours(&self) -> impl Iterator<Item = &Route> {
        let protocol = self.config.routing.protocol;
        self.facts.routes.iter().filter(move |route| route.protocol == protocol)
    }

    fn route(&mut self, table: u32, destination: IpNetwork, target: RouteTarget, metric: u32) {
        let protocol = self.config.routing.protocol;
        let route = Route { table, destination, target, metric, protocol };
        if !self.wanted.routes.iter().any(|other| other.place() == route.place()) {
            self.wanted.routes.push(route);
        }
    }

    fn rule(&mut self, rule: Rule) {
        if !self.wanted.rules.contains(&rule) {
            self.wanted.rules.push(rule);
        }
    }
}

impl NextHop {
    fn toward_gateway(&self) -> RouteTarget {
        RouteTarget::Out { interface: self.interface.clone(), via: self.via, onlink: self.onlink }
    }

    fn direct(&self) -> RouteTarget {
        RouteTarget::Out { interface: self.interface.clone(), via: None, onlink: false }
    }
}

impl Config {
    /// The routing table of link number `index`, counted from 0 here and from 1 in the table's number.
    pub fn table_of(&self, index: usize) -> u32 {
        self.routing.table + 1 + index as u32
    }

    /// The rule that sends our own echo requests to a target of this link to the link's table, and nothing else.
    pub fn rule_of_request(&self, index: usize, target: IpAddr) -> Rule {
        let protocol = Family::from(target).icmp();
        Rule { iif: Some(OURSELVES.to_owned()), ipproto: Some(protocol), ..self.rule_to(index, target) }
    }

    fn rule_to(&self, index: usize, target: IpAddr) -> Rule {
        Rule {
            family: Family::from(target),
            priority: self.routing.rule_priority,
            from: None,
            to: Some(IpNetwork::from(target)),
            iif: None,
            ipproto: None,
            table: self.table_of(index),
            protocol: self.routing.protocol,
            narrowed: false,
        }
    }

    /// The links' own tables; none where no rule of ours looks them up.
    pub fn tables(&self) -> Range<u32> {
        match self.probe.pin {
            Pin::Rule => self.table_of(0)..self.table_of(self.links.len()),
            Pin::Route => 0..0,
        }
    }
}

/// Whether the default traffic of a family has a route of ours that refuses it.
pub fn is_refused(config: &Config, facts: &Facts, family: Family) -> bool {
    let builder = Builder { config, facts, wanted: Wanted::default() };
    let places = builder.override_places(family);
    let mut ours = builder.ours().filter(|route| route.table == MAIN_TABLE);
    ours.any(|route| {
        route.target == RouteTarget::Unreachable && places.contains(&(route.destination, route.metric))
    })
}

/// Which link the kernel's own routes prefer: asked where there is no state to tell.
pub fn active_by_kernel(config: &Config, resolved: &[ResolvedLink], facts: &Facts) -> usize {
    let builder = Builder { config, facts, wanted: Wanted::default() };
    let places = [builder.override_places(Family::V4), builder.override_places(Family::V6)].concat();
    let overriding = builder
        .ours()
        .filter(|route| route.table == MAIN_TABLE && places.contains(&(route.destination, route.metric)));
    let defaults = [Family::V4, Family::V6].into_iter().flat_map(|family| {
        let mut defaults = foreign_defaults(facts, config.routing.protocol, family);
        defaults.sort_by_key(|route| route.metric);
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

/// Default routes that others made in the main table. One over a cable that is out counts too: the kernel goes on
/// using it (`linkdown`).
fn foreign_defaults(facts: &Facts, protocol: u8, family: Family) -> Vec<&Route> {
    let foreign = |route: &&Route| route.protocol != protocol && route.table == MAIN_TABLE;
    facts.routes.iter().filter(foreign).filter(|route| route.is_default(family)).collect()
}

/// Whether default routes over interfaces that are no link's matter too.
pub fn needs_every_default(config: &Config) -> bool {
    config.routing.override_by == Override::Default
}

/// With `override: default`: default routes of others that ours, with its metric 1, cannot beat.
pub fn unbeatable_defaults<'a>(config: &Config, facts: &'a Facts) -> Vec<&'a Route> {
    if !needs_every_default(config) {
        return Vec::new();
    }
    let both = [Family::V4, Family::V6].into_iter();
    both.flat_map(|family| foreign_defaults(facts, config.routing.protocol, family))
        .filter(|route| route.metric <= 1)
        .collect()
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
