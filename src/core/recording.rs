//! What the runs asked and heard, as it is kept for `wanfo replay`: one JSON value a line.
//!
//! A file begins with a `Head`, so that it can be read alone, wherever it was copied to. Lines are only ever added, each
//! with one write: a run that is killed leaves at most one that is torn.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::{Config, Link};
use super::facts::{Facts, RouteTarget};
use super::flow::Flow;
use super::gateway::{self, ResolvedLink, survey};
use super::health::ProbeError;
use super::hold::Hold;
use super::record::Record;
use super::script::Ending;
use super::service::{Check, CheckError};
use super::state::State;
use super::switch::Request;
use super::time::BootTime;

/// Raised when older readers would misunderstand the file.
pub const VERSION: u32 = 1;

/// Of direct routes so many are kept: one of them may lead to a gateway that no subnet holds.
const MOST_DIRECT_ROUTES: usize = 50;

/// A run that ends sooner after its request does not know that no answer came. For so long it waits for a target while
/// others of the link answer.
const WAITED: Duration = Duration::from_millis(250);

/// As many of the lines that cannot be read are told of.
const MOST_LEFT_OUT: usize = 50;

/// How far a request may be from one that was recorded and still be the same: the clock of a replay stands still while the
/// run's own moved on, and links that are silent are asked four times a second.
pub const NEAR: Duration = Duration::from_millis(250);

/// No run takes longer, its scripts included, unless somebody has given them more than the minute of the default.
const LONGEST_RUN: Duration = Duration::from_secs(300);

/// The first line of a file. All times behind it are of this boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    #[serde(rename = "wanfo_recording")]
    pub version: u32,
    pub boot_id: String,
    pub at: BootTime,
    pub wall: Timestamp,
}

/// What the first run of the file went on from, where it knew anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    pub state: Box<State>,
}

/// How the machine was from then on, in as far as a link's way out depends on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sight {
    pub at: BootTime,
    /// A run that stayed saw it under way.
    #[serde(default, skip_serializing_if = "is_not")]
    pub midway: bool,
    pub links: Vec<KnownLink>,
    pub facts: Facts,
    /// A name for all of that but the time; the last one of a file tells the next run what it need not write again.
    pub seen: String,
}

/// A link of the config that was in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownLink {
    pub name: String,
    pub interface: Option<String>,
    /// The addresses of its targets at the time.
    pub targets: Vec<IpAddr>,
    /// Its checks, as people are told of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    pub at: BootTime,
    /// How long it took, in ms, where that was long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub took: u64,
    /// For how many seconds the wall clock has been put forward since the head was written.
    #[serde(default, skip_serializing_if = "is_zero_too")]
    pub stepped: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<ByHand>,
    /// It found no state to go on from.
    #[serde(default, skip_serializing_if = "is_not")]
    pub afresh: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Asked<ProbeError>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checked: Vec<Asked<CheckError>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<Script>,
    /// The switches that came of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub came: Vec<Record>,
    /// That of the last sight. It is the last key, so that it is found without reading the line.
    pub seen: String,
}

/// One echo request or one check: first the number of its target, or of the check, among all of the sight before it, then
/// when it was sent, in ms since the run began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Asked<E> {
    /// The answer came after so many microseconds.
    Heard(usize, u64, u64),
    /// It became clear after so many ms that none would come, or it was not what it should be.
    Failed(usize, u64, u64, E),
    Unanswered(usize, u64),
}

/// A script that the run called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// In ms since the run began.
    pub after: u64,
    pub took: u64,
    /// What the exit script said; `None`: it was the action script.
    pub exit: Option<Ending>,
}

/// What an admin asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ByHand {
    Failover { to: Option<String>, hold: Hold },
    Failback { now: bool },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    // The most frequent one first.
    Round(Round),
    Sight(Sight),
    Before(Before),
    Head(Head),
}

