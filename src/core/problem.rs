//! What an admin should look at, though the run itself did its work.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One problem. Programs go by the code and the link; the sentence is for people and may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub code: Code,
    /// The link that it concerns.
    pub link: Option<String>,
    pub text: String,
}

/// Stable names, listed with their meaning in docs/status.schema.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    NoInterface,
    GatewayInNoSubnet,
    AdminDown,
    NoCarrier,
    NoAddress,
    NoGateway,
    NoIpv6,
    LeaseNotUsed,
    GatewayOutsideSubnet,
    SharedTarget,
    RouteIsTarget,
    ForeignRoute,
    ForeignRule,
    ForeignDefault,
    NoLinkUp,
    CannotProbe,
    ProbeDiverted,
    DefaultElsewhere,
    HostRoute,
    RouteNotSet,
    ScriptNotStarted,
    ScriptsSandboxed,
    ConntrackMissing,
    HistoryNotWritten,
    MailNotSpooled,
    HoldNotKept,
}

impl Problem {
    pub fn new(code: Code, link: Option<&str>, text: impl Into<String>) -> Problem {
        Problem { code, link: link.map(str::to_owned), text: text.into() }
    }

    /// Whether it is the same one, told in other words perhaps.
    pub fn is(&self, other: &Problem) -> bool {
        (self.code, &self.link) == (other.code, &other.link)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.link {
            Some(link) => write!(f, "{link}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}
