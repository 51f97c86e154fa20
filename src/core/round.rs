//! One round: whom to ask, and what the answers say of each link.

use std::net::IpAddr;
use std::time::Duration;

use super::clash;
use super::config::{Config, Link};
use super::decide::Request;
use super::facts::Facts;
use super::gateway::{self, Line};
use super::health::{self, Answer, Failure, Health, Round, Verdict};
use super::routing::{self, Change};
use super::state::{BootTime, LinkState, State, TargetState};

/// How long one start of `check` may go on with round after round. cron starts the next one after a minute; what is
/// left is for the last round: its timeout, its `ip` commands.
const ROUNDS_BEGIN_WITHIN: Duration = Duration::from_secs(50);

/// Everything that a run knows before it asks.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    pub config: &'a Config,
    /// The links as they stand, in the config's order.
    pub lines: &'a [Line],
    pub state: &'a State,
    pub request: Request,
    pub now: BootTime,
}

/// What is to be asked of one link in this run.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// It is a healthy backup that was probed not long ago.
    NotDue,
    /// In the order of its targets: an address to ping, or an answer that is known beforehand.
    Targets(Vec<Result<IpAddr, Answer>>),
}

/// One link after its round.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub round: Round,
    pub health: Health,
    /// `None`: it was not asked.
    pub answers: Option<Vec<Answer>>,
}

