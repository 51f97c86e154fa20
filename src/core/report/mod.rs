//! What people and programs are shown: `wanfo status`, what the last run knew, and `wanfo history`.

mod history;
mod json;
mod text;

use std::time::Duration;

use jiff::Timestamp;

use super::health::Verdict;
use super::state::{BootTime, LinkState, State};

pub use history::{json as history_json, text as history_text};
pub use json::render as json;
pub use text::render as text;

/// A last run older than this says nothing of the present: three times the beat of the slowest scheduler, cron.
const TOO_OLD: Duration = Duration::from_secs(180);

/// This moment, on both clocks: the one that measures and the one for people.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub boot: BootTime,
    pub wall: Timestamp,
}

impl Moment {
    /// The wall-clock time of a moment of this boot, in whole seconds, by what the wall clock says now: a clock that
    /// was stepped meanwhile does no harm.
    fn wall_time(&self, at: BootTime) -> Timestamp {
        let [at, boot] = [at, self.boot].map(|time| i64::try_from(time.0).unwrap_or(i64::MAX));
        let millisecond = self.wall.as_millisecond().saturating_add(at - boot);
        Timestamp::from_second(millisecond.div_euclid(1000)).unwrap_or(self.wall)
    }
}

/// How much the page for people says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Brief,
    /// Also where each gateway was found.
    Full,
}

/// What `status --exit-code` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    OnPrimary = 0,
    OnBackup = 1,
    NoLinkUp = 2,
    /// No run since boot, or the last one is too old.
    Unknown = 3,
}

/// Judges the state in one word.
pub fn standing(state: Option<&State>, now: Moment) -> Standing {
    match state {
        None => Standing::Unknown,
        Some(state) if is_too_old(state, now) || is_blind(state, now) => Standing::Unknown,
        Some(state) if state.links.iter().all(|link| link.routes_only || !is_up(link)) => Standing::NoLinkUp,
        Some(state) if state.links.first().is_some_and(|link| link.name == state.active) => {
            Standing::OnPrimary
        }
        Some(_) => Standing::OnBackup,
    }
}

fn is_too_old(state: &State, now: Moment) -> bool {
    now.boot.since(state.checked_at).is_none_or(|age| age > TOO_OLD)
}

/// Whether the runs learn nothing of the active link, which every run asks: all its rounds are void, as without the
/// permission to ping. A monitor must not take that for a line that works.
fn is_blind(state: &State, now: Moment) -> bool {
    let probed_at = state.link(&state.active).and_then(|link| link.probed_at);
    probed_at.and_then(|at| now.boot.since(at)).is_none_or(|age| age > TOO_OLD)
}

fn is_held(state: &State, now: Moment) -> bool {
    match state.hold {
        super::state::Hold::No => false,
        super::state::Hold::Until(until) => until > now.boot,
        super::state::Hold::UntilFailback => true,
    }
}

/// A span in whole seconds: "3m 20s".
pub fn span(span: Duration) -> String {
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

/// Bytes as data plans count them, in powers of 1000 with three digits: "1.20 GB".
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    // What would be rounded up to 1000 belongs to the next unit.
    while value >= 999.5 {
        let Some(larger) = units.next() else { break };
        (value, unit) = (value / 1000.0, larger);
    }
    match value {
        _ if unit == "B" => format!("{count} B"),
        value if value < 9.995 => format!("{value:.2} {unit}"),
        value if value < 99.95 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

fn is_up(link: &LinkState) -> bool {
    link.health.verdict == Verdict::Up
}
