//! What a run asks and hears, taken down as it passes by.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

use super::config::Config;
use super::facts::{Facts, Family};
use super::flow::{Flow, RouteAnswer, check_probe};
use super::gateway::{ResolvedLink, survey};
use super::health::{EchoRequest, ProbeError, Reply};
use super::record::{Event, Record};
use super::recording::{Asked, Before, ByHand, Head, KnownLink, Round, Script, Sight, VERSION, link_asked};
use super::script::Ending;
use super::service::{Check, CheckError};
use super::state::{Loaded, State};
use super::time::{BootTime, Moment};
use super::world::{Heard, Order};

/// In ms. A run that takes no longer is as good as one that takes no time, and most are.
const SHORT: u64 = 100;

/// The clock of a reply and that of the run are read one after the other, in whole milliseconds.
const SLACK: Duration = Duration::from_millis(2);

/// Of one run.
#[derive(Debug, Clone)]
pub struct Recorder {
    began: Moment,
    /// As the run read it last.
    now: BootTime,
    before: Option<Box<State>>,
    /// As they were seen last.
    links: Vec<ResolvedLink>,
    sights: Vec<Sight>,
    /// How many of them there were when the first target was asked.
    sights_before: usize,
    asked: Vec<Request<ProbeError>>,
    checked: Vec<Request<CheckError>>,
    scripts: Vec<Script>,
}

#[derive(Debug, Clone)]
struct Request<E> {
    number: usize,
    sent: BootTime,
    /// When it came, or it became clear that none would.
    answer: Option<(BootTime, Result<Duration, E>)>,
}

/// What a file holds already, as far as it matters to what is added.
pub struct Kept {
    pub head: Head,
    /// The last `seen` in it.
    pub seen: Option<String>,
}

impl Recorder {
    pub fn new(began: Moment) -> Recorder {
        Recorder {
            began,
            now: began.boot,
            before: None,
            links: Vec::new(),
            sights: Vec::new(),
            sights_before: 0,
            asked: Vec::new(),
            checked: Vec::new(),
            scripts: Vec::new(),
        }
    }

    /// The run has read the clock: its requests are sent at its own time, not at the kernel's.
    pub fn reads_the_clock(&mut self, now: Moment) {
        self.now = now.boot;
    }

    pub fn goes_on_from(&mut self, loaded: &Loaded) {
        self.before = match loaded {
            Loaded::Known(state) => Some(state.clone()),
            Loaded::Nothing | Loaded::Damaged(_) => None,
        };
    }

    pub fn saw(&mut self, config: &Config, facts: &Facts) {
        let mut sight = Sight::of(config, facts, self.now);
        self.links = survey(config, facts);
        let is_same = |last: &Sight| last.links == sight.links && last.facts == sight.facts;
        if !self.sights.last().is_some_and(is_same) {
            sight.midway = !self.asked.is_empty();
            self.sights.push(sight);
        }
    }

    /// An echo request that would leave by another link is not sent.
    pub fn learnt_the_way(&mut self, config: &Config, flow: &Flow, answer: &Result<RouteAnswer>) {
        let link = link_asked(config, &self.links, flow).filter(|_| flow.is_echo_request());
        let Some(link) = link else { return };
        let way = self.links.get(link).and_then(|link| link.next_hop(Family::from(flow.to)).ok());
        let error = match (way, answer) {
            (None, _) => return,
            (Some(way), Ok(answer)) => check_probe(way, flow.to, Ok(answer.clone()), false).err(),
            (Some(_), Err(_)) => Some(ProbeError::OwnFault(String::new())),
        };
        if let (Some(number), Some(error)) = (self.number_of(link, flow.to), error) {
            self.take_down(Request { number, sent: self.now, answer: Some((self.now, Err(error))) });
        }
    }

    pub fn asked(&mut self, requests: &[EchoRequest]) {
        for request in requests {
            if let Some(number) = self.number_of(request.link, request.target) {
                self.take_down(Request { number, sent: self.now, answer: None });
            }
        }
    }

    pub fn checked(&mut self, link: usize, check: &Check) {
        if let Some(number) = self.table().and_then(|sight| sight.number_of_check(link, check)) {
            self.checked.push(Request { number, sent: self.now, answer: None });
        }
    }

    fn take_down(&mut self, request: Request<ProbeError>) {
        if self.asked.is_empty() {
            self.sights_before = self.sights.len();
        }
        self.asked.push(request);
    }

    pub fn heard(&mut self, heard: &[Heard], now: BootTime) {
        for heard in heard {
            match heard {
                Heard::Reply(reply) => self.heard_reply(reply),
                Heard::Checked { link, check, result } => {
                    let number = self.table().and_then(|sight| sight.number_of_check(*link, check));
                    let mut open = self.checked.iter_mut().filter(|asked| asked.answer.is_none());
                    if let Some(request) = open.find(|asked| Some(asked.number) == number) {
                        request.answer = Some((now, result.clone()));
                    }
                }
            }
        }
    }

    fn heard_reply(&mut self, reply: &Reply) {
        let number = self.number_of(reply.link, reply.address);
        let is_open = |asked: &&mut Request<_>| Some(asked.number) == number && asked.answer.is_none();
        let mut open = self.asked.iter_mut().filter(is_open);
        let request = match reply.result {
            // A late answer may be that of an earlier request than the last.
            Ok(rtt) => open.rfind(|asked| asked.sent.plus(rtt) <= reply.at.plus(SLACK)),
            Err(ProbeError::NoReply) => None,
            Err(_) => open.next(),
        };
        if let Some(request) = request {
            request.answer = Some((reply.at, reply.result.clone()));
        }
    }

