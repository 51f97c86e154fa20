//! A drill: what is asked of a backup, what answers, and whether that proves that it would carry the traffic.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;

use super::config::{Config, Pin};
use super::flow::{self, Flow, RouteAnswer};
use super::gateway::View;
use super::health::{EchoRequest, ProbeError, Verdict, last_sign_of_life};
use super::hold::Stay;
use super::pin;
use super::problem::{Code, Problem};
use super::record::Event;
use super::report::overall::TOO_OLD;
use super::service::Check;
use super::state::State;
use super::time::BootTime;
use super::units::span;
use super::world::Heard;

/// How often a target is asked.
pub const BEAT: Duration = Duration::from_secs(1);

/// How often a check is, in a drill that lasts.
const CHECK_BEAT: Duration = Duration::from_secs(10);

/// One lost packet is no silence, however short `probe.silence` is.
const LEAST_SILENCE: Duration = Duration::from_secs(3);

/// What came of the drill of one backup.
pub struct Drill {
    pub link: String,
    /// The traffic was moved to it, or was to be.
    pub with_switch: bool,
    pub trials: Vec<Trial>,
    /// Why it is not proven; `None`: it is.
    pub failure: Option<String>,
}

impl Drill {
    pub fn verdict(&self) -> &'static str {
        if self.failure.is_none() { "proven" } else { "NOT proven" }
    }

    pub fn event(&self) -> Event {
        Event::Drilled {
            link: self.link.clone(),
            proven: self.failure.is_none(),
            why_not: self.failure.clone(),
            with_switch: self.with_switch,
        }
    }
}

impl fmt::Display for Drill {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.trials.iter().try_for_each(|trial| trial.fmt(f))?;
        let why = self.failure.iter().map(|why| format!(": {why}")).collect::<String>();
        writeln!(f, "{} is {}{why}", self.link, self.verdict())
    }
}

/// The targets and checks of a link, asked in one way.
pub struct Trial {
    /// The place of the link in the config.
    pub link: usize,
    heading: String,
    /// Where the kernel sends the default traffic, where that is a part of it.
    ways: Vec<String>,
    /// Under which it is asked; `None`: as everybody.
    pub uid: Option<u32>,
    tallies: Vec<Tally>,
    quorum: u32,
    /// A target without an address just now.
    without_gateway: bool,
    started: BootTime,
    /// Why it was not begun, or was broken off.
    pub failure: Option<String>,
}

/// One of them, and how often it answered.
struct Tally {
    what: What,
    /// Why it cannot be asked.
    not_asked: Option<String>,
    asked: u32,
    answered: u32,
    fastest: Duration,
    slowest: Duration,
    heard_at: Option<BootTime>,
    asks_next: BootTime,
    /// Why it did not answer, when that was said last.
    error: Option<String>,
}

#[derive(PartialEq)]
enum What {
    Target(IpAddr),
    Service(Check),
}

impl Trial {
    /// Over the link's own line, whoever carries the traffic. `pin`: the one in force.
    pub fn over_its_line(
        config: &Config,
        view: &View,
        pin: Pin,
        index: usize,
        now: BootTime,
        way: &mut dyn FnMut(&Flow) -> Result<RouteAnswer>,
    ) -> Trial {
        let link = &config.links[index];
        let heading = match pin {
            Pin::Link => format!("{}, asked over its own line; nobody is moved:", link.name),
            Pin::Target => format!(
                "{}, its targets asked over its own line; nobody is moved, and nothing else can be asked so (`pin: target`):",
                link.name
            ),
        };
        let mut trial = Trial::new(config, view, index, heading, config.uid_with(pin, index), now, way);
        let shared = pin::shared_targets(config, pin, &view.links);
        for tally in &mut trial.tallies {
            match &tally.what {
                What::Target(address)
                    if shared.iter().any(|(_, second, other)| (second, other) == (&index, address)) =>
                {
                    tally.not_asked = Some(ProbeError::Shared.to_string());
                }
                What::Service(_) if pin == Pin::Target => {
                    tally.not_asked = Some("not asked, for only pings are tied to a link".to_owned());
                }
                _ => {}
            }
        }
        trial.failure = match pin {
            Pin::Link => pin::holds(config, view, index, way).err(),
            Pin::Target => view.links[index].fault().map(ToString::to_string),
        };
        trial
    }

    /// As everybody's traffic goes, which the link is to carry.
    pub fn by_default(
        config: &Config,
        view: &View,
        index: usize,
        heading: String,
        now: BootTime,
        way: &mut dyn FnMut(&Flow) -> Result<RouteAnswer>,
    ) -> Trial {
        let mut trial = Trial::new(config, view, index, heading, None, now, way);
        for family in view.facts.families() {
            for (part, to) in flow::default_traffic(family, config, &view.facts) {
                if let Ok(answer) = way(&Flow::forwarded_tcp(to)) {
                    trial.ways.push(format!("{part} goes {answer}"));
                }
            }
        }
        trial
    }