#[derive(Deserialize)]
struct Versioned {
    wanfo_recording: u32,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_zero_too(number: &i64) -> bool {
    *number == 0
}

fn is_not(truth: &bool) -> bool {
    !truth
}

impl Head {
    /// Reads the first line of a file.
    ///
    /// # Errors
    /// Why the file is of no use here.
    pub fn read(line: &[u8]) -> Result<Head, String> {
        match serde_json::from_slice(line) {
            Ok(Versioned { wanfo_recording: VERSION }) => {
                serde_json::from_slice(line).map_err(|error| format!("its first line is damaged: {error}"))
            }
            Ok(Versioned { wanfo_recording: version }) => {
                Err(format!("it has version {version}, this wanfo reads {VERSION}"))
            }
            Err(_) => Err("it is no recording of wanfo's".to_owned()),
        }
    }
}

impl Sight {
    /// What was seen, without what says nothing of a link's way out, or changes with wanfo's own work.
    pub fn of(config: &Config, facts: &Facts, at: BootTime) -> Sight {
        let links = config.links.iter().zip(survey(config, facts)).map(|(link, resolved)| KnownLink {
            name: link.name.clone(),
            interface: link.interface.clone(),
            targets: link.targets.iter().filter_map(|target| resolved.resolve(*target)).collect(),
            checks: link.checks.iter().map(Check::to_string).collect(),
        });
        let links = links.collect();
        let own = config.links.iter().filter_map(|link| gateway::interface_of(link, &facts.interfaces));
        let own: Vec<u32> = own.map(|interface| interface.index).collect();
        let mut facts = facts.clone();
        facts.interfaces.retain(|interface| own.contains(&interface.index));
        facts.routes.retain(|route| route.protocol != config.routing.protocol);
        let mut direct = 0;
        facts.routes.retain(|route| {
            let is_direct = matches!(route.target, RouteTarget::Out { via: None, .. });
            direct += usize::from(is_direct);
            route.destination.prefix() == 0 || is_direct && direct <= MOST_DIRECT_ROUTES
        });
        Sight { at, midway: false, links, facts, seen: String::new() }
    }

    /// The number of a link's target among all.
    pub fn number_of(&self, link: usize, address: IpAddr) -> Option<usize> {
        number(&self.links, link, |link| &link.targets, &address)
    }

    /// The number of a link's check among all.
    pub fn number_of_check(&self, link: usize, check: &Check) -> Option<usize> {
        number(&self.links, link, |link| &link.checks, &check.to_string())
    }

    /// The link and the target of each number.
    fn targets(&self) -> Vec<(String, IpAddr)> {
        of_all(&self.links, |link| &link.targets)
    }

    fn checks(&self) -> Vec<(String, String)> {
        of_all(&self.links, |link| &link.checks)
    }
}

fn number<T: PartialEq>(
    links: &[KnownLink],
    link: usize,
    list: impl Fn(&KnownLink) -> &Vec<T>,
    wanted: &T,
) -> Option<usize> {
    let place = list(links.get(link)?).iter().position(|one| one == wanted)?;
    Some(links.iter().take(link).map(|link| list(link).len()).sum::<usize>() + place)
}

fn of_all<T: Clone>(links: &[KnownLink], list: impl Fn(&KnownLink) -> &Vec<T>) -> Vec<(String, T)> {
    let of_link = |link: &KnownLink| {
        let named = |one: &T| (link.name.clone(), one.clone());
        list(link).iter().map(named).collect::<Vec<_>>()
    };
    links.iter().flat_map(of_link).collect()
}

/// The link by which a probe leaves: by its uid, else the first that has its target.
pub fn link_asked(config: &Config, resolved: &[ResolvedLink], flow: &Flow) -> Option<usize> {
    let mut links = config.links.iter().zip(resolved);
    match flow.uid {
        Some(uid) => config.uids().position(|of_link| of_link == uid),
        None if flow.is_echo_request() => links.position(|(link, resolved)| {
            link.targets.iter().any(|target| resolved.resolve(*target) == Some(flow.to))
        }),
        None => None,
    }
}

impl ByHand {
    pub fn of(request: Request, config: &Config) -> Option<ByHand> {
        let name = |index: usize| config.links.get(index).map(|link| link.name.clone());
        match request {
            Request::Nothing => None,
            Request::Failover { to, hold } => Some(ByHand::Failover { to: to.and_then(name), hold }),
            Request::Failback { now } => Some(ByHand::Failback { now }),
        }
    }

