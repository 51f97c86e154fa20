//! What happened, as it is remembered over reboots.


use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::time::BootTime;


/// One line of the history file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// By the wall clock of the moment; for people.
    pub at: Timestamp,
    /// With `boot_ms` it tells records apart and measures what lies between two of the same boot, whatever the wall
    /// clock did meanwhile.
    pub boot_id: String,
    pub boot_ms: BootTime,
    #[serde(flatten)]
    pub happening: Happening,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// A run that found no state, as the first one since boot: which link carried the traffic. Every link is taken to
    /// be up until its own rounds say otherwise.
    Started {
        active: String,
        /// All links, in order of preference.
        links: Vec<String>,
    },
    Switched {
        from: String,
        to: String,
        reason: String,
        forced: bool,
        /// Bytes, both ways, over `from` while it was active; `None`: it is the primary, or not known.
        backup_bytes: Option<u64>,
    },
    LinkDown {
        link: String,
        reason: String,
    },
    LinkUp {
        link: String,
    },
    /// The action script; `outcome` as a clause: "exit code 0", "killed after 60s".
    Script {
        path: String,
        state: String,
        outcome: String,
    },
    /// Routes or rules that somebody had taken away or changed were put right.
    Repaired {
        changes: Vec<String>,
    },
}

impl Record {
    /// The time between two records; by the boot clock where both are of one boot.
    pub fn until(&self, later: &Record) -> Option<Duration> {
        if self.boot_id == later.boot_id {
            return later.boot_ms.since(self.boot_ms);
        }
        later.at.duration_since(self.at).try_into().ok()
    }
}

/// Leaves out what was written twice: a run that was killed half way through its records writes all of them again.
pub fn without_repeats(records: impl IntoIterator<Item = Record>) -> Vec<Record> {
    let mut kept: Vec<Record> = Vec::new();
    for record in records {
        let is_not_older =
            |other: &&Record| other.boot_id == record.boot_id && other.boot_ms >= record.boot_ms;
        let is_same = |other: &Record| other.boot_ms == record.boot_ms && other.happening == record.happening;
        if !kept.iter().rev().take_while(is_not_older).any(is_same) {
            kept.push(record);
        }
    }
    kept
}
