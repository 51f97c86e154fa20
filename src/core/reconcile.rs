//! Bringing the kernel to what should be there, and reading it back.

use anyhow::Result;

use super::addresses;
use super::change::{Change, Wanted};
use super::config::Config;
use super::defaults;
use super::facts::{Assignment, Family, Route};
use super::gateway::View;
use super::health::Verdict;
use super::pin;
use super::problem::{Code, Problem};
use super::record::Event;
use super::routing;
use super::state::State;
use super::world::World;

/// The kernel after it was brought in line.
pub struct Reconciled {
    /// As it was read back.
    pub view: View,
    /// What was tried.
    pub changes: Vec<Change>,
    /// What `ip` complained of.
    refused: Vec<String>,
    /// What is still not as it should be.
    pub left: Vec<Change>,
}

pub fn look(world: &mut dyn World, config: &Config) -> Result<View> {
    Ok(View::of(config, world.look(config)?))
}

/// Brings the kernel to what it should be while the state's active link carries the traffic.
pub fn reconcile(world: &mut dyn World, config: &Config, view: View, state: &State) -> Result<Reconciled> {
    let active = state.active_in(config).unwrap_or(0);
    let leaving = addresses::leaving(&state.own_addresses, config);
    let is_up = |index: usize| {
        let known = state.link(&config.links[index].name);
        known.is_none_or(|link| link.health.verdict == Verdict::Up)
    };
    bring_in_line(world, config, view, |view| {
        let mut wanted = routing::wanted(config, &view.links, active, &view.facts);
        let inbound = pin::inbound(config, &view.links, &wanted, is_up);
        wanted.rules.extend(inbound);
        let own_sources = routing::own_sources(config, view, active, &wanted, is_up);
        wanted.routes.extend(own_sources);
        Wanted { leaving: leaving.clone(), ..wanted }
    })
}

/// Takes out every route and rule that has this protocol number, and these addresses.
pub fn take_out(
    world: &mut dyn World,
    config: &Config,
    protocol: u8,
    leaving: &[Assignment],
) -> Result<Reconciled> {
    let config = numbered(config, protocol);
    let view = look(world, &config)?;
    bring_in_line(world, &config, view, |_| Wanted { leaving: leaving.to_vec(), ..Wanted::default() })
}

/// Gives the routes that have this number the one of the config, each in its place: there is no moment without them. One that
/// shares its place with a foreign one stays, for the kernel would replace whichever comes first. Returns what was tried.
pub fn renumber(world: &mut dyn World, config: &Config, before: u8) -> Result<Vec<String>> {
    let facts = look(world, &numbered(config, before))?.facts;
    let in_place = |route: &Route| facts.routes.iter().filter(|other| other.place() == route.place()).count();
    let old = facts.routes.iter().filter(|route| route.protocol == before && in_place(route) == 1);
    let protocol = config.routing.protocol;
    let changes: Vec<_> =
        old.map(|route| Change::ReplaceRoute(Route { protocol, ..route.clone() })).collect();
    // What `ip` refuses has its old number still, and is taken out by that.
    world.apply(&changes);
    Ok(changes.iter().map(ToString::to_string).collect())
}

/// The config with another protocol number: what bears that is ours then.
fn numbered(config: &Config, protocol: u8) -> Config {
    let mut config = config.clone();
    config.routing.protocol = protocol;
    config
}

/// Where nothing differs nothing is run.
///
/// The world may move on meanwhile: an IPv6 address becomes usable, a DHCP client sets a route. What is wanted only
/// since then is done as well, but only once, lest somebody who changes things without pause keep us here for ever.
fn bring_in_line(
    world: &mut dyn World,
    config: &Config,
    view: View,
    wanted: impl Fn(&View) -> Wanted,
) -> Result<Reconciled> {
    let plan = |view: &View| routing::plan(&view.facts, &wanted(view), config.routing.protocol);
    let left = plan(&view);
    let mut reconciled = Reconciled { view, changes: Vec::new(), refused: Vec::new(), left };
    for _ in 0..2 {
        let untried = |change: &&Change| !reconciled.changes.contains(change);
        let new: Vec<Change> = reconciled.left.iter().filter(untried).cloned().collect();
        if new.is_empty() {
            break;
        }
        reconciled.refused.extend(world.apply(&new));
        reconciled.changes.extend(new);
        reconciled.view = look(world, config)?;
        reconciled.left = plan(&reconciled.view);
    }
    Ok(reconciled)
}

impl Reconciled {
    /// What keeps the kernel from being as it should. An `ip` that failed where the kernel is right all the same (the
    /// route was there already, or went with its interface) did no harm.
    pub fn problems(&self) -> Vec<Problem> {
        let not_shown =
            |change: &Change| format!("`{change}` is said to be done, and the kernel does not show it");
        let texts: Vec<String> = match (&self.left[..], &self.refused[..]) {
            ([], _) => Vec::new(),
            (left, []) => left.iter().filter(|change| self.changes.contains(change)).map(not_shown).collect(),
            (_, refused) => refused.to_vec(),
        };
        texts.into_iter().map(|text| Problem::new(Code::RouteNotSet, None, text)).collect()
    }

    /// Whether the default traffic goes by this link: that of IPv4, or of IPv6 where the link has only that. What else
    /// could not be set is a problem, but no reason to tell nobody of the switch.
    pub fn default_traffic_moved_to(&self, config: &Config, link: usize) -> bool {
        let family = match self.view.links[link].next_hop(Family::V4) {
            Err(_) if self.view.links[link].next_hop(Family::V6).is_ok() => Family::V6,
            _ => Family::V4,
        };
        let interface = |link: usize| self.view.links[link].interface.as_deref();
        let others =
            (0..self.view.links.len()).filter_map(interface).filter(|it| Some(*it) != interface(link));
        // It stays where a route is that no override beats.
        let stays = |route: &&Route| {
            let leaves = others.clone().any(|other| route.leaves_by(other));
            leaves && route.family() == family && route.only.is_none()
        };

        let is_made = !self.left.iter().any(|change| change.moves_default_traffic(family));
        is_made && !defaults::unbeatable(config, &self.view.facts).iter().any(stays)
    }

    /// What was put right. A dry run has told its commands one by one.
    pub fn event(&self, kind: fn(Vec<String>) -> Event) -> Option<Event> {
        if self.view.facts.pretended {
            return None;
        }
        let done = self.changes.iter().filter(|change| !self.left.contains(change));
        let done: Vec<String> = done.map(ToString::to_string).collect();
        (!done.is_empty()).then(|| kind(done))
    }
}
