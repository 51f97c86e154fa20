//! Whom to ask in a run, and what the run knows of each link before and after it has asked.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;

use super::config::{Config, Link, Pin};
use super::facts::Family;
use super::flow::{self, Flow, RouteAnswer};
use super::gateway::{self, ResolvedLink};
use super::health::{Health, Law, LinkResult, ProbeError, Probed, TargetResult, Verdict};
use super::pin;
use super::record::Event;
use super::service::{Check, CheckError};
use super::state::{LinkState, State, TargetState};
use super::switch::Request;
use super::time::BootTime;
use super::units::span;

/// Everything that a run knows before it asks.
#[derive(Clone, Copy)]
pub struct RunInput<'a> {
    pub config: &'a Config,
    /// The links as they stand, in the config's order.
    pub resolved: &'a [ResolvedLink],
    /// The one in force.
    pub pin: Pin,
    pub state: &'a State,
    pub request: Request,
    pub now: BootTime,
}

/// What is to be asked of one link in this run: its targets, each with the reason where it is not to be pinged.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbePlan {
    /// It is a healthy backup that was probed not long ago.
    NotDue(Vec<(IpAddr, Option<ProbeError>)>),
    Targets(Vec<(IpAddr, Option<ProbeError>)>),
}

/// What a run may ask of one link.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub targets: ProbePlan,
    /// Why a check cannot be sent by the link, one by one as the config has them.
    pub checks: Vec<Option<CheckError>>,
}

