//! Service checks: whether a link that answers pings is of any use.

/// The messages of DNS.
pub mod dns;
/// The messages of HTTP.
pub mod http;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::BootTime;

/// One question that is asked through a link. Servers are addresses: nothing of ours looks up a name to ask them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Check {
    Dns(Dns),
    Tcp(Tcp),
    Http(Http),
}

/// Does this server know the name?
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dns {
    #[serde(rename = "dns")]
    pub server: IpAddr,
    /// A host name, without a dot at its end.
    pub name: String,
    /// One of the addresses that it has to have; its family is the one that is asked for. `None`: any IPv4 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<IpAddr>,
}

/// Does it take a connection?
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tcp {
    #[serde(rename = "tcp")]
    pub server: IpAddr,
    pub port: u16,
}

/// Does it answer a GET as it should?
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Http {
    #[serde(rename = "http")]
    pub server: IpAddr,
    pub port: u16,
    /// Whom to ask for there: a host name or an address.
    pub host: String,
    /// From "/" on, ASCII without spaces.
    pub path: String,
    pub status: u16,
    /// What has to stand in the first 64 KiB of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

impl Check {
    pub fn server(&self) -> IpAddr {
        match self {
            Check::Dns(dns) => dns.server,
            Check::Tcp(tcp) => tcp.server,
            Check::Http(http) => http.server,
        }
    }
}

/// As people are told of it; it also tells the checks of a link apart.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Check::Dns(dns) => write!(f, "DNS {} at {}", dns.name, dns.server),
            Check::Tcp(tcp) => write!(f, "TCP port {} at {}", tcp.port, tcp.server),
            Check::Http(http) => {
                let port = if http.port == 80 { String::new() } else { format!(" port {}", http.port) };
                write!(f, "HTTP {}{} at {}{port}", http.host, http.path, http.server)
            }
        }
    }
}

/// Why a check did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckError {
    /// Nothing came in time, or only what is no answer to our question.
    NoReply,
    /// Nobody listens there, or somebody on the way says so.
    Refused,
    /// There is no way there: the reason.
    Unreachable(String),
    /// It answered, and not as it should; what was wrong, as the end of a sentence that begins with the server.
    Wrong(String),
    /// Its pin is not in the kernel yet, as in a dry run, and the question would leave by another link: not asked.
    Unpinned,
    /// This machine would not send it: the sentence tells the cure. It says nothing of this line, or of any other.
    NotAsked(String),
    /// No permission, no memory, no file descriptor: it says nothing of the line. The sentence tells the cure.
    OwnFault(String),
}

impl CheckError {
    /// Whether it says nothing of the line: the server might have answered.
    pub fn is_no_verdict(&self) -> bool {
        matches!(self, CheckError::Unpinned | CheckError::NotAsked(_) | CheckError::OwnFault(_))
    }

    /// What strangers said is cleansed before it gets in here: it goes into logs and onto terminals.
    fn wrong(words: impl Into<String>) -> CheckError {
        CheckError::Wrong(words.into())
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            CheckError::NoReply => "does not answer",
            CheckError::Refused => "is refused",
            CheckError::Unpinned => "is not asked, it is not tied to its link in the kernel",
            CheckError::Unreachable(words)
            | CheckError::Wrong(words)
            | CheckError::NotAsked(words)
            | CheckError::OwnFault(words) => words,
        })
    }
}

/// What became of one check.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckResult {
    pub check: Check,
    /// How long it took, or why it did not pass.
    pub result: Result<Duration, CheckError>,
}

/// What the runs know of a link's checks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Services {
    /// When they were last asked.
    pub asked_at: Option<BootTime>,
    /// In how many rounds in a row none passed.
    pub failed_rounds: u32,
    /// The link is down because of it, whatever its targets say.
    pub useless: bool,
    pub checks: Vec<CheckState>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckState {
    /// As people are told of it, which tells the checks of a link apart.
    pub check: String,
    pub took_ms: Option<f64>,
    pub error: Option<String>,
    /// How often in a row it did not pass.
    pub failed: u32,
}

impl CheckState {
    /// `before`: how often in a row it had failed before this.
    pub fn new(check: &Check, result: &Result<Duration, CheckError>, before: u32) -> CheckState {
        CheckState {
            check: check.to_string(),
            // Microseconds are what the clock can tell; more digits would be noise.
            took_ms: result.as_ref().ok().map(|took| (took.as_secs_f64() * 1e6).round() / 1e3),
            error: result.as_ref().err().map(CheckError::to_string),
            failed: if result.is_ok() { 0 } else { before.saturating_add(1) },
        }
    }
}

impl Services {
    /// Without what the config has no more, and without times that lie ahead.
    pub fn of(&self, checks: &[Check], now: BootTime) -> Services {
        let is_known = |state: &&CheckState| checks.iter().any(|check| check.to_string() == state.check);
        Services {
            asked_at: self.asked_at.filter(|at| *at <= now),
            failed_rounds: self.failed_rounds,
            useless: self.useless && !checks.is_empty(),
            checks: self.checks.iter().filter(is_known).cloned().collect(),
        }
    }

    pub fn of_check(&self, check: &Check) -> Option<&CheckState> {
        let name = check.to_string();
        self.checks.iter().find(|state| state.check == name)
    }

    pub fn knows_all_of(&self, checks: &[Check]) -> bool {
        checks.iter().all(|check| self.of_check(check).is_some())
    }

    /// Whether a check has just failed that passed before.
    pub fn has_news(&self) -> bool {
        self.checks.iter().any(|check| check.failed == 1)
    }

    /// Why the link is of no use, in the words of the last failure.
    pub fn told_failure(&self) -> String {
        let failures =
            self.checks.iter().filter_map(|check| Some(format!("{} {}", check.check, check.error.as_ref()?)));
        format!("answers ping, but no service: {}", failures.collect::<Vec<_>>().join("; "))
    }
}
