//! What happened in a run, one sentence each.

use std::fmt;

use super::routing::Change;

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    LinkDown {
        link: String,
        reason: String,
    },
    LinkUp {
        link: String,
    },
    Switched {
        from: String,
        to: String,
        reason: String,
    },
    /// A switch that an earlier run could not see to its end.
    SwitchCompleted {
        from: String,
        to: String,
    },
    Reconciled(Vec<Change>),
    Problem(String),
    Solved(String),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Event::LinkDown { link, reason } => write!(f, "{link} is down: {reason}"),
            Event::LinkUp { link } => write!(f, "{link} is up again"),
            Event::Switched { from, to, reason } => write!(f, "switched from {from} to {to}: {reason}"),
            Event::SwitchCompleted { from, to } => {
                write!(f, "completed the switch from {from} to {to} that an earlier run had begun")
            }
            Event::Reconciled(changes) => {
                write!(f, "brought the kernel's routes in line:")?;
                changes.iter().try_for_each(|change| write!(f, "\n  {change}"))
            }
            Event::Problem(problem) => write!(f, "problem: {problem}"),
            Event::Solved(problem) => write!(f, "solved: {problem}"),
        }
    }
}