impl Situation<'_> {
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

    /// What to ask of each link. `left` are the changes that the kernel still lacks: a target whose pin is among them
    /// is not pinged, because the request could leave by another link. Nor is one whose pin somebody else undoes.
    pub fn whom_to_ask(&self, left: &[Change], facts: &Facts) -> Vec<Ask> {
        let shared = gateway::shared_targets(self.config, self.lines);
        let is_shared = |index: usize, address: IpAddr| {
            shared.iter().any(|(_, second, other)| (*second, *other) == (index, address))
        };
        let links = self.config.links.iter().zip(self.lines).enumerate();
        links
            .map(|(index, (link, line))| {
                if !self.is_due(index) {
                    return Ask::NotDue;
                }
                let addresses = link.targets.iter().filter_map(|target| line.resolve(*target));
                let targets = addresses.map(|address| {
                    let obstacle = line.obstacle().or(line.way(address.into()).err());
                    let table = self.config.table_of(index);
                    let failure = if let Some(obstacle) = obstacle {
                        Failure::Unusable(obstacle.to_string())
                    } else if is_shared(index, address) {
                        Failure::Shared
                    } else if left.iter().any(|change| change.concerns_pin(address, table)) {
                        Failure::Unpinned
                    } else if let Some(why) = clash::diversion(self.config, facts, index, line, address) {
                        Failure::Refused(why)
                    } else {
                        return Ok(address);
                    };
                    Err(Answer { address, result: Err(failure) })
                });
                Ask::Targets(targets.collect())
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
                && self.lines[index].obstacle().is_none()
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

    /// What the answers say of each link; they stand link by link, `None` for one that was not asked.
    pub fn weigh(&self, answers: Vec<Option<Vec<Answer>>>) -> Vec<Checked> {
        let links = || self.config.links.iter().zip(self.lines);
        let rounds: Vec<Round> = (links().zip(&answers))
            .map(|((link, line), answers)| health::judge(link, line, answers.as_deref()))
            .collect();
        // One fault of our own spoils the round of everything that was pinged: a broken tool switches nobody's line.
        let spoilt = answers.iter().flatten().flatten().any(Answer::is_own_fault);
        let links = self.config.links.iter().zip(rounds).zip(answers);
        links
            .map(|((link, round), answers)| {
                let round = match round {
                    Round::Good | Round::Failed(_) if spoilt && !link.targets.is_empty() => Round::Void,
                    round => round,
                };
                let health = match round {
                    // With nothing to ask there is nothing to wait for either.
                    Round::Good if link.targets.is_empty() => Health::UNKNOWN,
                    _ => self.health_before(link).after(&round, self.config.probe.threshold),
                };
                Checked { round, health, answers }
            })
            .collect()
    }

    /// Whether another round would soon tell more: a counter is on the move, or the active link is down and others
    /// were not asked yet. A void round moves nothing, and so will the next one for as long as its cause lasts.
    pub fn is_on_the_move(&self, checked: &[Checked]) -> bool {
        let threshold = self.config.probe.threshold;
        let counts = |link: &&Checked| matches!(link.round, Round::Good | Round::Failed(_));
        let is_down = checked[self.active()].health.verdict == Verdict::Down;
        let links = self.config.links.iter().zip(checked);
        let mut unasked = links.filter(|(_, checked)| checked.round == Round::NotDue);
        checked.iter().filter(counts).any(|link| !link.health.is_settled(threshold))
            || is_down && unasked.any(|(link, _)| !link.routes_only)
    }

    /// Why a link is not good: by this round, else by the last one that said something.
    pub fn trouble(&self, index: usize, checked: &Checked) -> String {
        match &checked.round {
            Round::Failed(why) | Round::Unusable(why) => why.clone(),
            Round::Void => "nothing could be learnt of it in this round".to_owned(),
            Round::Good if checked.health.verdict == Verdict::Down => {
                format!("it answers again, but {} more good rounds are needed", checked.health.failed_rounds)
            }
            Round::Good | Round::NotDue => {
                let before = self.state.link(self.name(index)).and_then(|link| link.trouble.clone());
                before.unwrap_or_else(|| "it was not probed just now".to_owned())
            }
        }
    }

    /// What an admin should look at, though the run itself did its work.
    pub fn problems(&self, facts: &Facts, checked: &[Checked]) -> Vec<String> {
        let mut problems = gateway::problems(self.config, self.lines, facts);
        problems.extend(clash::problems(self.config, facts));
        for route in routing::unbeatable_defaults(self.config, facts) {
            problems.push(format!(
                "with `override: default` no failover can beat this default route: {route}; give it a metric of 2 \
                 or more"
            ));
        }
        let carriers = self.config.links.iter().zip(checked).filter(|(link, _)| !link.routes_only);
        if carriers.into_iter().all(|(_, checked)| checked.health.verdict == Verdict::Down) {
            problems.push(format!("no link is up; staying on {} until one is", self.name(self.active())));
        }
        problems
    }

    /// Each link as it goes to the state file.
    pub fn link_states(&self, checked: &[Checked]) -> Vec<LinkState> {
        let links = self.config.links.iter().zip(self.lines).zip(checked);
        links
            .map(|((link, line), checked)| {
                let before = self.state.link(&link.name);
                let gateway = |way: &Result<gateway::Way, _>| way.as_ref().ok().and_then(|way| way.via);
                let source = |way: &Result<gateway::Way, _>| way.as_ref().ok().and_then(|way| way.source);
                let (probed_at, targets) = match &checked.answers {
                    Some(answers) if checked.round != Round::Void => {
                        (Some(self.now), answers.iter().map(TargetState::from).collect())
                    }
                    // A void round is no probe: the next run asks again.
                    _ => before.map(|link| (link.probed_at, link.targets.clone())).unwrap_or_default(),
                };
                let since = before.and_then(|link| link.verdict_since);
                let (verdict_since, outage_ms) =
                    match (self.health_before(link).verdict, checked.health.verdict) {
                        (Verdict::Down, Verdict::Up) => {
                            let outage = since.and_then(|since| self.now.since(since));
                            (Some(self.now), outage.map(|outage| outage.as_millis() as u64))
                        }
                        (Verdict::Up, Verdict::Down) => (Some(self.now), None),
                        _ => (since, before.and_then(|link| link.outage_ms)),
                    };
                LinkState {
                    name: link.name.clone(),
                    interface: line.interface.clone(),
                    gateway: gateway(&line.v4),
                    gateway6: gateway(&line.v6),
                    gateway_source: source(&line.v4),
                    gateway6_source: source(&line.v6),
                    addresses: match line.addresses() {
                        addresses if addresses.is_empty() => {
                            before.map(|link| link.addresses.clone()).unwrap_or_default()
                        }
                        addresses => addresses,
                    },
                    health: checked.health,
                    ever_good: checked.round == Round::Good || before.is_some_and(|link| link.ever_good),
                    verdict_since,
                    outage_ms,
                    threshold: self.config.probe.threshold,
                    routes_only: link.routes_only,
                    probed_at,
                    trouble: match &checked.round {
                        Round::Failed(why) | Round::Unusable(why) => Some(why.clone()),
                        Round::Good => None,
                        Round::Void | Round::NotDue => before.and_then(|link| link.trouble.clone()),
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
pub fn addresses(asks: &[Ask]) -> Vec<IpAddr> {
    let all = asks.iter().filter_map(|ask| match ask {
        Ask::NotDue => None,
        Ask::Targets(targets) => Some(targets),
    });
    all.flatten().filter_map(|target| target.as_ref().ok().copied()).collect()
}

/// Puts the answers of `addresses`, in their order, to the links that they were asked of.
pub fn sort_by_link(asks: Vec<Ask>, answers: Vec<Answer>) -> Vec<Option<Vec<Answer>>> {
    let mut answers = answers.into_iter();
    asks.into_iter()
        .map(|ask| match ask {
            Ask::NotDue => None,
            Ask::Targets(targets) => Some(
                targets
                    .into_iter()
                    .filter_map(|target| target.map_or_else(Some, |_| answers.next()))
                    .collect(),
            ),
        })
        .collect()
}

/// Why this run could not ask what it had to ask.
pub fn own_faults(checked: &[Checked]) -> Vec<String> {
    let mut faults = Vec::new();
    for answer in checked.iter().filter_map(|link| link.answers.as_ref()).flatten() {
        if let Err(Failure::OwnFault(fault) | Failure::Refused(fault)) = &answer.result
            && !faults.contains(fault)
        {
            faults.push(fault.clone());
        }
    }
    faults
}

impl From<&Answer> for TargetState {
    fn from(answer: &Answer) -> Self {
        // Microseconds are what the clock can tell; more digits would be noise.
        let rtt_ms = |rtt: Duration| (rtt.as_secs_f64() * 1e6).round() / 1e3;
        TargetState {
            address: answer.address,
            rtt_ms: answer.result.as_ref().ok().copied().map(rtt_ms),
            error: answer.result.as_ref().err().map(Failure::to_string),
        }
    }
}
