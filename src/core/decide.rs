//! Which link should carry the traffic: the choice among those that work, and when it may be acted upon.

use std::ops::Range;
use std::time::Duration;

use super::health::{LinkResult, Probed, Verdict};
use super::hold::{Hold, Stay, asked_for};
use super::round::RunInput;
use super::switch::{Cause, Request, Switch};
use super::units::span;

/// What comes of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing moves; why, and what holds the active link from now on.
    Stay {
        why: String,
        hold: Hold,
    },
    Switch(Switch),
    /// The exit script said no not long ago; why, in its words or ours.
    Vetoed {
        why: String,
    },
    /// What was asked for cannot be done; why not.
    Refuse {
        why: String,
        hold: Hold,
    },
}

/// What is known of one link at the moment of the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Not `routes_only`.
    pub may_carry: bool,
    /// The verdict, or the admin's trust.
    pub up: bool,
    /// It answered in this very run, just now.
    pub answers: bool,
}

impl Candidate {
    fn is_eligible(self) -> bool {
        self.may_carry && self.up && self.answers
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The active link is the best there is.
    Keep,
    /// A better link is there, but not yet to be taken.
    Wait {
        better: usize,
    },
    /// The active link is down, and nothing else is known to work: moving would help nobody.
    NothingBetter,
    Switch {
        to: usize,
    },
}

/// The best link: the first in the list that may carry the default traffic, is up, and answered just now.
pub fn best(links: &[Candidate]) -> Option<usize> {
    links.iter().position(|link| link.is_eligible())
}

/// The automatic choice of a `check`.
///
/// A link known to be down is left at once, delay or hold notwithstanding. A link that is up is left only for one
/// that stands before it in the list, and only when nothing keeps it.
pub fn decide(links: &[Candidate], active: usize, stay: Stay) -> Decision {
    match best(links) {
        Some(to) if !links[active].up => Decision::Switch { to },
        None if !links[active].up => Decision::NothingBetter,
        Some(better) if better < active => match stay {
            Stay::Free => Decision::Switch { to: better },
            Stay::For(_) | Stay::UntilFailback => Decision::Wait { better },
        },
        _ => Decision::Keep,
    }
}

/// Where `force-failover` goes: to the named link, else to the first backup that works.
/// `None`: there is no such link, or it is not known to work just now.
pub fn forced(links: &[Candidate], active: usize, to: Option<usize>) -> Option<usize> {
    match to {
        Some(to) => links[to].is_eligible().then_some(to),
        None if active > 0 && links[active].up => Some(active),
        None => (1..links.len()).find(|&index| links[index].is_eligible()),
    }
}

impl RunInput<'_> {
    /// What comes of this run, by what was learnt of every link and by what was asked for.
    pub fn decide(&self, results: &[LinkResult]) -> Outcome {
        let by_hand = self.request != Request::Nothing;
        let links: Vec<Candidate> = (self.config.links.iter().zip(results))
            .map(|(link, result)| Candidate {
                may_carry: !link.routes_only,
                // By hand nobody waits until a link is stable; but it has to answer.
                up: result.health.verdict == Verdict::Up || by_hand && result.probed == Probed::Answered,
                answers: result.probed == Probed::Answered && (result.serves || by_hand),
            })
            .collect();
        match self.request {
            Request::Nothing => self.decide_by_itself(&links, results),
            Request::Failover { to, hold } => self.decide_failover(&links, results, to, hold),
            Request::Failback { now } => self.decide_failback(&links, results, now),
        }
    }

    fn decide_by_itself(&self, links: &[Candidate], results: &[LinkResult]) -> Outcome {
        let active = self.active();
        if let Some(to) = self.held_before().filter(|to| links[*to].is_eligible()) {
            let reason = format!("{} is held by `force-failover --hold`", self.name(to));
            let hold = Hold::UntilFailback;
            return Outcome::Switch(Switch { to, cause: Cause::Hold, reason, may_be_vetoed: false, hold });
        }
        let stay = self.state.stay(self.config.links[active].delay, self.now);
        let name = self.name(active);
        let why = match decide(links, active, stay) {
            Decision::Switch { to } => {
                let (cause, reason) = match links[active].up {
                    true => (Cause::Preferred, format!("{} is up", self.name(to))),
                    false => {
                        let why = self.last_error(active, &results[active]);
                        (Cause::LinkDown, format!("{name} is down: {why}"))
                    }
                };
                let may_be_vetoed = links[active].up && self.config.exit_script.is_some();
                return match self.state.standing_veto(self.now).filter(|_| may_be_vetoed) {
                    Some(veto) => Outcome::Vetoed { why: veto.why.clone() },
                    None => Outcome::Switch(Switch { to, cause, reason, may_be_vetoed, hold: Hold::No }),
                };
            }
            Decision::Keep => format!("staying on {name}"),
            Decision::NothingBetter => format!("staying on {name}: no other link is known to work"),
            Decision::Wait { better } => match stay {
                Stay::For(left) => {
                    let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
                    format!("staying on {name} for {left} more, though {} is up", self.name(better))
                }
                _ => format!("{name} is held until `wanfo failback`, though {} is up", self.name(better)),
            },
        };
        Outcome::Stay { why, hold: self.state.hold }
    }

