//! Whether a link works: the law of silence.
//!
//! A link is down once nothing was heard of it for `probe.silence` while at least three requests of ours are unanswered.
//! It is up again once it has answered for `stable` without a gap. Everything here is a function of what was known, what
//! was sent and when, what came back and when, and of now.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::{Link, Probe};
use super::service::{CheckResult, Services};
use super::time::BootTime;

/// As long as so few requests are unanswered a link is not down, whatever the clock says.
const LEAST_UNANSWERED: u32 = 3;

/// A link that goes down so soon after it came up has relapsed.
const RELAPSE: Duration = Duration::from_secs(10 * 60);

/// A link that goes down for the `OFTEN`th time within an hour, though it was up for too long to have relapsed, has to
/// answer for `SELDOM` at least: one that drops every quarter of an hour would else cut every call twice, for ever.
const OFTEN: usize = 3;
const SELDOM: Duration = Duration::from_secs(30 * 60);

const HOUR: Duration = Duration::from_secs(3600);

/// A link that was up for so long is forgiven all relapses.
const FORGIVEN: Duration = HOUR;

/// However often it has relapsed, a link that answers for so long is up.
const LONGEST_STABLE: Duration = HOUR;

/// One echo request that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EchoRequest {
    /// The place in the config of the link that is asked.
    pub link: usize,
    pub target: IpAddr,
    /// Under which its socket is made; `None`: our own.
    pub uid: Option<u32>,
}

/// What became of one echo request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Whose request it was.
    pub link: usize,
    /// The target that was asked.
    pub address: IpAddr,
    /// When it came in, or when it became clear that none would.
    pub at: BootTime,
    /// The round-trip time, or why there is none.
    pub result: Result<Duration, ProbeError>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeError {
    /// Nothing came back, or only from somebody else.
    NoReply,
    /// Nothing came back so far; the run had no reason to wait for it.
    NoReplyYet,
    /// It came back later than `probe.max_latency`.
    TooLate(Duration),
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
            ProbeError::NoReplyYet => f.write_str("no reply yet"),
            ProbeError::TooLate(rtt) => {
                write!(f, "answered after {} ms, later than `max_latency`", rtt.as_millis())
            }
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

impl ProbeError {
    /// Whether the target could not be asked: it might have answered.
    pub fn is_missing(&self) -> bool {
        matches!(self, ProbeError::Unpinned | ProbeError::Diverted(_) | ProbeError::Refused(_))
    }

    /// Whether it says something of this machine and nothing of any line.
    pub fn is_own_fault(&self) -> bool {
        matches!(self, ProbeError::OwnFault(_))
    }
}

/// One link after it was probed.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkResult {
    pub probed: Probed,
    pub health: Health,
    /// `None`: it was not asked.
    pub targets: Option<Vec<TargetResult>>,
    /// Whether people get anything over it, as far as it has checks.
    pub serves: bool,
    /// What is known of its checks after this run.
    pub services: Services,
    /// Those that were asked in this run.
    pub checks: Vec<CheckResult>,
}

/// What came of asking one link.
#[derive(Debug, Clone, PartialEq)]
pub enum Probed {
    /// It answered just now.
    Answered,
    /// Too few replies; the reason as a clause: "no reply from 192.0.2.1".
    Silent(String),
    /// The interface cannot carry traffic; the reason.
    Unusable(String),
    /// A fault of our own: it says nothing of the line.
    Void,
    /// Not asked in this run.
    NotDue,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TargetResult {
    pub address: IpAddr,
    /// Its last answer, in this run or an earlier one.
    pub heard_at: Option<BootTime>,
    /// It has fallen silent over every link, and so says nothing of a line.
    pub at_fault: bool,
    /// The round-trip time of its answer in this run, or why there is none.
    pub result: Result<Duration, ProbeError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Up,
    Down,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Verdict::Up => "up",
            Verdict::Down => "down",
        })
    }
}

/// How patient the config is with a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Law {
    pub silence: Duration,
    pub stable: Duration,
}

impl Law {
    pub fn of(probe: &Probe, link: &Link) -> Law {
        Law { silence: probe.silence, stable: link.stable }
    }

