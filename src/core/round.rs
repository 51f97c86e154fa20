//! One round: whom to ask, and what the replies say of each link.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;

use super::config::{Config, Link};
use super::flow::{self, RouteAnswer};
use super::gateway::{self, ResolvedLink};
use super::health::{self, Health, ProbeError, Reply, Round, Verdict};
use super::record::Event;
use super::state::{LinkState, State, TargetState};
use super::switch::Request;
use super::time::BootTime;

/// How long one start of `check` may go on with round after round. cron starts the next one after a minute; what is
/// left is for the last round: its timeout, its `ip` commands.
const ROUNDS_BEGIN_WITHIN: Duration = Duration::from_secs(50);

/// Everything that a run knows before it asks.
#[derive(Clone, Copy)]
pub struct RunInput<'a> {
    pub config: &'a Config,
    /// The links as they stand, in the config's order.
    pub resolved: &'a [ResolvedLink],
    pub state: &'a State,
    pub request: Request,
    pub now: BootTime,
}

/// What is to be asked of one link in this run.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbePlan {
    /// It is a healthy backup that was probed not long ago.
    NotDue,
    /// In the order of its targets: an address to ping, or an answer that is known beforehand.
    Targets(Vec<Result<IpAddr, Reply>>),
}

/// One link after its round.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkResult {
    pub round: Round,
    pub health: Health,
    /// `None`: it was not asked.
    pub replies: Option<Vec<Reply>>,
}

impl RunInput<'_> {
    /// The place of the active link in the config.
    pub fn active(&self) -> usize {
        self.state.active_in(self.config).unwrap_or(0)
    }

    pub fn name(&self, index: usize) -> &str {
        &self.config.links[index].name
    }

    /// What the last run made of a link.
    pub fn health_before(&self, link: &Link) -> Health {
        self.state.link(&link.name).map_or(Health::UNKNOWN, |link| link.health)
    }

    /// What to ask of each link. A target is not pinged where `way`, the kernel's answer for our echo request, is not the
    /// link's way. `pretended`: some of our routes and rules are not in the kernel yet.
    pub fn plan_probes(
        &self,
        way: &mut dyn FnMut(IpAddr) -> Result<RouteAnswer>,
        pretended: bool,
    ) -> Vec<ProbePlan> {
        let shared = gateway::shared_targets(self.config, self.resolved);
        let is_shared = |index: usize, address: IpAddr| {
            shared.iter().any(|(_, second, other)| (*second, *other) == (index, address))
        };
        let links = self.config.links.iter().zip(self.resolved).enumerate();
        links
            .map(|(index, (link, resolved_link))| {
                if !self.is_due(index) {
                    return ProbePlan::NotDue;
                }
                let addresses = link.targets.iter().filter_map(|target| resolved_link.resolve(*target));
                let targets = addresses.map(|address| {
                    let next_hop = resolved_link.next_hop(address.into());
                    let failure = match (resolved_link.fault(), next_hop) {
                        (Some(fault), _) | (None, Err(fault)) => ProbeError::Unusable(fault.to_string()),
                        _ if is_shared(index, address) => ProbeError::Shared,
                        (None, Ok(next_hop)) => {
                            match flow::check_probe(next_hop, address, way(address), pretended) {
                                Ok(()) => return Ok(address),
                                Err(failure) => failure,
                            }
                        }
                    };
                    Err(Reply { address, result: Err(failure) })
                });
                ProbePlan::Targets(targets.collect())
            })
            .collect()
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
            || (!link.routes_only && switch_may_be_near())
            || probed_at.and_then(|at| self.now.since(at)).is_none_or(|time| time >= link.standby_interval)
    }

    /// What the replies say of each link; they stand link by link, `None` for one that was not asked.
    pub fn evaluate(&self, replies: Vec<Option<Vec<Reply>>>) -> Vec<LinkResult> {
        let links = || self.config.links.iter().zip(self.resolved);
        let rounds: Vec<Round> = (links().zip(&replies))
            .map(|((link, resolved_link), replies)| health::judge(link, resolved_link, replies.as_deref()))
            .collect();
        // One fault of our own spoils the round of everything that was pinged: a broken tool switches nobody's line.
        let spoilt = replies.iter().flatten().flatten().any(Reply::is_own_fault);
        let links = self.config.links.iter().zip(rounds).zip(replies);
        links
            .map(|((link, round), replies)| {
                let round = match round {
                    Round::Good | Round::Failed(_) if spoilt && !link.targets.is_empty() => Round::Void,
                    round => round,
                };
                let health = match round {
                    // With nothing to ask there is nothing to wait for either.
                    Round::Good if link.targets.is_empty() => Health::UNKNOWN,
                    _ => self.health_before(link).after(&round, self.config.probe.threshold),
                };
                LinkResult { round, health, replies }
            })
            .collect()
    }

    /// Whether another round would soon tell more: a counter is on the move, or the active link is down and others
    /// were not asked yet. A void round moves nothing, and so will the next one for as long as its cause lasts.
    pub fn is_on_the_move(&self, results: &[LinkResult]) -> bool {
        let threshold = self.config.probe.threshold;
        let counts = |link: &&LinkResult| matches!(link.round, Round::Good | Round::Failed(_));
        let is_down = results[self.active()].health.verdict == Verdict::Down;
        let links = self.config.links.iter().zip(results);
        let mut unasked = links.filter(|(_, result)| result.round == Round::NotDue);
        results.iter().filter(counts).any(|link| !link.health.is_settled(threshold))
            || is_down && unasked.any(|(link, _)| !link.routes_only)
    }

    /// Why a link is not good: by this round, else by the last one that said something.
    pub fn last_error(&self, index: usize, result: &LinkResult) -> String {
        match &result.round {
            Round::Failed(why) | Round::Unusable(why) => why.clone(),
            Round::Void => "nothing could be learnt of it in this round".to_owned(),
            Round::Good if result.health.verdict == Verdict::Down => {
                format!("it answers again, but {} more good rounds are needed", result.health.failed_rounds)
            }
            Round::Good | Round::NotDue => {
                let before = self.state.link(self.name(index)).and_then(|link| link.last_error.clone());
                before.unwrap_or_else(|| "it was not probed just now".to_owned())
            }
        }
    }

    /// Whether this run learnt nothing of the active link: its round is void, as without the permission to ping.
    pub fn is_blind(&self, results: &[LinkResult]) -> bool {
        results[self.active()].round == Round::Void
    }

    /// Links that went down or came back in this round.
    pub fn verdicts_that_changed(&self, results: &[LinkResult]) -> Vec<Event> {
        let links = self.config.links.iter().zip(results).enumerate();
        links
            .filter_map(|(index, (link, now))| match (self.health_before(link).verdict, now.health.verdict) {
                (Verdict::Up, Verdict::Down) => {
                    Some(Event::LinkDown { link: link.name.clone(), reason: self.last_error(index, now) })
                }
                (Verdict::Down, Verdict::Up) => Some(Event::LinkUp { link: link.name.clone() }),
                _ => None,
            })
            .collect()
    }

    /// Each link as it goes to the state file.
    pub fn link_states(&self, results: &[LinkResult]) -> Vec<LinkState> {
        let links = self.config.links.iter().zip(self.resolved).zip(results);
        links
            .map(|((link, resolved_link), result)| {
                let before = self.state.link(&link.name);
                let gateway = |next_hop: &Result<gateway::NextHop, _>| {
                    next_hop.as_ref().ok().and_then(|next_hop| next_hop.via)
                };
                let source = |next_hop: &Result<gateway::NextHop, _>| {
                    next_hop.as_ref().ok().and_then(|next_hop| next_hop.source)
                };
                let (probed_at, targets) = match &result.replies {
                    Some(replies) if result.round != Round::Void => {
                        (Some(self.now), replies.iter().map(TargetState::from).collect())
                    }
                    // A void round is no probe: the next run asks again.
                    _ => before.map(|link| (link.probed_at, link.targets.clone())).unwrap_or_default(),
                };
                let since = before.and_then(|link| link.verdict_since);
                let (verdict_since, outage_ms) =
                    match (self.health_before(link).verdict, result.health.verdict) {
                        (Verdict::Down, Verdict::Up) => {
                            let outage = since.and_then(|since| self.now.since(since));
                            (Some(self.now), outage.map(|outage| outage.as_millis() as u64))
                        }
                        (Verdict::Up, Verdict::Down) => (Some(self.now), None),
                        _ => (since, before.and_then(|link| link.outage_ms)),
                    };
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
                    ever_good: result.round == Round::Good || before.is_some_and(|link| link.ever_good),
                    verdict_since,
                    outage_ms,
                    threshold: self.config.probe.threshold,
                    routes_only: link.routes_only,
                    probed_at,
                    last_error: match &result.round {
                        Round::Failed(why) | Round::Unusable(why) => Some(why.clone()),
                        Round::Good => None,
                        Round::Void | Round::NotDue => before.and_then(|link| link.last_error.clone()),
                    },
                    targets,
                }
            })
            .collect()
    }
}

