//! What happened: told in the log as it happens, and remembered over reboots.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::switch::Cause;
use super::time::{BootTime, Moment};

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
    pub event: Event,
}

/// What happens in a run: a log line each, and of those that matter later a record in the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run that found no state, as the first one since boot: which link carried the traffic. Every link is taken to
    /// be up until its own rounds say otherwise.
    Started {
        active: String,
        /// All links, in order of preference.
        links: Vec<String>,
    },
    /// The first run with other links in the config. What is known of those that stay goes on.
    LinksChanged {
        active: String,
        links: Vec<String>,
    },
    /// No run could tell how the lines were before this one: none was started, or none could ping.
    NotWatched {
        since_ms: BootTime,
    },
    /// Up to here the links were watched, and nothing else was worth a record for hours. Without it a reboot would make all
    /// the calm time before it one that nobody can vouch for.
    Watched,
    /// `wanfo down`: everything of ours was taken out of the kernel.
    TakenOut {
        /// The last run that could tell how the lines were.
        watched_ms: BootTime,
    },
    Switched {
        from: String,
        to: String,
        #[serde(default)]
        cause: Cause,
        reason: String,
        forced: bool,
        /// Bytes, both ways, over `from` while it was active; `None`: it is the primary, or not known.
        backup_bytes: Option<u64>,
    },
    LinkDown {
        link: String,
        reason: String,
        /// Since when nothing was heard though it was asked: its last sign of life, or the first request after it where a
        /// waiting link is asked seldom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heard_ms: Option<BootTime>,
    },
    LinkUp {
        link: String,
        /// The first one after the outage.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heard_ms: Option<BootTime>,
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
    /// What kept the traffic on a link ended by an edit of the config: its hold, or its delay.
    Released {
        link: String,
        what: String,
    },
    /// A drill, which no run makes.
    Drilled {
        link: String,
        proven: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why_not: Option<String>,
        /// The traffic was moved to it for a while, or was to be.
        with_switch: bool,
    },

    // These are told in the log only.
    /// The kernel could not be brought to it yet.
    SwitchBegun {
        from: String,
        to: String,
        reason: String,
    },
    /// What an earlier run had begun is done now.
    SwitchCompleted {
        from: String,
        to: String,
    },
    /// The exit script objects to a failback.
    Vetoed {
        link: String,
        why: String,
    },
    /// Flows that used the link left were deleted.
    Flushed {
        link: String,
        flows: u32,
    },
    /// Routes and rules brought to what this run decided.
    Reconciled {
        changes: Vec<String>,
    },
    Problem {
        problem: Problem,
    },
    Solved {
        problem: Problem,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Event::Started { active, .. } => write!(f, "first run since boot; {active} is active"),
            Event::LinksChanged { active, .. } => {
                write!(f, "first run with these links in the config; {active} is active")
            }
            Event::NotWatched { .. } => f.write_str("the links are watched again"),
            Event::Watched => f.write_str("the links were watched up to here"),
            Event::TakenOut { .. } => f.write_str("taken out by `wanfo down`"),
            Event::LinkDown { link, reason, .. } => write!(f, "{link} is down: {reason}"),
            Event::LinkUp { link, .. } => write!(f, "{link} is up again"),
            Event::Switched { from, to, reason, .. } => write!(f, "switched from {from} to {to}: {reason}"),
            Event::SwitchBegun { from, to, reason } => {
                write!(f, "switching from {from} to {to}, not done yet, the next run goes on: {reason}")
            }
            Event::SwitchCompleted { from, to } => {
                write!(f, "completed the switch from {from} to {to} that an earlier run had begun")
            }
            Event::Script { path, state, outcome } => write!(f, "script {path} {state}: {outcome}"),
            Event::Vetoed { link, why } => write!(f, "staying on {link}: {why}"),
            Event::Released { link, what } => {
                write!(
                    f,
                    "the {what} of {link} ends with the edit of the config, which has no such link for the default traffic any more"
                )
            }
            Event::Drilled { link, why_not: None, .. } => write!(f, "drill: {link} is proven"),
            Event::Drilled { link, why_not: Some(why), .. } => {
                write!(f, "drill: {link} is NOT proven: {why}")
            }
            Event::Flushed { link, flows } => write!(f, "deleted {flows} flows that still used {link}"),
            Event::Reconciled { changes } => list(f, "brought the kernel's routes in line:", changes),
            Event::Repaired { changes } => list(f, "brought the kernel's routes in line again:", changes),
            Event::Problem { problem } => write!(f, "problem: {problem}"),
            Event::Solved { problem } => write!(f, "no longer a problem: {}", problem.name()),
        }
    }
}

fn list(f: &mut fmt::Formatter, heading: &str, changes: &[String]) -> fmt::Result {
    f.write_str(heading)?;
    changes.iter().try_for_each(|change| write!(f, "\n  {change}"))
}

impl Record {
    pub fn new(boot_id: &str, now: Moment, event: Event) -> Record {
        Record { at: now.wall, boot_id: boot_id.to_owned(), boot_ms: now.boot, event }
    }

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
        let is_same = |other: &Record| other.boot_ms == record.boot_ms && other.event == record.event;
        if !kept.iter().rev().take_while(is_not_older).any(is_same) {
            kept.push(record);
        }
    }
    kept
}