    /// The link that was held when the machine went down, where it does not carry the traffic yet.
    fn held_before(&self) -> Option<usize> {
        let name = self.state.held_before.as_ref()?;
        self.config.links.iter().position(|link| link.name == *name)
    }

    fn decide_failover(
        &self,
        links: &[Candidate],
        results: &[LinkResult],
        to: Option<usize>,
        hold: Hold,
    ) -> Outcome {
        let active = self.active();
        match forced(links, active, to) {
            Some(to) if to == active => {
                // Without a wish of its own it leaves an earlier one as it is.
                let (name, wish) = (self.name(active), hold);
                let hold = if wish == Hold::No { self.state.hold } else { wish };
                let why = match (wish, hold) {
                    (Hold::Until(until), _) => {
                        let time = span(asked_for(until, self.now));
                        format!("{name} is active already, and held for {time} from now on")
                    }
                    (Hold::UntilFailback, _) => {
                        format!("{name} is active already, and held until `wanfo failback`")
                    }
                    (Hold::No, Hold::UntilFailback) => format!("{name} is active already, and stays held"),
                    (Hold::No, _) => format!("{name} is active already"),
                };
                Outcome::Stay { why, hold }
            }
            Some(to) => {
                let reason = "forced by hand".to_owned();
                Outcome::Switch(Switch { to, cause: Cause::Forced, reason, may_be_vetoed: false, hold })
            }
            None => {
                let asked = to.map_or(1..links.len(), |to| to..to + 1);
                let last_errors = self.last_errors(asked.clone(), links, results);
                let why = match last_errors.as_str() {
                    "" => {
                        let names: Vec<&str> = asked.map(|index| self.name(index)).collect();
                        format!(
                            "not switched: no default traffic goes over {} (`routes_only`)",
                            names.join(" or ")
                        )
                    }
                    last_errors => format!("not switched, because it would help nobody: {last_errors}"),
                };
                Outcome::Refuse { why, hold: self.state.hold }
            }
        }
    }

    /// What comes of a switch that the exit script objects to.
    pub fn vetoed(&self, why: &str) -> Outcome {
        let why = format!("staying on {}: {why}", self.name(self.active()));
        match self.request {
            Request::Nothing => Outcome::Vetoed { why },
            _ => Outcome::Refuse {
                why: format!("{why}; `failback --now` does not ask"),
                hold: self.state.hold,
            },
        }
    }

    fn decide_failback(&self, links: &[Candidate], results: &[LinkResult], now: bool) -> Outcome {
        let active = self.active();
        match best(links) {
            Some(to) if to < active || to > active && !links[active].up => {
                let reason = "failback by hand".to_owned();
                let may_be_vetoed = links[active].up && self.config.exit_script.is_some() && !now;
                Outcome::Switch(Switch { to, cause: Cause::Failback, reason, may_be_vetoed, hold: Hold::No })
            }
            None if !links[active].up => {
                let why = self.last_errors(0..links.len(), links, results);
                let why = format!("staying on {}: no link is known to work: {why}", self.name(active));
                Outcome::Refuse { why, hold: self.state.hold }
            }
            _ if active == 0 => {
                Outcome::Stay { why: format!("{} is active already", self.name(0)), hold: Hold::No }
            }
            _ => {
                let why = self.last_errors(0..active, links, results);
                let was_held =
                    self.state.held().is_some() || !self.state.stay(Duration::ZERO, self.now).is_free();
                let held = match was_held {
                    true => "; it is held no longer, and left as soon as something better works",
                    false => "",
                };
                let why = format!("staying on {}: {why}{held}", self.name(active));
                Outcome::Refuse { why, hold: Hold::No }
            }
        }
    }

    /// Why each of these links is not good; of those that may carry the default traffic.
    fn last_errors(&self, indexes: Range<usize>, links: &[Candidate], results: &[LinkResult]) -> String {
        let of_link =
            |index: usize| format!("{}: {}", self.name(index), self.last_error(index, &results[index]));
        indexes.filter(|index| links[*index].may_carry).map(of_link).collect::<Vec<_>>().join("; ")
    }
}
