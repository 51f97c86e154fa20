//! A change of the active link: asked for, decided, under way.

use serde::{Deserialize, Serialize};

use super::hold::Hold;

/// What a run is asked to do besides its duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Nothing,
    /// `to`: the place of a backup in the config; `None`: the first one that works.
    Failover {
        to: Option<usize>,
        hold: Hold,
    },
    /// `now`: without asking the exit script.
    Failback {
        now: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    pub to: usize,
    pub reason: String,
    /// It leaves a link that works, so the exit script may object.
    pub may_be_vetoed: bool,
    /// Whether a person asked to leave the preferred link.
    pub forced: bool,
    pub hold: Hold,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switching {
    pub from: String,
    pub to: String,
    /// How long the link that is entered was out, where it has just come back.
    #[serde(default)]
    pub outage_ms: Option<u64>,
    /// The bytes over the backup that is left.
    #[serde(default)]
    pub backup_bytes: Option<u64>,
    /// How the action script ended; `None`: it has not yet.
    #[serde(default)]
    pub script: Option<String>,
    /// How often it was started. A run that is killed while the script is at work, by the unit's time limit say, must not
    /// start it for ever: meanwhile nobody looks at the lines.
    #[serde(default)]
    pub script_starts: u32,
}
