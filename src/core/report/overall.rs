//! The state of the router in one word, and the questions that every form of the report asks.

use std::time::Duration;

use crate::core::health::Verdict;
use crate::core::hold::Hold;
use crate::core::problem::{Code, Problem};
use crate::core::state::{LinkState, State};
use crate::core::time::Moment;

/// A last run older than this says nothing of the present: three times the beat of the slowest scheduler, cron.
pub const TOO_OLD: Duration = Duration::from_secs(180);

/// How much the page for people says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Brief,
    /// Also where each gateway was found.
    Full,
}

/// What `status --exit-code` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overall {
    OnPrimary = 0,
    /// Or the default traffic does not take the active link.
    OnBackup = 1,
    NoLinkUp = 2,
    /// No run since boot, or the last one is too old.
    Unknown = 3,
}

/// Judges the state in one word.
pub fn overall(state: Option<&State>, now: Moment) -> Overall {
    match state {
        None => Overall::Unknown,
        Some(state) if is_too_old(state, now) || is_blind(state, now) => Overall::Unknown,
        Some(state) if state.links.iter().all(|link| link.routes_only || !is_up(link)) => Overall::NoLinkUp,
        Some(state) if elsewhere(state).is_some() => Overall::OnBackup,
        Some(state) if state.links.first().is_some_and(|link| link.name == state.active) => {
            Overall::OnPrimary
        }
        Some(_) => Overall::OnBackup,
    }
}

/// Where the default traffic goes, if that is not the active link.
pub fn elsewhere(state: &State) -> Option<&Problem> {
    state.problems.iter().find(|problem| problem.code == Code::DefaultElsewhere)
}

pub fn is_too_old(state: &State, now: Moment) -> bool {
    now.boot.since(state.checked_at).is_none_or(|age| age > TOO_OLD)
}

/// Whether the runs learn nothing of the active link, which every run asks: all its rounds are void, as without the
/// permission to ping. A monitor must not take that for a line that works.
fn is_blind(state: &State, now: Moment) -> bool {
    let probed_at = state.link(&state.active).and_then(|link| link.probed_at);
    probed_at.and_then(|at| now.boot.since(at)).is_none_or(|age| age > TOO_OLD)
}

pub fn is_held(state: &State, now: Moment) -> bool {
    match state.hold {
        Hold::No => false,
        Hold::Until(until) => until > now.boot,
        Hold::UntilFailback => true,
    }
}

pub fn is_up(link: &LinkState) -> bool {
    link.health.verdict == Verdict::Up
}
