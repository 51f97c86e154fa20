//! What happened in a run, one sentence each.

use std::fmt;

use super::health::Verdict;
use super::round::{LinkResult, RunInput};
use super::change::Change;

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first run since boot, the first with a usable state, or the first with other links in the config.
    Started {
        active: String,
    },
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
    /// Routes and rules brought to what this run decided.
    Reconciled(Vec<Change>),
    /// What an earlier run had left in order was not in order any more.
    Repaired(Vec<Change>),
    Problem(String),
    Solved(String),
}

/// Links that went down or came back in this round.
pub fn verdicts_that_changed(input: &RunInput, checked: &[LinkResult]) -> Vec<Event> {
    let links = input.config.links.iter().zip(checked).enumerate();
    links
        .filter_map(|(index, (link, now))| match (input.health_before(link).verdict, now.health.verdict) {
            (Verdict::Up, Verdict::Down) => {
                Some(Event::LinkDown { link: link.name.clone(), reason: input.last_error(index, now) })
            }
            (Verdict::Down, Verdict::Up) => Some(Event::LinkUp { link: link.name.clone() }),
            _ => None,
        })
        .collect()
}

/// Problems that the last run did not know, and those that it did and that are gone. The run's own faults are no news:
/// they are said on every run.
pub fn problems_that_changed(before: &[String], problems: &[String], faults: &[String]) -> Vec<Event> {
    let appeared = problems.iter().filter(|problem| !before.contains(problem));
    let solved = before.iter().filter(|problem| !problems.contains(problem) && !faults.contains(problem));
    appeared.cloned().map(Event::Problem).chain(solved.cloned().map(Event::Solved)).collect()
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Event::LinkDown { link, reason } => write!(f, "{link} is down: {reason}"),
            Event::LinkUp { link } => write!(f, "{link} is up again"),
            Event::Switched { from, to, reason } => write!(f, "switched from {from} to {to}: {reason}"),
            Event::SwitchBegun { from, to, reason } => {
                write!(f, "switching from {from} to {to}, not done yet, the next run goes on: {reason}")
            }
            Event::SwitchCompleted { from, to } => {
                write!(f, "completed the switch from {from} to {to} that an earlier run had begun")
            }
            Event::Started { active } => {
                write!(f, "first run with these links; {active} is active")
            }
            Event::Reconciled(changes) => list(f, "brought the kernel's routes in line:", changes),
            Event::Repaired(changes) => list(f, "brought the kernel's routes in line again:", changes),
            Event::Problem(problem) => write!(f, "problem: {problem}"),
            Event::Solved(problem) => write!(f, "solved: {problem}"),
        }
    }
}

fn list(f: &mut fmt::Formatter, heading: &str, changes: &[Change]) -> fmt::Result {
    f.write_str(heading)?;
    changes.iter().try_for_each(|change| write!(f, "\n  {change}"))
}