    fn new(
        config: &Config,
        view: &View,
        index: usize,
        heading: String,
        uid: Option<u32>,
        now: BootTime,
        way: &mut dyn FnMut(&Flow) -> Result<RouteAnswer>,
    ) -> Trial {
        let (link, resolved_link) = (&config.links[index], &view.links[index]);
        let tally = |what, not_asked| Tally {
            what,
            not_asked,
            asked: 0,
            answered: 0,
            fastest: Duration::MAX,
            slowest: Duration::ZERO,
            heard_at: None,
            asks_next: now,
            error: None,
        };
        let mut bar = |to: IpAddr, flow: Flow| match resolved_link.next_hop(to.into()) {
            Err(fault) => Some(format!("not asked, for {fault}")),
            Ok(next_hop) => {
                flow::check_probe(next_hop, to, way(&flow), false).err().map(|error| error.to_string())
            }
        };
        let addresses = link.targets.iter().filter_map(|target| resolved_link.resolve(*target));
        let mut tallies: Vec<Tally> = addresses
            .map(|address| tally(What::Target(address), bar(address, Flow::echo_request(address, uid))))
            .collect();
        let without_gateway = tallies.len() < link.targets.len();
        tallies.extend(link.checks.iter().map(|check| {
            let not_asked = bar(check.server(), Flow::check(check, uid));
            tally(What::Service(check.clone()), not_asked)
        }));
        let (quorum, ways, started, failure) = (link.quorum, Vec::new(), now, None);
        Trial { link: index, heading, ways, uid, tallies, quorum, without_gateway, started, failure }
    }

    /// Those that are to be asked now. `once`: until it has answered; a check has its own patience, and is asked but once.
    pub fn due(&mut self, once: bool, now: BootTime) -> (Vec<EchoRequest>, Vec<Check>) {
        let (mut requests, mut checks) = (Vec::new(), Vec::new());
        for tally in
            self.tallies.iter_mut().filter(|tally| tally.not_asked.is_none() && tally.asks_next <= now)
        {
            let beat = match &tally.what {
                What::Target(_) if once && tally.answered > 0 => continue,
                What::Service(_) if once && tally.asked > 0 => continue,
                What::Target(target) => {
                    requests.push(EchoRequest { link: self.link, target: *target, uid: self.uid });
                    BEAT
                }
                What::Service(check) => {
                    checks.push(check.clone());
                    CHECK_BEAT
                }
            };
            tally.asked += 1;
            tally.asks_next = now.plus(beat);
        }
        (requests, checks)
    }

    pub fn take(&mut self, heard: Heard, max_latency: Option<Duration>, now: BootTime) {
        match heard {
            Heard::Reply(reply) => {
                let result = match reply.result {
                    Ok(rtt) if max_latency.is_some_and(|most| rtt > most) => Err(ProbeError::TooLate(rtt)),
                    result => result,
                };
                self.note(&What::Target(reply.address), result.map_err(|error| error.to_string()), reply.at);
            }
            Heard::Checked { check, result, .. } => {
                self.note(&What::Service(check), result.map_err(|error| error.to_string()), now);
            }
        }
    }

    fn note(&mut self, what: &What, result: Result<Duration, String>, at: BootTime) {
        for tally in self.tallies.iter_mut().filter(|tally| tally.what == *what) {
            match &result {
                Ok(time) => {
                    tally.answered += 1;
                    (tally.fastest, tally.slowest) = (tally.fastest.min(*time), tally.slowest.max(*time));
                    tally.heard_at = tally.heard_at.max(Some(at));
                }
                Err(error) => tally.error = Some(error.clone()),
            }
        }
    }

    /// Whether nothing more can come of asking once.
    pub fn is_over(&self) -> bool {
        self.tallies.iter().all(|tally| {
            let has_failed = matches!(tally.what, What::Service(_)) && tally.error.is_some();
            tally.not_asked.is_some() || tally.answered > 0 || has_failed
        })
    }

    /// Why going on would be no proof any more: nothing was heard for too long.
    pub fn has_fallen_silent(&self, silence: Duration, now: BootTime) -> Option<String> {
        let most = silence.max(LEAST_SILENCE);
        let heard = last_sign_of_life(self.targets().map(|tally| tally.heard_at), self.quorum);
        let silent = now.since(heard.unwrap_or(self.started)).unwrap_or_default();
        let has_targets = self.targets().next().is_some();
        (has_targets && silent >= most)
            .then(|| format!("nothing was heard of it for {}: {}", span(silent), self.told_missing()))
    }