/// Whether the next round, after this pause, still begins within the time of one start.
pub fn another_fits(recheck: Duration, since_start: Duration) -> bool {
    !recheck.is_zero() && since_start.saturating_add(recheck) <= ROUNDS_BEGIN_WITHIN
}

/// The addresses to ping, of all links.
pub fn addresses(plans: &[ProbePlan]) -> Vec<IpAddr> {
    let all = plans.iter().filter_map(|plan| match plan {
        ProbePlan::NotDue => None,
        ProbePlan::Targets(targets) => Some(targets),
    });
    all.flatten().filter_map(|target| target.as_ref().ok().copied()).collect()
}

/// Puts the replies of `addresses`, in their order, to the links that they were asked of.
pub fn sort_by_link(plans: Vec<ProbePlan>, replies: Vec<Reply>) -> Vec<Option<Vec<Reply>>> {
    let mut replies = replies.into_iter();
    plans
        .into_iter()
        .map(|plan| match plan {
            ProbePlan::NotDue => None,
            ProbePlan::Targets(targets) => Some(
                targets
                    .into_iter()
                    .filter_map(|target| target.map_or_else(Some, |_| replies.next()))
                    .collect(),
            ),
        })
        .collect()
}

impl From<&Reply> for TargetState {
    fn from(reply: &Reply) -> Self {
        // Microseconds are what the clock can tell; more digits would be noise.
        let rtt_ms = |rtt: Duration| (rtt.as_secs_f64() * 1e6).round() / 1e3;
        TargetState {
            address: reply.address,
            rtt_ms: reply.result.as_ref().ok().copied().map(rtt_ms),
            error: reply.result.as_ref().err().map(ProbeError::to_string),
        }
    }
}