    /// From a request that got no answer to the next sign of life: one lost packet is no gap.
    fn gap(self) -> Duration {
        self.silence / 3
    }
}

/// A link's verdict and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub verdict: Verdict,
    /// The last sign of life: the `quorum`-th latest among the last answers of the targets.
    pub heard_at: Option<BootTime>,
    /// The last request.
    pub asked_at: Option<BootTime>,
    /// The first request since the last sign of life.
    pub unanswered_since: Option<BootTime>,
    /// How many requests got no answer since the last sign of life.
    #[serde(default)]
    pub unanswered: u32,
    /// Since when a link that is down has answered without a gap.
    pub stable_since: Option<BootTime>,
    /// When it last came up after it was down.
    pub up_since: Option<BootTime>,
    /// How often in a row it went down soon after it came up.
    #[serde(default)]
    pub relapses: u32,
    /// When it last went down, the latest first.
    #[serde(default)]
    pub fell_at: [Option<BootTime>; OFTEN - 1],
    /// It goes down often, though not soon after it came up.
    #[serde(default)]
    pub is_fickle: bool,
}

impl Health {
    /// What is assumed of a link of which nothing is known.
    pub const UNKNOWN: Health = Health {
        verdict: Verdict::Up,
        heard_at: None,
        asked_at: None,
        unanswered_since: None,
        unanswered: 0,
        stable_since: None,
        up_since: None,
        relapses: 0,
        fell_at: [None; OFTEN - 1],
        is_fickle: false,
    };

    /// Without the times that lie ahead: whoever wrote those into the state file, they mean nothing.
    pub fn as_of(mut self, now: BootTime) -> Health {
        let times = [&mut self.heard_at, &mut self.asked_at, &mut self.unanswered_since];
        let others = [&mut self.stable_since, &mut self.up_since].into_iter().chain(&mut self.fell_at);
        for time in times.into_iter().chain(others) {
            *time = time.filter(|at| *at <= now);
        }
        self
    }

    /// Up, and no request is unanswered.
    pub fn is_spotless(&self) -> bool {
        self.verdict == Verdict::Up && self.unanswered == 0
    }

    /// Silence in which nobody asked is no silence: a run that came late, a machine that slept.
    fn nobody_asked(&self, law: Law, now: BootTime) -> bool {
        self.asked_at.is_none_or(|at| now.since(at).is_none_or(|time| time > law.silence))
    }