    /// The same with another config; `None`: it has no such backup.
    pub fn request(&self, config: &Config) -> Option<Request> {
        Some(match self {
            ByHand::Failover { to: None, hold } => Request::Failover { to: None, hold: *hold },
            ByHand::Failover { to: Some(name), hold } => {
                let to = config.links.iter().position(|link| link.name == *name).filter(|to| *to > 0)?;
                Request::Failover { to: Some(to), hold: *hold }
            }
            ByHand::Failback { now } => Request::Failback { now: *now },
        })
    }
}

/// What can be played again.
#[derive(Debug, Default)]
pub struct Recording {
    /// In their order.
    pub boots: Vec<Boot>,
    /// What could not be read, each as a sentence.
    pub left_out: Vec<String>,
}

/// The recorded part of the time from one boot to the next.
#[derive(Debug)]
pub struct Boot {
    pub head: Head,
    pub before: Option<Box<State>>,
    pub sights: Vec<Sight>,
    pub rounds: Vec<Round>,
    asked: Tracks<IpAddr, ProbeError>,
    checked: Tracks<String, CheckError>,
}

/// By the name of the link and what was asked, when it was, and what became of that, in the order of time.
type Tracks<T, E> = BTreeMap<(String, T), Vec<(BootTime, Fate<E>)>>;

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate<E> {
    Heard(Duration),
    Failed(Duration, E),
    /// Nothing came within the time that was waited.
    Unanswered(Duration),
}

impl Recording {
    /// Adds what a file holds, the oldest file first.
    pub fn add(&mut self, file: &str, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n').enumerate().peekable();
        if let Some(Err(why)) = lines.peek().map(|(_, first)| Head::read(first)) {
            self.left_out.push(format!("{file} cannot be played: {why}"));
            return;
        }
        while let Some((index, line)) = lines.next() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let is_torn = lines.peek().is_none();
            let added = match serde_json::from_slice(line) {
                Ok(line) => self.add_line(line),
                Err(_) if is_torn => Err("it is torn, as a killed run leaves it".to_owned()),
                Err(_) => Err("it cannot be read".to_owned()),
            };
            if let (Err(why), true) = (added, self.left_out.len() < MOST_LEFT_OUT) {
                self.left_out.push(format!("line {} of {file} is left out: {why}", index + 1));
            }
        }
    }

    fn add_line(&mut self, line: Line) -> Result<(), String> {
        let line = match line {
            Line::Head(head) if head.version != VERSION => return Err("it is of another version".to_owned()),
            Line::Head(head) => {
                match self.boots.last() {
                    // The next file of the same boot.
                    Some(boot) if boot.head.boot_id == head.boot_id => {}
                    _ => self.boots.push(Boot::new(head)),
                }
                return Ok(());
            }
            other => other,
        };
        let boot = self.boots.last_mut().ok_or("nothing before it says of which boot it is")?;
        match line {
            Line::Before(before) => {
                if boot.rounds.is_empty() && boot.before.is_none() {
                    boot.before = Some(before.state);
                }
                Ok(())
            }
            Line::Sight(sight) => boot.add_sight(sight),
            Line::Round(round) => boot.add_round(round),
            Line::Head(_) => Ok(()),
        }
    }

    pub fn rounds(&self) -> impl Iterator<Item = (&Boot, &Round)> {
        self.boots.iter().flat_map(|boot| boot.rounds.iter().map(move |round| (boot, round)))
    }

    /// A link as it was in the config of some run.
    pub fn links<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a KnownLink> {
        let sights = self.boots.iter().flat_map(|boot| &boot.sights);
        sights.flat_map(|sight| &sight.links).filter(move |link| link.name == name)
    }

    /// Whether it can be known how a target of this link answered.
    pub fn knows(&self, link: &Link, address: IpAddr) -> bool {
        self.links(&link.name).any(|known| known.targets.contains(&address))
    }
}

impl Boot {
    fn new(head: Head) -> Boot {
        let (sights, rounds) = (Vec::new(), Vec::new());
        Boot { head, before: None, sights, rounds, asked: BTreeMap::new(), checked: BTreeMap::new() }
    }

    fn add_sight(&mut self, mut sight: Sight) -> Result<(), String> {
        // A run that stays looks again every second; the replay's looks a moment sooner, for its clock stands still meanwhile.
        if sight.midway {
            sight.at = BootTime(sight.at.0.saturating_sub(NEAR.as_millis() as u64));
        }
        if self.sights.last().is_some_and(|last| last.at > sight.at) {
            return Err("it is of an earlier moment than the one before it".to_owned());
        }
        self.sights.push(sight);
        Ok(())
    }

