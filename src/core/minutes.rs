//! The last hour of a link, minute by minute. It is kept in the state file, on tmpfs, and so wears no flash.

use serde::{Deserialize, Serialize};

use super::time::BootTime;

/// How many are kept.
pub const MINUTES: u64 = 60;

const MINUTE_MS: u64 = 60_000;

/// What was learnt of a link in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minute {
    Good,
    /// For some of it the link was silent, or down.
    Bad,
    /// Nobody asked.
    Unknown,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minutes {
    /// Since boot: the one of the lowest bit. The next bit is the minute before.
    latest: u64,
    good: u64,
    bad: u64,
}

impl Minutes {
    /// Takes down what a run has found.
    pub fn mark(&mut self, now: BootTime, good: bool) {
        *self = self.as_of(now);
        match good {
            true => self.good |= 1,
            false => self.bad |= 1,
        }
    }

    /// Oldest first, the present minute last.
    pub fn strip(&self, now: BootTime) -> impl Iterator<Item = Minute> + use<> {
        let moved = self.as_of(now);
        (0..MINUTES).rev().map(move |ago| match (moved.good >> ago & 1, moved.bad >> ago & 1) {
            (_, 1) => Minute::Bad,
            (1, _) => Minute::Good,
            _ => Minute::Unknown,
        })
    }

    fn as_of(self, now: BootTime) -> Minutes {
        let latest = now.0 / MINUTE_MS;
        // A time that lies ahead is not to be believed.
        let passed = latest.checked_sub(self.latest).and_then(|passed| u32::try_from(passed).ok());
        let moved = |bits: u64| passed.and_then(|passed| bits.checked_shl(passed)).unwrap_or(0);
        Minutes { latest, good: moved(self.good), bad: moved(self.bad) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u64) -> BootTime {
        BootTime(minute * MINUTE_MS + 1)
    }

    fn strip(minutes: &Minutes, now: u64) -> String {
        let letter = |minute| match minute {
            Minute::Good => '=',
            Minute::Bad => 'X',
            Minute::Unknown => '.',
        };
        minutes.strip(at(now)).map(letter).collect()
    }

    #[test]
    fn an_hour_is_kept_and_one_bad_run_spoils_its_minute() {
        let mut minutes = Minutes::default();
        (100..103).for_each(|minute| minutes.mark(at(minute), true));
        minutes.mark(at(103), false);
        minutes.mark(at(103), true);
        assert_eq!(strip(&minutes, 104), ".".repeat(55) + "===X.");
        assert_eq!(strip(&minutes, 162), "X".to_owned() + &".".repeat(59));
        assert_eq!(strip(&minutes, 163), ".".repeat(60));
        assert_eq!(strip(&minutes, u64::MAX / MINUTE_MS - 1), ".".repeat(60));
        assert_eq!(strip(&minutes, 50), ".".repeat(60), "from the future");
    }
}