impl RunInput<'_> {
    /// The place of the active link in the config.
    pub fn active(&self) -> usize {
        self.state.active_in(self.config).unwrap_or(0)
    }

    pub fn name(&self, index: usize) -> &str {
        &self.config.links[index].name
    }

    /// The uid under which a link is probed; `None`: our own.
    pub fn uid(&self, index: usize) -> Option<u32> {
        self.config.uid_with(self.pin, index)
    }

    /// What the last run made of a link.
    pub fn health_before(&self, link: &Link) -> Health {
        self.state.link(&link.name).map_or(Health::UNKNOWN, |link| link.health.as_of(self.now))
    }

    /// What to ask of each link. Nothing is sent where `way`, the kernel's answer for it, is not the
    /// link's way. `pretended`: some of our routes and rules are not in the kernel yet.
    pub fn plan_probes(
        &self,
        way: &mut dyn FnMut(&Flow) -> Result<RouteAnswer>,
        pretended: bool,
    ) -> Vec<Plan> {
        let shared = pin::shared_targets(self.config, self.pin, self.resolved);
        let is_shared = |index: usize, address: IpAddr| {
            shared.iter().any(|(_, second, other)| (*second, *other) == (index, address))
        };
        let links = self.config.links.iter().zip(self.resolved).enumerate();
        links
            .map(|(index, (link, resolved_link))| {
                let addresses = link.targets.iter().filter_map(|target| resolved_link.resolve(*target));
                let targets = addresses.map(|address| {
                    let next_hop = resolved_link.next_hop(address.into());
                    let error = match (resolved_link.fault(), next_hop) {
                        (Some(fault), _) | (None, Err(fault)) => {
                            Some(ProbeError::Unusable(fault.to_string()))
                        }
                        _ if is_shared(index, address) => Some(ProbeError::Shared),
                        (None, Ok(next_hop)) => {
                            let flow = Flow::echo_request(address, self.uid(index));
                            flow::check_probe(next_hop, address, way(&flow), pretended).err()
                        }
                    };
                    (address, error)
                });
                let targets = match self.is_due(index) {
                    true => ProbePlan::Targets(targets.collect()),
                    false => ProbePlan::NotDue(targets.collect()),
                };
                Plan { targets, checks: self.plan_checks(index, way, pretended) }
            })
            .collect()
    }

    fn plan_checks(
        &self,
        index: usize,
        way: &mut dyn FnMut(&Flow) -> Result<RouteAnswer>,
        pretended: bool,
    ) -> Vec<Option<CheckError>> {
        let checks = pin::checks(&self.config.links[index], self.pin).iter();
        let bar = |check: &Check| match self.resolved[index].next_hop(check.server().into()) {
            Err(fault) => Some(CheckError::Unreachable(format!("cannot be reached: {fault}"))),
            Ok(next_hop) => {
                let answer = way(&Flow::check(check, self.uid(index)));
                match flow::check_probe(next_hop, check.server(), answer, pretended).err()? {
                    ProbeError::OwnFault(why) => Some(CheckError::OwnFault(why)),
                    ProbeError::Unpinned => Some(CheckError::Unpinned),
                    other => Some(CheckError::NotAsked(other.to_string())),
                }
            }
        };
        checks.map(bar).collect()
    }

    /// Whether a link is probed in this run.
    ///
    /// A healthy backup is left alone for its `standby_interval`, since a metered line pays for every probe. But no
    /// switch is ever decided on old news: where one may be near, everything is probed that may be switched to.
    fn is_due(&self, index: usize) -> bool {
        let link = &self.config.links[index];
        let active = self.active();
        let is_healthy = |index: usize| {
            self.health_before(&self.config.links[index]).is_spotless()
                && self.resolved[index].fault().is_none()
        };
        let may_return = || self.state.stay(self.config.links[active].delay, self.now).is_free();
        let probed_at = self.state.link(&link.name).and_then(|link| link.probed_at);
        let switch_may_be_near =
            || !is_healthy(active) || (index < active && may_return()) || self.request != Request::Nothing;
        index == active
            || !is_healthy(index)
            || self.has_new_target(index)
            || self.has_new_way(index)
            || (!link.routes_only && switch_may_be_near())
            || probed_at.and_then(|at| self.now.since(at)).is_none_or(|time| time >= link.standby_interval)
    }

    /// Whether it has a target that the last probe did not know: by an edit of the config, or another gateway.
    fn has_new_target(&self, index: usize) -> bool {
        let Some(before) = self.state.link(self.name(index)) else { return false };
        let mut now = self.targets_of(index);
        now.any(|address| !before.targets.iter().any(|known| known.address == address))
    }

    /// Whether its interface or gateway is another than when it was last looked at: what was answered by the old way says
    /// nothing of the new one. A gateway that is out of sight for a moment is no new way.
    fn has_new_way(&self, index: usize) -> bool {
        let Some(before) = self.state.link(self.name(index)) else { return false };
        let now = &self.resolved[index];
        let is_new = |family, known: Option<IpAddr>| {
            let via = now.next_hop(family).ok().and_then(|next_hop| next_hop.via);
            known.is_some() && via.is_some() && known != via
        };
        before.interface != now.interface
            || is_new(Family::V4, before.gateway)
            || is_new(Family::V6, before.gateway6)
    }

    /// The addresses of its targets that have one just now.
    fn targets_of(&self, index: usize) -> impl Iterator<Item = IpAddr> {
        let (link, resolved_link) = (&self.config.links[index], &self.resolved[index]);
        link.targets.iter().filter_map(|target| resolved_link.resolve(*target))
    }

    /// What the state is to remember of a link's targets: nothing of those that are no longer its own.
    fn target_states(&self, index: usize, results: Option<&[TargetResult]>) -> Vec<TargetState> {
        let before = self.state.link(self.name(index)).map_or(&[][..], |link| &link.targets);
        let Some(results) = results else {
            let own: Vec<IpAddr> = self.targets_of(index).collect();
            return before.iter().filter(|known| own.contains(&known.address)).cloned().collect();
        };
        let state_of = |result: &TargetResult| {
            let known = before.iter().find(|known| known.address == result.address);
            // What was not sent, or could not leave, says nothing of the target.
            let in_vain = matches!(result.result, Err(ProbeError::NoReply | ProbeError::Unreachable));
            let asked_in_vain =
                known.map_or(0, |known| known.asked_in_vain).saturating_add(u32::from(in_vain));
            match (&result.result, known) {
                // As it was: it may be under way.
                (Err(ProbeError::NoReplyYet), Some(known)) => known.clone(),
                _ => TargetState { asked_in_vain, ..TargetState::from(result) },
            }
        };
        results.iter().map(state_of).collect()
    }

    /// Why a link is not good: by what this run learnt, else by the last one that learnt something.
    pub fn last_error(&self, index: usize, result: &LinkResult) -> String {
        let law = Law::of(&self.config.probe, &self.config.links[index]);
        match (&result.probed, result.health.stable_in(law, self.now)) {
            (Probed::Answered, _) if result.services.useless || !result.serves => {
                result.services.told_failure()
            }
            (Probed::Silent(why) | Probed::Unusable(why), _) => why.clone(),
            (Probed::Void, _) => "nothing could be learnt of it in this run".to_owned(),
            (Probed::Answered, Some(left)) => {
                format!("it answers again, and is trusted when it has for {} more", span(left))
            }
            _ => {
                let before = self.state.link(self.name(index)).and_then(|link| link.last_error.clone());
                before.unwrap_or_else(|| "it was not probed just now".to_owned())
            }
        }
    }

    /// Whether this run learnt nothing of the active link: its round is void, as without the permission to ping.
    pub fn is_blind(&self, results: &[LinkResult]) -> bool {
        results[self.active()].probed == Probed::Void
    }

    /// Links that went down or came back in this round.
    pub fn verdicts_that_changed(&self, results: &[LinkResult]) -> Vec<Event> {
        let links = self.config.links.iter().zip(results).enumerate();
        links
            .filter_map(|(index, (link, now))| match (self.health_before(link).verdict, now.health.verdict) {
                (Verdict::Up, Verdict::Down) => Some(Event::LinkDown {
                    link: link.name.clone(),
                    reason: self.last_error(index, now),
                    heard_ms: Some(now.health.silent_since(Law::of(&self.config.probe, link), self.now)),
                }),
                (Verdict::Down, Verdict::Up) => {
                    Some(Event::LinkUp { link: link.name.clone(), heard_ms: self.first_heard(link, now) })
                }
                _ => None,
            })
            .collect()
    }

    /// The first sign of life after an outage.
    fn first_heard(&self, link: &Link, now: &LinkResult) -> Option<BootTime> {
        self.health_before(link).stable_since.or(now.health.heard_at)
    }

    /// Each link as it goes to the state file.
    pub fn link_states(&self, results: &[LinkResult]) -> Vec<LinkState> {
        let links = self.config.links.iter().zip(self.resolved).zip(results).enumerate();
        links
            .map(|(index, ((link, resolved_link), result))| {
                let before = self.state.link(&link.name);
                let gateway = |next_hop: &Result<gateway::NextHop, _>| {
                    next_hop.as_ref().ok().and_then(|next_hop| next_hop.via)
                };
                let source = |next_hop: &Result<gateway::NextHop, _>| {
                    next_hop.as_ref().ok().and_then(|next_hop| next_hop.source)
                };
                let (probed_at, targets) = match &result.targets {
                    Some(targets) if result.probed != Probed::Void => {
                        (result.health.asked_at, self.target_states(index, Some(targets)))
                    }
                    // Nothing was learnt: the next run asks again.
                    _ => (before.and_then(|link| link.probed_at), self.target_states(index, None)),
                };
                let since = before.and_then(|link| link.verdict_since);
                let (verdict_since, outage_ms) =
                    match (self.health_before(link).verdict, result.health.verdict) {
                        (Verdict::Down, Verdict::Up) => {
                            // The line's outage, not the run's: from its last sign of life to the first.
                            let began = before.and_then(|link| link.silent_since).or(since);
                            let ended = self.first_heard(link, result).unwrap_or(self.now);
                            let outage = began.and_then(|began| ended.since(began));
                            (Some(self.now), outage.map(|outage| outage.as_millis() as u64))
                        }
                        (Verdict::Up, Verdict::Down) => (Some(self.now), None),
                        _ => (since, before.and_then(|link| link.outage_ms)),
                    };
                let silent_since = match (self.health_before(link).verdict, result.health.verdict) {
                    (Verdict::Up, Verdict::Down) => {
                        let law = Law::of(&self.config.probe, link);
                        Some(result.health.silent_since(law, self.now))
                    }
                    (_, Verdict::Down) => before.and_then(|link| link.silent_since),
                    _ => None,
                };
                let mut minutes = before.map(|link| link.minutes).unwrap_or_default();
                match result.probed {
                    Probed::Answered => minutes.mark(self.now, !result.services.useless),
                    Probed::Silent(_) | Probed::Unusable(_) => minutes.mark(self.now, false),
                    Probed::Void | Probed::NotDue => {}
                }
                LinkState {
                    name: link.name.clone(),
                    interface: resolved_link.interface.clone(),
                    gateway: gateway(&resolved_link.v4),
                    gateway6: gateway(&resolved_link.v6),
                    gateway_source: source(&resolved_link.v4),
                    gateway6_source: source(&resolved_link.v6),
                    addresses: match resolved_link.addresses() {
                        addresses if addresses.is_empty() => {
                            before.map(|link| link.addresses.clone()).unwrap_or_default()
                        }
                        addresses => addresses,
                    },
                    health: result.health,
                    ever_good: result.probed == Probed::Answered || before.is_some_and(|link| link.ever_good),
                    verdict_since,
                    outage_ms,
                    silent_since,
                    law: Law::of(&self.config.probe, link),
                    routes_only: link.routes_only,
                    minutes,
                    has_targets: !link.targets.is_empty(),
                    probed_at,
                    last_error: match &result.probed {
                        Probed::Answered if result.services.useless => Some(result.services.told_failure()),
                        Probed::Silent(why) | Probed::Unusable(why) => Some(why.clone()),
                        Probed::Answered => None,
                        Probed::Void | Probed::NotDue => before.and_then(|link| link.last_error.clone()),
                    },
                    targets,
                    services: result.services.clone(),
                }
            })
            .collect()
    }
}

impl From<&TargetResult> for TargetState {
    fn from(target: &TargetResult) -> Self {
        // Microseconds are what the clock can tell; more digits would be noise.
        let rtt_ms = |rtt: Duration| (rtt.as_secs_f64() * 1e6).round() / 1e3;
        TargetState {
            address: target.address,
            heard_at: target.heard_at,
            at_fault: target.at_fault,
            rtt_ms: target.result.as_ref().ok().copied().map(rtt_ms),
            error: target.result.as_ref().err().map(ProbeError::to_string),
            asked_in_vain: 0,
        }
    }
}
