//! What keeps the traffic on the active link.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::BootTime;

/// What the admin said of the link that was switched to by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Nothing: the link's delay applies.
    No,
    /// `--for`: takes the place of the delay.
    Until(BootTime),
    /// `--hold`.
    UntilFailback,
}

/// For how long `--for` was asked: some of it has passed while the command ran.
pub fn asked_for(until: BootTime, now: BootTime) -> Duration {
    until.since(now).unwrap_or_default() + Duration::from_millis(999)
}

/// What keeps an automatic switch from leaving the active link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// Nothing does.
    Free,
    /// The active link's delay, or `--for`, runs for so long still.
    For(Duration),
    /// `force-failover --hold`.
    UntilFailback,
}

impl Stay {
    pub fn is_free(self) -> bool {
        self == Stay::Free
    }
}
