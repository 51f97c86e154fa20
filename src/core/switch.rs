//! A change of the active link: asked for, decided, under way.

use serde::{Deserialize, Serialize};

use super::hold::Hold;

/// What a run is asked to do besides its duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Nothing,
    /// `to`: the index of a backup in the config; `None`: the first one that works.
    Failover {
        to: Option<usize>,
        hold: Hold,
    },
    /// `now`: without asking the exit script.
    Failback {
        now: bool,
    },
}

/// Why the traffic moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The link that carried it is down.
    LinkDown,
    /// A link that is preferred is up.
    #[default]
    Preferred,
    /// `force-failover`.
    Forced,
    /// `failback`.
    Failback,
    /// The config lets the link that carried it do so no longer.
    Config,
    /// A hold from before a reboot.
    Hold,
    /// The first run since boot found it so.
    Found,
}

/// A switch that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// The index of the link in the config.
    pub to: usize,
    pub cause: Cause,
    /// The cause as a sentence, with its details.
    pub reason: String,
    /// It leaves a link that works, so the exit script may object.
    pub may_be_vetoed: bool,
    pub hold: Hold,
}

/// A switch that is under way, as the state file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switching {
    pub from: String,
    pub to: String,
    pub cause: Cause,
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
