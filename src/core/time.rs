//! The two clocks: one that measures, and one for people.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Milliseconds since boot, time asleep included (CLOCK_BOOTTIME, clock_gettime(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootTime(pub u64);

impl BootTime {
    /// The time that has passed since `earlier`; `None` where that lies ahead, which no honest file says.
    pub fn since(self, earlier: BootTime) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_millis)
    }

    pub fn plus(self, time: Duration) -> BootTime {
        BootTime(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// This moment, on both clocks: the one that measures and the one for people.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub boot: BootTime,
    pub wall: Timestamp,
}

impl Moment {
    /// The wall-clock time of a moment of this boot, in whole seconds, by what the wall clock says now: a clock that
    /// was stepped meanwhile does no harm.
    pub fn wall_time(&self, at: BootTime) -> Timestamp {
        let [at, boot] = [at, self.boot].map(|time| i64::try_from(time.0).unwrap_or(i64::MAX));
        let millisecond = self.wall.as_millisecond().saturating_add(at - boot);
        Timestamp::from_second(millisecond.div_euclid(1000)).unwrap_or(self.wall)
    }
}
