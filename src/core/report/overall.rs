//! The state of the router in one word, and the questions that every form of the report asks.

use std::time::Duration;

use crate::core::health::Verdict;
use crate::core::hold::Hold;
use crate::core::problem::{Code, Problem};
use crate::core::state::{LinkState, State};
use crate::core::time::Moment;

/// As long as the beat of the runs is not known, a last run older than this says nothing of the present: three times the
/// beat of the slowest scheduler, cron.
pub const TOO_OLD: Duration = Duration::from_secs(180);

/// So many runs did not come.
const MISSED_BEATS: u32 = 3;

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

/// Judges the state in one word. Strictly, the primary alone is not enough.
pub fn overall(state: Option<&State>, now: Moment, strict: bool) -> Overall {
    match state {
        None => Overall::Unknown,
        Some(state) if is_too_old(state, now) || is_blind(state, now) => Overall::Unknown,
        Some(state) if no_link_is_up(state) => Overall::NoLinkUp,
        Some(state) if elsewhere(state).is_some() => Overall::OnBackup,
        Some(state) if strict && (!is_redundant(state) || !state.problems.is_empty()) => Overall::OnBackup,
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

/// Whether runs that should have come did not.
pub fn is_too_old(state: &State, now: Moment) -> bool {
    now.boot.since(state.checked_at).is_none_or(|age| age > patience(state))
}

/// After how long a run is missed. One may be under way: it stays until a link's silence is long enough, and while a
/// script is at work.
fn patience(state: &State) -> Duration {
    let Some(beat) = state.beat().filter(|_| state.switching.is_none()) else { return TOO_OLD };
    let longest_silence = state.links.iter().map(|link| link.law.silence).max().unwrap_or_default();
    beat.saturating_mul(MISSED_BEATS).max(beat.saturating_add(longest_silence)).min(TOO_OLD)
}

pub fn no_link_is_up(state: &State) -> bool {
    state.links.iter().all(|link| link.routes_only || !is_up(link))
}

/// Whether there is a link to go to if the active one fails now.
pub fn is_redundant(state: &State) -> bool {
    state.links.iter().any(|link| !link.routes_only && link.name != state.active && is_ready(link))
}

/// Whether a waiting link would take the traffic. One that could never be asked is up for want of a reason against it alone.
pub fn is_ready(link: &LinkState) -> bool {
    is_up(link) && (!link.has_targets || link.probed_at.is_some())
}

/// Whether the runs learn nothing of the active link, which every run asks: all its rounds are void, as without the
/// permission to ping. A monitor must not take that for a line that works.
pub fn is_blind(state: &State, now: Moment) -> bool {
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
