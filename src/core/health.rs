//! Whether a link works: from the replies of one round to a verdict.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::Link;
use super::gateway::ResolvedLink;

/// What became of one echo request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub address: IpAddr,
    /// The round-trip time, or why there is none.
    pub result: Result<Duration, ProbeError>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeError {
    /// Nothing came back in time, or only from somebody else.
    NoReply,
    /// The kernel, or a router on the way, says that there is no way there.
    Unreachable,
    /// The interface, its address or its gateway is missing: the reason.
    Unusable(String),
    /// Two links have this target just now, and it serves the other one.
    Shared,
    /// Its pin is not in the kernel yet, as in a dry run, and the request would leave by another link: not asked.
    Unpinned,
    /// The kernel would send the request by another way than the link's: not asked. The sentence tells which.
    Diverted(String),
    /// This machine would not send it: the sentence tells the cure. It says nothing of this line, or of any other.
    Refused(String),
    /// No permission, no memory, no file descriptor: it says nothing of the line. The sentence tells the cure.
    OwnFault(String),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ProbeError::NoReply => f.write_str("no reply"),
            ProbeError::Unreachable => f.write_str("unreachable"),
            ProbeError::Unusable(why)
            | ProbeError::Diverted(why)
            | ProbeError::Refused(why)
            | ProbeError::OwnFault(why) => f.write_str(why),
            ProbeError::Unpinned => f.write_str("not probed, it is not tied to its link in the kernel"),
            ProbeError::Shared => f.write_str("not probed, it is another link's target"),
        }
    }
}

/// One round of one link.
#[derive(Debug, Clone, PartialEq)]
pub enum Round {
    Good,
    /// Too few replies; the reason as a clause: "no reply from 192.0.2.1".
    Failed(String),
    /// The interface cannot carry traffic; the reason.
    Unusable(String),
    /// A fault of our own: it says nothing of the line.
    Void,
    /// Not probed in this run.
    NotDue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Up,
    Down,
}

/// A link's verdict and the leaky counter behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub verdict: Verdict,
    /// 0 to `threshold`: a failed round adds one, a good round takes one away.
    pub failed_rounds: u32,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Verdict::Up => "up",
            Verdict::Down => "down",
        })
    }
}

impl Health {
    /// What is assumed of a link of which nothing is known.
    pub const UNKNOWN: Health = Health { verdict: Verdict::Up, failed_rounds: 0 };

    /// Up, and without a failed round on its account.
    pub fn is_spotless(self) -> bool {
        self == Health::UNKNOWN
    }

    /// Whether the counter is where its verdict leaves it: at 0, or at `threshold`.
    pub fn is_settled(self, threshold: u32) -> bool {
        match self.verdict {
            Verdict::Up => self.failed_rounds == 0,
            Verdict::Down => self.failed_rounds >= threshold,
        }
    }

    /// The health after one more round.
    pub fn after(self, round: &Round, threshold: u32) -> Health {
        let failed_rounds = match round {
            Round::Good => self.failed_rounds.min(threshold).saturating_sub(1),
            Round::Failed(_) => self.failed_rounds.saturating_add(1).min(threshold),
            Round::Unusable(_) => threshold,
            Round::Void | Round::NotDue => return self,
        };
        let verdict = match failed_rounds {
            0 => Verdict::Up,
            rounds if rounds >= threshold => Verdict::Down,
            _ => self.verdict,
        };
        Health { verdict, failed_rounds }
    }
}

/// Judges the replies of one link's targets; `None`: it was not asked in this run.
pub fn judge(link: &Link, resolved_link: &ResolvedLink, replies: Option<&[Reply]>) -> Round {
    match resolved_link.fault() {
        Some(fault) if fault.is_final() => return Round::Unusable(fault.to_string()),
        Some(fault) => return Round::Failed(fault.to_string()),
        None if link.targets.is_empty() => return Round::Good,
        None => {}
    }
    let Some(replies) = replies else { return Round::NotDue };
    if replies.iter().any(Reply::is_own_fault) {
        return Round::Void;
    }
    let answered = replies.iter().filter(|reply| reply.result.is_ok()).count();
    if answered >= link.quorum as usize {
        Round::Good
    } else if replies.iter().any(Reply::is_missing) {
        // What could not be asked might have answered.
        Round::Void
    } else {
        Round::Failed(blame(link, replies))
    }
}

impl Reply {
    /// Whether it could not be asked for.
    fn is_missing(&self) -> bool {
        matches!(self.result, Err(ProbeError::Unpinned | ProbeError::Diverted(_) | ProbeError::Refused(_)))
    }

    /// Whether it says something of this machine and nothing of any line.
    pub fn is_own_fault(&self) -> bool {
        matches!(self.result, Err(ProbeError::OwnFault(_)))
    }
}

fn blame(link: &Link, replies: &[Reply]) -> String {
    let silent: Vec<_> = replies
        .iter()
        .filter_map(|reply| {
            let failure = reply.result.as_ref().err()?;
            Some(match failure {
                ProbeError::NoReply => format!("no reply from {}", reply.address),
                other => format!("{}: {other}", reply.address),
            })
        })
        .collect();
    if silent.is_empty() {
        return "no target has an address to ping just now".to_owned();
    }
    let needed = match link.quorum {
        1 => String::new(),
        quorum => format!(" ({quorum} must answer)"),
    };
    silent.join(", ") + &needed
}
