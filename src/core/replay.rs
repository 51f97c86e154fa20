//! What would have come of the runs that were recorded, with another config: the very same core, over a router whose lines
//! answer as they did then.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::change::Change;
use super::config::{Config, Paths, Target};
use super::facts::{Facts, Family, RouteTarget};
use super::flow::{Flow, RouteAnswer};
use super::gateway::{ResolvedLink, interface_of, survey};
use super::health::{EchoRequest, ProbeError, Reply};
use super::probing::STAY;
use super::record::{Event, Record, without_repeats};
use super::recording::{Boot, Fate, NEAR, Recording, Round, link_asked};
use super::run;
use super::script::{Call, Ending};
use super::service::{Check, CheckError};
use super::spool::{Message, Outlook};
use super::state::{Loaded, State};
use super::switch::Request;
use super::time::{BootTime, Moment};
use super::world::{Heard, Level, Machine, Order, World};

/// Between the runs of one start of `check`.
const PAUSE: Duration = Duration::from_millis(250);

/// The kernel's work, `ip` and the files take less than this; what a run took beyond it, it has waited.
const OVERHEAD: Duration = Duration::from_secs(1);

/// ENETUNREACH (errno(3)).
const NO_WAY: i32 = 101;

/// What came, and what would have come.
#[derive(Debug, Default)]
pub struct Played {
    /// Recorded runs, the first and the last of them.
    pub runs: usize,
    pub from: Timestamp,
    pub to: Timestamp,
    pub came: Vec<Record>,
    pub would_come: Vec<Record>,
    /// Echo requests and checks of the replay.
    pub requests: usize,
    /// Those that were sent at no time at which the recorded runs had sent one.
    pub guessed: usize,
    /// The exit script is asked, and was not asked then.
    pub exit_script_unknown: bool,
    /// `force-failover` to what is no backup in this config.
    pub not_forced: usize,
}

impl Played {
    fn count(&mut self, is_known: bool) {
        self.requests += 1;
        self.guessed += usize::from(!is_known);
    }
}

/// The config without what the recording does not know, and what that is, each as a sentence.
///
/// # Errors
/// Why nothing is left to play.
pub fn fit(config: &Config, recording: &Recording) -> Result<(Config, Vec<String>), String> {
    if recording.rounds().next().is_none() {
        return Err("there is no run in it".to_owned());
    }
    let (mut config, count) = (config.clone(), config.links.len());
    let mut left_out = Vec::new();
    let sights = || recording.boots.iter().flat_map(|boot| &boot.sights);
    config.links.retain_mut(|link| {
        let name = link.name.clone();
        let mut leave_out = |why: &str| {
            left_out.push(format!("{name} is left out: {why}"));
            false
        };
        let Some(known) = recording.links(&name).last() else {
            return leave_out("there was no such link then");
        };
        let is_there = || sights().any(|sight| interface_of(link, &sight.facts.interfaces).is_some());
        if link.interface != known.interface && !is_there() {
            return leave_out("its interface is another one, and nobody looked at that");
        }
        let had_targets = !link.targets.is_empty();
        let only = Config { links: vec![link.clone()], ..Config::without_links(Paths::default()) };
        let is_known = |target: &Target| match target {
            Target::Address(address) => recording.knows(link, *address),
            Target::Gateway => {
                let resolve = |facts: &Facts| survey(&only, facts)[0].resolve(Target::Gateway);
                sights()
                    .filter_map(|sight| resolve(&sight.facts))
                    .all(|address| recording.knows(link, address))
            }
        };
        let unknown: Vec<Target> = link.targets.iter().copied().filter(|target| !is_known(target)).collect();
        link.targets.retain(|target| !unknown.contains(target));
        if had_targets && link.targets.len() < link.quorum as usize {
            return leave_out("too few of its targets were asked then");
        }
        for target in unknown {
            let target = match target {
                Target::Address(address) => address.to_string(),
                Target::Gateway => "its gateway".to_owned(),
            };
            left_out.push(format!("{name}: {target} is left out: it was not asked then"));
        }
        link.checks.retain(|check| {
            let is_known = recording.links(&name).any(|known| known.checks.contains(&check.to_string()));
            if !is_known {
                left_out.push(format!("{name}: the check {check} is left out: it was not asked then"));
            }
            is_known
        });
        true
    });
    let carriers = config.links.iter().filter(|link| !link.routes_only).count();
    // A config may have one that carries the default traffic, and others for their routes only; the first one carries it.
    if config.links.len() < count && (carriers < 2 || config.links[0].routes_only) {
        return Err(format!("too few of the config's links are in it; {}", left_out.join("; ")));
    }
    Ok((config, left_out))
}

