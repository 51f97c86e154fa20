//! What an admin should look at: the run did its work all the same, or says by a fault that a part of it failed.

use std::collections::HashSet;
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
    SameAddress,
    SharedTarget,
    /// The links' uids cannot be taken.
    PinnedByTarget,
    /// A user of this machine has the uid of a link.
    UidTaken,
    ForeignRoute,
    ForeignRule,
    ForeignDefault,
    /// Another default route of the same metric by another link.
    EqualDefaults,
    /// A link without targets.
    NotProbed,
    TargetIsOwnAddress,
    GatewayIsOwnAddress,
    TargetNeverAnswered,
    TargetSilentEverywhere,
    /// The active link answers by one family only, though it has targets of both.
    FamilySilent,
    ConfigBroken,
    ScriptUnusable,
    /// A file that mail needs.
    MailFileUnusable,
    /// The file with its address.
    WebhookFileUnusable,
    RouteStays,
    FamilyRefused,
    NoLinkUp,
    CannotProbe,
    /// Checks that pass over no link.
    ChecksFail,
    CannotCheck,
    ProbeDiverted,
    DefaultElsewhere,
    HostRoute,
    RouteNotSet,
    ScriptNotStarted,
    ScriptsSandboxed,
    ConntrackMissing,
    HistoryNotWritten,
    MailNotSpooled,
    MessageSetAside,
    HoldNotKept,
    RecordingNotKept,
}

impl Problem {
    pub fn new(code: Code, link: Option<&str>, text: impl Into<String>) -> Problem {
        Problem { code, link: link.map(str::to_owned), text: text.into() }
    }

    /// What it is called, without its details and its cure.
    pub fn name(&self) -> String {
        let words = self.code.to_string().replace('-', " ");
        match &self.link {
            Some(link) => format!("{link}: {words}"),
            None => words,
        }
    }

    /// Whether it is the same one, told in other words perhaps. Of files there may be several, which their sentences tell
    /// apart.
    pub fn is(&self, other: &Problem) -> bool {
        let is_of_a_file = matches!(self.code, Code::ScriptUnusable | Code::MailFileUnusable);
        (self.code, &self.link) == (other.code, &other.link) && (!is_of_a_file || self.text == other.text)
    }

    /// Whether it is said already by this one. A config that is broken in another way than before is said anew.
    pub fn is_said_by(&self, known: &Problem) -> bool {
        self.is(known) && (self.code != Code::ConfigBroken || self.text == known.text)
    }

    /// Whether something is doubtful only, and may work all the same.
    pub fn is_a_doubt(&self) -> bool {
        matches!(self.code, Code::EqualDefaults | Code::NotProbed)
    }
}

/// As the JSON has it.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.serialize(f)
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

/// How many items are named in one sentence.
const NAMED: usize = 3;

/// The first of them in one sentence, each once (a rule of both families reads the same); `None`: there are none.
pub fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> Option<String> {
    let mut seen = HashSet::new();
    let items = items.into_iter().map(|item| item.to_string());
    let all: Vec<String> = items.filter(|item| seen.insert(item.clone())).collect();
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!all.is_empty()).then(|| all[..all.len().min(NAMED)].join(", ") + &more)
}