    /// What the numbers of the targets go by.
    fn table(&self) -> Option<&Sight> {
        match self.asked.is_empty() {
            true => self.sights.last(),
            false => self.sights.get(self.sights_before.checked_sub(1)?),
        }
    }

    fn number_of(&self, link: usize, address: IpAddr) -> Option<usize> {
        self.table()?.number_of(link, address)
    }

    /// `exit`: how the exit script ended; `None`: it was the action script.
    pub fn called(&mut self, exit: Option<Ending>, began: BootTime, ended: BootTime) {
        self.scripts.push(Script { after: ms(self.began.boot, began), took: ms(began, ended), exit });
    }

    /// What is to be added to the file; where that is new, or of another boot, `kept` is `None`.
    pub fn lines(&self, kept: Option<&Kept>, order: &Order, state: &State, now: Moment) -> Result<String> {
        let boot_id = order.machine.boot_id.clone();
        let new_head = Head { version: VERSION, boot_id, at: self.began.boot, wall: self.began.wall };
        let mut lines = Vec::new();
        if kept.is_none() {
            lines.push(serde_json::to_string(&new_head)?);
            if let Some(before) = &self.before {
                // What was to be told is nobody's business here, and may be long.
                let mut state = before.clone();
                (state.pending, state.problems) = Default::default();
                lines.push(serde_json::to_string(&Before { state })?);
            }
        }
        let head = kept.map_or(&new_head, |kept| &kept.head);
        let mut seen = kept.and_then(|kept| kept.seen.clone());
        let (midway, before): (Vec<&Sight>, _) = self.sights.iter().partition(|sight| sight.midway);
        for sight in before {
            lines.extend(unless_seen(sight, &mut seen)?);
        }
        let round = self.round(head, order, state, now, seen.clone().unwrap_or_default());
        lines.push(serde_json::to_string(&round)?);
        for sight in midway {
            lines.extend(unless_seen(sight, &mut seen)?);
        }
        Ok(lines.join("\n") + "\n")
    }

    fn round(&self, head: &Head, order: &Order, state: &State, now: Moment, seen: String) -> Round {
        let Moment { boot: began, wall } = self.began;
        let took = ms(began, now.boot);
        let ahead = |boot: BootTime, wall: Timestamp| wall.as_millisecond() - boot.0 as i64;
        let known = self.before.as_ref().map_or(&[][..], |before| &before.pending.records);
        let is_new_switch =
            |record: &&Record| matches!(record.event, Event::Switched { .. }) && !known.contains(record);
        Round {
            at: began,
            took: if took > SHORT { took } else { 0 },
            stepped: (ahead(began, wall) - ahead(head.at, head.wall)) / 1000,
            by_hand: ByHand::of(order.request, order.config),
            afresh: self.before.is_none(),
            asked: self.asked.iter().map(|asked| asked.told(began, without_cure)).collect(),
            checked: self.checked.iter().map(|asked| asked.told(began, without_cure_too)).collect(),
            scripts: self.scripts.clone(),
            came: state.pending.records.iter().filter(is_new_switch).cloned().collect(),
            seen,
        }
    }
}

impl<E> Request<E> {
    fn told(&self, began: BootTime, short: fn(&E) -> E) -> Asked<E> {
        let (number, sent) = (self.number, ms(began, self.sent));
        match &self.answer {
            Some((_, Ok(rtt))) => Asked::Heard(number, sent, rtt.as_micros() as u64),
            Some((at, Err(error))) => Asked::Failed(number, sent, ms(self.sent, *at), short(error)),
            None => Asked::Unanswered(number, sent),
        }
    }
}

fn ms(from: BootTime, to: BootTime) -> u64 {
    to.since(from).unwrap_or_default().as_millis() as u64
}

/// Where a fault is our own, its sentence is long, and no word of it is about a line.
fn without_cure(error: &ProbeError) -> ProbeError {
    match error {
        ProbeError::OwnFault(_) => ProbeError::OwnFault(String::new()),
        ProbeError::Refused(_) => ProbeError::Refused(String::new()),
        ProbeError::Diverted(_) => ProbeError::Diverted(String::new()),
        other => other.clone(),
    }
}

fn without_cure_too(error: &CheckError) -> CheckError {
    match error {
        CheckError::NotAsked(_) => CheckError::NotAsked(String::new()),
        CheckError::OwnFault(_) => CheckError::OwnFault(String::new()),
        other => other.clone(),
    }
}

fn unless_seen(sight: &Sight, seen: &mut Option<String>) -> Result<Option<String>> {
    #[derive(Serialize)]
    struct Named<'a>(&'a [KnownLink], &'a Facts);
    let text = serde_json::to_string(&Named(&sight.links, &sight.facts))
        .context("putting what was seen into words")?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let name = format!("{:08x}", hasher.finish() as u32);
    if seen.replace(name.clone()) == Some(name.clone()) {
        return Ok(None);
    }
    Ok(Some(serde_json::to_string(&Sight { seen: name, ..sight.clone() })?))
}