/// Plays the recording through a config that `fit` has seen.
pub fn play(recording: &Recording, config: &Config) -> Result<Played> {
    let mut played = Played::default();
    let mut clock = recording.rounds().map(|(boot, round)| boot.wall(round.at));
    if let Some(first) = clock.next() {
        (played.from, played.to) = (first, clock.last().unwrap_or(first));
    }
    played.runs = recording.rounds().count();
    let came = recording.rounds().flat_map(|(_, round)| &round.came).cloned();
    played.came = without_repeats(came);
    let mut state = recording.boots.first().and_then(|boot| boot.before.clone()).map(|state| *state);
    let mut hold = state.as_ref().and_then(|state| state.hold_on_disk.clone());
    for boot in &recording.boots {
        let mut router = Playback {
            boot,
            now: boot.head.at,
            config,
            state,
            is_afresh: false,
            hold,
            ours: Facts::default(),
            links: Vec::new(),
            under_way: Vec::new(),
            played: &mut played,
        };
        router.play()?;
        (state, hold) = (router.state, router.hold);
    }
    Ok(played)
}

/// The router of the recording. It begins without a route or rule of ours; `ip` does what it is told.
struct Playback<'a> {
    boot: &'a Boot,
    config: &'a Config,
    now: BootTime,
    state: Option<State>,
    /// The run of then found no state, and this one finds none either.
    is_afresh: bool,
    hold: Option<String>,
    /// Our routes and rules.
    ours: Facts,
    /// As they were seen last.
    links: Vec<ResolvedLink>,
    under_way: Vec<(BootTime, Heard)>,
    played: &'a mut Played,
}

/// A run to be played.
struct Turn<'a> {
    at: BootTime,
    /// The one of then that it stands for.
    round: Option<&'a Round>,
    /// The same start of `check` goes on.
    goes_on: bool,
}

/// When the runs begin: as they did then, in as far as the runs of the replay take as long.
struct Course<'a> {
    /// Those that are still to come.
    left: &'a [Round],
    /// The last of the others.
    over: &'a Round,
    beat: Duration,
}

impl<'a> Course<'a> {
    fn take(&mut self, count: usize) -> Option<&'a Round> {
        let (taken, left) = self.left.split_at_checked(count)?;
        let last = taken.last()?;
        (self.over, self.left) = (last, left);
        Some(last)
    }

    /// The turn after a run that lasted from `start` to `end`; `goes_on`: its `check` goes on, and when.
    fn next(&mut self, start: BootTime, end: BootTime, goes_on: Option<BootTime>) -> Option<Turn<'a>> {
        let due = self.left.iter().take_while(|round| round.at <= end).count();
        // What fell due meanwhile is made up for by one run, as with the timer; but no command is forgotten.
        let is_special = |round: &Round| round.by_hand.is_some() || round.afresh;
        let first = self.left[..due].iter().position(is_special);
        if let Some(round) = self.take(first.map_or(due, |first| first + 1)) {
            return Some(Turn { at: end, round: Some(round), goes_on: false });
        }
        // Where the run of then stayed for longer, the timer would have gone on meanwhile.
        let by_timer = Some(start.plus(self.beat).max(end)).filter(|at| at.plus(OVERHEAD) < self.over.end());
        let own = goes_on.or(by_timer).map(|at| Turn { at, round: None, goes_on: goes_on.is_some() });
        match (own, self.left.first()) {
            (Some(own), Some(next)) if own.at.plus(PAUSE) < next.at => Some(own),
            (own, Some(next)) => {
                let goes_on = own.is_some_and(|own| own.goes_on) && next.by_hand.is_none();
                self.take(1).map(|round| Turn { at: round.at, round: Some(round), goes_on })
            }
            (own, None) => own.filter(|own| own.at < self.over.end()),
        }
    }
}