    fn add_round(&mut self, mut round: Round) -> Result<(), String> {
        if self.rounds.last().is_some_and(|last| last.at >= round.at) {
            return Err("it is of an earlier moment than the one before it".to_owned());
        }
        let Some(sight) = self.sights.last() else {
            return Err("nothing before it says how the links were".to_owned());
        };
        round.took = round.took.min(LONGEST_RUN.as_millis() as u64);
        let (began, end) = (round.at, round.end());
        follow(&mut self.asked, &sight.targets(), std::mem::take(&mut round.asked), began, end)?;
        follow(&mut self.checked, &sight.checks(), std::mem::take(&mut round.checked), began, end)?;
        self.rounds.push(round);
        Ok(())
    }

    /// How the machine was at a moment.
    pub fn facts(&self, at: BootTime) -> Option<&Facts> {
        let next = self.sights.partition_point(|sight| sight.at <= at);
        Some(&self.sights.get(next.saturating_sub(1))?.facts)
    }

    /// What would have become of an echo request at this moment, and whether one was sent then.
    pub fn of_request(&self, link: &str, target: IpAddr, at: BootTime) -> Option<(&Fate<ProbeError>, bool)> {
        fate(self.asked.get(&(link.to_owned(), target))?, at)
    }

    /// The same of a check.
    pub fn of_check(&self, link: &str, check: &Check, at: BootTime) -> Option<(&Fate<CheckError>, bool)> {
        fate(self.checked.get(&(link.to_owned(), check.to_string()))?, at)
    }

    /// What the wall clock showed.
    pub fn wall(&self, at: BootTime) -> Timestamp {
        let next = self.rounds.partition_point(|round| round.at <= at);
        let stepped = self.rounds.get(next.saturating_sub(1)).map_or(0, |round| round.stepped);
        let [at, head] = [at, self.head.at].map(|time| i64::try_from(time.0).unwrap_or(i64::MAX));
        let ms = self.head.wall.as_millisecond().saturating_add(at.saturating_sub(head));
        let ms = ms.saturating_add(stepped.saturating_mul(1000));
        Timestamp::from_millisecond(ms).unwrap_or(self.head.wall)
    }
}

impl Round {
    pub fn end(&self) -> BootTime {
        self.at.plus(Duration::from_millis(self.took))
    }
}

/// Adds what became of each request to the others of its kind.
fn follow<T: Clone + Ord, E>(
    tracks: &mut Tracks<T, E>,
    numbered: &[(String, T)],
    asked: Vec<Asked<E>>,
    began: BootTime,
    end: BootTime,
) -> Result<(), String> {
    for asked in asked {
        let sent = |after: u64| began.plus(Duration::from_millis(after));
        let (number, sent, fate) = match asked {
            Asked::Heard(number, after, rtt) => {
                (number, sent(after), Fate::Heard(Duration::from_micros(rtt)))
            }
            Asked::Failed(number, after, time, error) => {
                (number, sent(after), Fate::Failed(Duration::from_millis(time), error))
            }
            Asked::Unanswered(number, after) => {
                let waited = end.since(sent(after)).unwrap_or_default();
                (number, sent(after), Fate::Unanswered(waited))
            }
        };
        let whom = numbered.get(number).ok_or("it names a target that nothing before it names")?;
        let track = tracks.entry(whom.clone()).or_default();
        if track.last().is_none_or(|(last, _)| *last <= sent) {
            track.push((sent, fate));
        }
    }
    Ok(())
}

/// Where nothing was asked at this moment, it counts as it was found the last time before.
fn fate<E>(track: &[(BootTime, Fate<E>)], at: BootTime) -> Option<(&Fate<E>, bool)> {
    let (before, ahead) = track.split_at(track.partition_point(|(sent, _)| *sent <= at));
    let distance = |sent: BootTime| sent.since(at).or(at.since(sent)).unwrap_or_default();
    let near = [before.last(), ahead.first()].into_iter().flatten().min_by_key(|(sent, _)| distance(*sent));
    if let Some((_, fate)) = near.filter(|(sent, _)| distance(*sent) <= NEAR) {
        return Some((fate, true));
    }
    // Who did not wait for the answer does not know that there was none.
    let is_known = |fate: &Fate<E>| !matches!(fate, Fate::Unanswered(waited) if *waited < WAITED);
    let known = before.iter().rev().chain(ahead).find(|(_, fate)| is_known(fate));
    known.or(before.last()).or(ahead.first()).map(|(_, fate)| (fate, false))
}