    /// Why it proves nothing, as it stands.
    pub fn verdict(&self) -> Option<String> {
        let answered = self.targets().filter(|tally| tally.answered > 0).count();
        let mut services = self.services().filter(|tally| tally.not_asked.is_none()).peekable();
        match &self.failure {
            Some(failure) => Some(failure.clone()),
            None if self.targets().next().is_none() && services.peek().is_none() => {
                Some(format!("it has nothing that could answer{}; give it `targets`", self.told_gateway()))
            }
            None if answered < self.quorum as usize && self.targets().next().is_some() => {
                Some(self.told_missing())
            }
            None if services.peek().is_some() && services.all(|tally| tally.answered == 0) => {
                let told: Vec<String> =
                    self.services().map(|tally| format!("{} {}", tally.what, tally.told())).collect();
                Some(format!("no service over it: {}", told.join(", ")))
            }
            None => None,
        }
    }

    fn targets(&self) -> impl Iterator<Item = &Tally> {
        self.tallies.iter().filter(|tally| matches!(tally.what, What::Target(_)))
    }

    fn services(&self) -> impl Iterator<Item = &Tally> {
        self.tallies.iter().filter(|tally| matches!(tally.what, What::Service(_)))
    }

    /// Which targets did not answer, or not to the end.
    fn told_missing(&self) -> String {
        let latest = self.targets().map(|tally| tally.heard_at).max().flatten();
        let missing = self.targets().filter(|tally| tally.heard_at.is_none() || tally.heard_at < latest);
        let mut told: Vec<String> = missing.map(Tally::told_failure).collect();
        if told.is_empty() {
            told = self.targets().map(Tally::told_failure).collect();
        }
        let needed = if self.quorum > 1 { format!(" ({} must answer)", self.quorum) } else { String::new() };
        told.join(", ") + self.told_gateway() + &needed
    }

    fn told_gateway(&self) -> &'static str {
        if self.without_gateway { ", for the gateway has no address to ping just now" } else { "" }
    }
}

impl Tally {
    fn told(&self) -> String {
        let milliseconds = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
        let (fastest, slowest) = (milliseconds(self.fastest), milliseconds(self.slowest));
        match (&self.not_asked, &self.error) {
            (Some(why), _) => why.clone(),
            (None, Some(error)) if self.answered == 0 => error.clone(),
            (None, None) if self.answered == 0 => ProbeError::NoReply.to_string(),
            _ if self.asked == 1 => format!("{fastest} ms"),
            _ => format!("{} of {} answered, in {fastest} to {slowest} ms", self.answered, self.asked),
        }
    }

    fn told_failure(&self) -> String {
        match (&self.not_asked, &self.error) {
            (None, None) => format!("no reply from {}", self.what),
            (Some(why), _) | (None, Some(why)) => format!("{}: {why}", self.what),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            What::Target(address) => address.fmt(f),
            What::Service(check) => check.fmt(f),
        }
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{}", self.heading)?;
        self.ways.iter().try_for_each(|way| writeln!(f, "  {way}"))?;
        let has_begun = self.tallies.iter().any(|tally| tally.asked > 0);
        for tally in self.tallies.iter().filter(|_| has_begun || self.failure.is_none()) {
            writeln!(f, "  {:<24} {}", tally.what.to_string(), tally.told())?;
        }
        Ok(())
    }
}

/// Why the traffic should not be moved for a drill just now; `anyway`: never mind a delay, or a link that is unwell.
pub fn objection(config: &Config, state: Option<&State>, anyway: bool, now: BootTime) -> Option<String> {
    let Some((state, active)) = state.and_then(|state| Some((state, state.active_in(config)?))) else {
        return Some("nothing is known of the links yet: run `wanfo check` first".to_owned());
    };
    let link = &config.links[active];
    if config.links[..active].iter().any(|link| !link.routes_only) {
        return Some(format!(
            "{} carries the traffic, and a drill begins and ends on the preferred link",
            link.name
        ));
    }
    if now.since(state.checked_at).is_none_or(|age| age > TOO_OLD) {
        return Some(
            "the last run is too long ago: is wanfo.timer running? Without it nothing would end a drill that is killed"
                .to_owned(),
        );
    }
    // A way back may not be found, and there would be nothing to prove.
    let is_in_the_way = |problem: &&Problem| {
        problem.code == Code::DefaultElsewhere
            || problem.code == Code::ProbeDiverted && problem.link.as_ref() == Some(&link.name)
    };
    if let Some(problem) = state.problems.iter().find(is_in_the_way) {
        return Some(problem.to_string());
    }
    if anyway {
        return None;
    }
    let is_down = |link: &&super::state::LinkState| !link.routes_only && link.health.verdict == Verdict::Down;
    let unwell = state.links.iter().find(is_down).map(|link| format!("{} is down", link.name));
    let delay = match state.stay(link.delay, now) {
        Stay::For(left) => Some(format!("the delay of {} lasts for {} more", link.name, span(left))),
        Stay::UntilFailback => Some(format!("{} is held by hand", link.name)),
        Stay::Free => None,
    };
    unwell.or(delay).map(|why| format!("{why}; `--anyway` switches all the same"))
}