impl<'a> Playback<'a> {
    fn play(&mut self) -> Result<()> {
        let boot = self.boot;
        let Some((first, left)) = boot.rounds.split_first() else { return Ok(()) };
        let boot_id = boot.head.boot_id.clone();
        let machine = Machine { boot_id, host: String::new(), zone: TimeZone::UTC };
        let mut course = Course { left, over: first, beat: beat(&boot.rounds) };
        let mut start_of_check = first.at;
        let mut turn = Some(Turn { at: first.at, round: Some(first), goes_on: false });
        while let Some(Turn { at, round, goes_on }) = turn {
            let start = self.now.max(at);
            self.now = start;
            if !goes_on {
                start_of_check = start;
            }
            let order = Order {
                config: self.config,
                config_broken: None,
                machine: &machine,
                request: self.request(round),
                user: None,
                stay: STAY.saturating_sub(start.since(start_of_check).unwrap_or_default()),
            };
            self.is_afresh = round.is_some_and(|round| round.afresh);
            self.under_way.clear();
            let ended = run::run(self, &order)?;
            let after_pause = self.now.plus(PAUSE);
            // A run by hand is one run only.
            let goes_on = ended.undecided
                && order.request == Request::Nothing
                && after_pause.since(start_of_check) < Some(STAY);
            turn = course.next(start, self.now, goes_on.then_some(after_pause));
        }
        Ok(())
    }

    fn request(&mut self, round: Option<&Round>) -> Request {
        let Some(by_hand) = round.and_then(|round| round.by_hand.as_ref()) else { return Request::Nothing };
        by_hand.request(self.config).unwrap_or_else(|| {
            self.played.not_forced += 1;
            Request::Nothing
        })
    }

    /// A script takes its time, during which nobody looks at the lines.
    fn call(&mut self, is_exit: bool) -> Option<Ending> {
        let of_kind = self.boot.rounds.iter().flat_map(|round| {
            let began = |after: u64| round.at.plus(Duration::from_millis(after));
            round.scripts.iter().map(move |script| (began(script.after), script))
        });
        let of_kind = of_kind.filter(|(_, script)| script.exit.is_some() == is_exit);
        let (mut last, mut next) = (None, None);
        for (began, script) in of_kind {
            match began <= self.now.plus(NEAR) {
                true => last = Some((began, script)),
                false => next = next.or(Some((began, script))),
            }
        }
        let (began, script) = last.or(next)?;
        if self.now.since(began).or(began.since(self.now)) <= Some(OVERHEAD) {
            self.now = self.now.plus(Duration::from_millis(script.took));
        }
        script.exit.clone()
    }
}