    /// A request went out.
    pub fn ask(&mut self, law: Law, now: BootTime) {
        // No answer to an earlier one is a gap, whether or not anybody asked since.
        if self.unanswered > 0 && self.waits_for(now) > law.gap() {
            self.stable_since = None;
        }
        if self.nobody_asked(law, now) || self.unanswered_since.is_none() {
            (self.unanswered_since, self.unanswered) = (Some(now), 0);
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.asked_at = Some(now);
    }

    /// A sign of life.
    pub fn hear(&mut self, law: Law, at: BootTime) {
        if self.heard_at.is_some_and(|before| before >= at) {
            return;
        }
        let is_gap = self.waits_for(at) > law.gap();
        if self.verdict == Verdict::Down && (is_gap || self.stable_since.is_none()) {
            self.stable_since = Some(at);
        }
        self.heard_at = Some(at);
        if self.asked_at.is_none_or(|asked| asked <= at) {
            (self.unanswered_since, self.unanswered) = (None, 0);
        } else {
            // With a quorum the sign of life may lie before the last requests.
            self.unanswered_since = self.unanswered_since.map(|since| since.max(at));
        }
    }

    /// Silence in which nobody could have answered is no silence.
    pub fn forget_silence(&mut self) {
        (self.unanswered_since, self.unanswered) = (None, 0);
    }

    /// Nobody listened for a while, the process was stopped: what came in meanwhile may be unread still.
    pub fn ask_anew(&mut self) {
        self.unanswered = 0;
    }

    /// How long ago the first request was that got no answer.
    fn waits_for(&self, now: BootTime) -> Duration {
        self.unanswered_since.and_then(|since| now.since(since)).unwrap_or_default()
    }

    /// Since when nothing was heard though we asked: the last sign of life, if the link was asked again within `silence` of
    /// it; else the first request that got no answer. While none is unanswered it begins now.
    pub fn silent_since(&self, law: Law, now: BootTime) -> BootTime {
        let asked = self.unanswered_since.unwrap_or(now);
        match self.heard_at {
            Some(heard) if asked.since(heard).is_some_and(|time| time <= law.silence) => heard,
            _ => asked,
        }
    }

    /// For how long that lasts.
    pub fn silent_for(&self, law: Law, now: BootTime) -> Duration {
        match self.unanswered_since {
            Some(_) => now.since(self.silent_since(law, now)).unwrap_or_default(),
            None => Duration::ZERO,
        }
    }

    /// When the silence will have lasted long enough, if nothing is heard until then.
    pub fn silence_ends(&self, law: Law, now: BootTime) -> BootTime {
        now.plus(law.silence.saturating_sub(self.silent_for(law, now)))
    }

    /// Takes the verdict that is due now.
    pub fn judge(&mut self, law: Law, now: BootTime) {
        match self.verdict {
            Verdict::Up
                if self.silent_for(law, now) >= law.silence
                    && self.unanswered >= LEAST_UNANSWERED
                    && !self.nobody_asked(law, now) =>
            {
                self.fall(now);
            }
            Verdict::Up => {
                if self.up_since.and_then(|since| now.since(since)).is_some_and(|time| time >= FORGIVEN) {
                    (self.relapses, self.is_fickle) = (0, false);
                }
            }
            Verdict::Down => {
                if self.waits_for(now) > law.gap() && !self.nobody_asked(law, now) {
                    self.stable_since = None;
                }
                // Only what was heard is stable, not the silence since.
                if self.unanswered == 0 && self.stable_in(law, now) == Some(Duration::ZERO) {
                    self.rise(now);
                }
            }
        }
    }

    /// It is down, and there is nothing to confirm.
    pub fn fall(&mut self, now: BootTime) {
        if self.verdict == Verdict::Up {
            let within = |since: Option<BootTime>, time| {
                since.and_then(|since| now.since(since)).is_some_and(|passed| passed < time)
            };
            if within(self.up_since, RELAPSE) {
                self.relapses = self.relapses.saturating_add(1);
            } else {
                self.is_fickle = within(self.fell_at[OFTEN - 2], HOUR);
            }
            self.fell_at.rotate_right(1);
            self.fell_at[0] = Some(now);
        }
        self.verdict = Verdict::Down;
        self.stable_since = None;
    }

    /// It is up, stable or not.
    pub fn rise(&mut self, now: BootTime) {
        if self.verdict == Verdict::Down {
            self.up_since = Some(now);
        }
        self.verdict = Verdict::Up;
        self.stable_since = None;
    }

    /// For how long it has to go on answering until it is up again; `None`: it is up, or does not answer.
    pub fn stable_in(&self, law: Law, now: BootTime) -> Option<Duration> {
        let stable_for = now.since(self.stable_since?).unwrap_or_default();
        Some(self.needed(law).saturating_sub(stable_for))
    }

    /// For how long it has to answer before it is up again.
    pub fn needed(&self, law: Law) -> Duration {
        let doubled = 1u32.checked_shl(self.relapses).and_then(|times| law.stable.checked_mul(times));
        let needed = doubled.unwrap_or(LONGEST_STABLE).min(LONGEST_STABLE.max(law.stable));
        if self.is_fickle { needed.max(SELDOM) } else { needed }
    }
}

/// The link's last sign of life: the `quorum`-th latest among the last answers of its targets.
pub fn last_sign_of_life(
    answers: impl IntoIterator<Item = Option<BootTime>>,
    quorum: u32,
) -> Option<BootTime> {
    let mut answers: Vec<BootTime> = answers.into_iter().flatten().collect();
    answers.sort_unstable_by(|one, other| other.cmp(one));
    answers.get((quorum as usize).saturating_sub(1)).copied()
}