impl World for Playback<'_> {
    fn now(&mut self) -> Result<Moment> {
        Ok(Moment { boot: self.now, wall: self.boot.wall(self.now) })
    }

    fn load(&mut self) -> Result<Loaded> {
        let known = self.state.as_ref().filter(|state| state.boot_id == self.boot.head.boot_id);
        Ok(match known.filter(|_| !self.is_afresh) {
            Some(state) => Loaded::Known(Box::new(state.clone())),
            None => Loaded::Nothing,
        })
    }

    fn save(&mut self, state: &State) -> Result<()> {
        self.state = Some(state.clone());
        Ok(())
    }

    fn look(&mut self, config: &Config) -> Result<Facts> {
        let mut facts = self.boot.facts(self.now).context("nothing was seen")?.clone();
        // The kernel takes the routes along with an interface that goes, or is taken down.
        self.ours.routes.retain(|route| match &route.target {
            RouteTarget::Out { interface, .. } => facts.interface(interface).is_some_and(|found| found.up),
            RouteTarget::Unreachable | RouteTarget::Other => true,
        });
        facts.routes.extend(self.ours.routes.iter().cloned());
        facts.rules.clone_from(&self.ours.rules);
        self.links = survey(config, &facts);
        Ok(facts)
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<String> {
        changes.iter().for_each(|change| change.pretend(&mut self.ours));
        Vec::new()
    }

    fn way(&mut self, flow: &Flow) -> Result<RouteAnswer> {
        let no_way = RouteAnswer::Refused(NO_WAY);
        let Some(link) = link_asked(self.config, &self.links, flow) else { return Ok(no_way) };
        let fate = self.boot.of_request(&self.config.links[link].name, flow.to, self.now);
        if let Some((Fate::Failed(_, ProbeError::Diverted(_)), _)) = fate.filter(|_| flow.is_echo_request()) {
            return Ok(no_way);
        }
        Ok(match self.links[link].next_hop(Family::from(flow.to)) {
            Ok(way) => RouteAnswer::Out { interface: way.interface.clone(), via: way.via, redirected: false },
            Err(_) => no_way,
        })
    }

    fn ping(&mut self, requests: &[EchoRequest], _: Duration) {
        for EchoRequest { link, target, .. } in requests.iter().copied() {
            let fate = self.boot.of_request(&self.config.links[link].name, target, self.now);
            self.played.count(fate.is_some_and(|(_, is_known)| is_known));
            let (after, result) = match fate {
                Some((Fate::Heard(rtt), _)) => (*rtt, Ok(*rtt)),
                Some((Fate::Failed(after, error), _)) => (*after, Err(error.clone())),
                Some((Fate::Unanswered(_), _)) | None => continue,
            };
            let at = self.now.plus(after);
            self.under_way.push((at, Heard::Reply(Reply { link, address: target, at, result })));
        }
    }

    fn check(&mut self, link: usize, _: Option<u32>, check: &Check) {
        let fate = self.boot.of_check(&self.config.links[link].name, check, self.now);
        self.played.count(fate.is_some_and(|(_, is_known)| is_known));
        let (after, result) = match fate {
            Some((Fate::Heard(took), _)) => (*took, Ok(*took)),
            Some((Fate::Failed(after, error), _)) => (*after, Err(error.clone())),
            // A run of then ended before the answer was there, and so does this one.
            Some((Fate::Unanswered(_), true)) => return,
            Some((Fate::Unanswered(_), false)) | None => {
                (Duration::ZERO, Err(CheckError::NotAsked("was not asked then".to_owned())))
            }
        };
        self.under_way.push((self.now.plus(after), Heard::Checked { link, check: check.clone(), result }));
    }

    fn listen(&mut self, limit: Duration) -> Vec<Heard> {
        let until = self.now.plus(limit);
        let first = self.under_way.iter().map(|(at, _)| *at).min().unwrap_or(until);
        self.now = first.clamp(self.now, until);
        let now = self.now;
        self.under_way.extract_if(.., |(at, _)| *at <= now).map(|(_, heard)| heard).collect()
    }

    fn ask(&mut self, _: &Path, _: &Call, _: Duration) -> Ending {
        self.call(true).unwrap_or_else(|| {
            self.played.exit_script_unknown = true;
            Ending::Exit(0)
        })
    }

    fn run(&mut self, _: &Path, _: &Call, _: Duration) -> Ending {
        self.call(false);
        Ending::Exit(0)
    }

    fn flush(&mut self, _: &[IpAddr]) -> Result<u32, String> {
        Ok(0)
    }

    fn bytes(&mut self, _: &str) -> Option<u64> {
        None
    }

    fn spool(&mut self, _: &Message) -> Result<()> {
        Ok(())
    }

    fn wake(&mut self, _: &mut Outlook) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, records: &[Record]) -> Result<()> {
        let switches = records.iter().filter(|record| matches!(record.event, Event::Switched { .. }));
        self.played.would_come.extend(switches.cloned());
        Ok(())
    }

    fn load_hold(&mut self) -> Result<Option<String>> {
        Ok(self.hold.clone())
    }

    fn save_hold(&mut self, link: Option<&str>) -> Result<()> {
        self.hold = link.map(str::to_owned);
        Ok(())
    }

    fn keep_round(&mut self, _: &Order, _: &State) -> Result<()> {
        Ok(())
    }

    fn say(&mut self, _: Level, _: &str) {}
}

/// How far apart the runs mostly were.
fn beat(rounds: &[Round]) -> Duration {
    let pairs = rounds.windows(2).filter_map(|pair| pair[1].at.since(pair[0].at));
    let mut beats: Vec<Duration> = pairs.collect();
    beats.sort_unstable();
    beats.get(beats.len() / 2).copied().unwrap_or_default().max(PAUSE)
}
