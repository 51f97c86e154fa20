//! Asking the targets, and listening until every link is either heard or silent for long enough.
//!
//! A quiet run sends one request to each target and ends with the slowest reply. Where a link does not answer the run
//! stays: it goes on asking, every request stays open, and a late reply is a sign of life as well.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;

use super::checking::{self, Need, Round, Seen};
use super::config::Link;
use super::gateway::View;
use super::health::{
    EchoRequest, Health, Law, LinkResult, ProbeError, Probed, Reply, TargetResult, Verdict, last_sign_of_life,
};
use super::pin;
use super::round::{Plan, ProbePlan, RunInput};
use super::service::Services;
use super::time::BootTime;
use super::world::{Heard, World};

/// How often a link is asked again that does not answer; a tenth of `silence` where that is less.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// How often a run that stays asks the links that answer.
const ASK_OTHERS: Duration = Duration::from_secs(1);

/// How long a target is waited for that has not answered while its link is heard.
const STRAGGLER: Duration = Duration::from_millis(250);

/// How long a link that is down is waited for, lest it slow the beat.
const DOWN: Duration = Duration::from_secs(1);

/// A sign of life that is older is not "just now".
const JUST_NOW: Duration = Duration::from_millis(1250);

/// A wait that lasts so much longer than was asked for: the process was stopped, or the machine slept.
const STOPPED: Duration = Duration::from_millis(500);

/// How long one start of `check` goes on. cron starts the next one after a minute; what is left is for `ip` and scripts.
pub const STAY: Duration = Duration::from_secs(50);

/// Whether the last reply came so fast that the next is waited for without a thread.
const FAST: f64 = 100.0;

/// What is known of each link after the run has asked.
pub struct Findings {
    pub results: Vec<LinkResult>,
    /// The next run will soon know more: a link is undecided still, or the lines are not any more as this run saw them.
    pub undecided: bool,
}

/// Asks what the plans say, and stays for so long at most.
pub fn probe(world: &mut dyn World, input: &RunInput, plans: Vec<Plan>, stay: Duration) -> Result<Findings> {
    let start = world.now()?.boot;
    let active = input.active();
    let plans = plans.into_iter().enumerate();
    let mut watches: Vec<Watch> = plans.map(|(index, plan)| Watch::new(input, index, plan, start)).collect();
    let mut looked_at = start;
    let mut undecided = watches.iter().any(Watch::is_unheard_of);
    // A link without address or gateway is looked at again by the next run, which must not be late.
    let stay = if undecided { stay.min(ASK_AGAIN) } else { stay };
    // The first requests; where all is as ever the last target is waited for without a thread.
    let patience = if watches.iter().all(Watch::expects_a_fast_reply) { ASK_AGAIN } else { Duration::ZERO };
    ask(world, &mut watches, start, patience, |_| true);
    let mut awake_by = start.plus(patience);
    loop {
        let now = world.now()?.boot;
        if now > awake_by.plus(STOPPED) {
            watches.iter_mut().for_each(|watch| watch.health.ask_anew());
        }
        let spoilt = watches.iter().any(Watch::has_own_fault);
        if spoilt {
            watches.iter_mut().for_each(Watch::spoil);
            break;
        }
        judge_services(&mut watches, now);
        find_targets_at_fault(&mut watches, now);
        watches.iter_mut().for_each(|watch| watch.judge(now));
        call_in_the_others(world, &mut watches, active, now);
        check_services(world, &mut watches, active, now);
        if watches.iter().all(|watch| watch.is_settled(now)) || is_way_out_known(&watches, active, now) {
            break;
        }
        if now.since(start).is_none_or(|time| time >= stay) {
            undecided = true;
            break;
        }
        if now.since(looked_at).is_none_or(|time| time >= ASK_OTHERS) {
            looked_at = now;
            if View::of(input.config, world.look(input.config)?).links != input.resolved {
                undecided = true;
                break;
            }
        }
        ask(world, &mut watches, now, Duration::ZERO, |watch| watch.is_to_be_asked_again(now));
        let wake = watches.iter().map(|watch| watch.wakes(now)).min().unwrap_or(now).min(start.plus(stay));
        let wait = wake.since(now).unwrap_or_default().max(Duration::from_millis(1));
        awake_by = now.plus(wait);
        for heard in world.listen(wait) {
            match heard {
                Heard::Reply(reply) => {
                    watches.iter_mut().for_each(|watch| watch.take(&reply, input.config.probe.max_latency));
                }
                Heard::Checked { link, check, result } => watches[link].round.take(&check, &result),
            }
        }
    }
    let now = world.now()?.boot;
    take_whatever_answers(input, &mut watches, now);
    Ok(Findings { results: watches.into_iter().map(|watch| watch.result(now)).collect(), undecided })
}

fn ask(
    world: &mut dyn World,
    watches: &mut [Watch],
    now: BootTime,
    patience: Duration,
    which: impl Fn(&Watch) -> bool,
) {
    let mut requests = Vec::new();
    for watch in watches.iter_mut().filter(|watch| watch.stance == Stance::Asking && which(watch)) {
        watch.health.ask(watch.law, now);
        watch.first_asked.get_or_insert(now);
        let may_be_pinged = watch.targets.iter().filter(|target| target.may_be_pinged());
        let (link, uid) = (watch.index, watch.uid);
        requests.extend(may_be_pinged.map(|target| EchoRequest { link, target: target.address, uid }));
    }
    if !requests.is_empty() {
        world.ping(&requests, patience);
    }
}

/// A healthy backup that waits costs nothing, until a switch may be near: when the active link has been silent for half
/// of the time, there is as much left for the backup to answer.
fn call_in_the_others(world: &mut dyn World, watches: &mut [Watch], active: usize, now: BootTime) {
    // Where the checks of the active link fail, the others have to show whether that is its line's fault.
    if !is_switch_near(&watches[active], now) && !watches[active].round.wants_witnesses(now) {
        return;
    }
    let waits = |watch: &Watch| watch.stance == Stance::Waiting && !watch.link.routes_only;
    let called: Vec<usize> = (0..watches.len()).filter(|index| waits(&watches[*index])).collect();
    for index in &called {
        watches[*index].stance = Stance::Asking;
    }
    if !called.is_empty() {
        ask(world, watches, now, Duration::ZERO, |watch| watch.first_asked.is_none());
    }
}

/// A target that two links have in common, and that answers over neither where it did: another link that is heard shows
/// that it is the target that has died, and no line.
fn find_targets_at_fault(watches: &mut [Watch], now: BootTime) {
    let asked = watches.iter().flat_map(|watch| &watch.targets).filter(|target| target.may_be_shared());
    let mut silent: Vec<IpAddr> = asked
        .filter(|target| target.result.is_err() && !target.at_fault)
        .map(|target| target.address)
        .collect();
    silent.sort_unstable();
    silent.dedup();
    for address in silent {
        let of = |watch: &&Watch| watch.stance == Stance::Asking && watch.target(address).is_some();
        if watches.iter().filter(of).any(|watch| watch.target(address).is_some_and(|it| it.result.is_ok())) {
            continue;
        }
        let shows: Vec<usize> = watches
            .iter()
            .filter(of)
            .filter(|watch| watch.shows_silence_of(address, now))
            .map(|watch| watch.index)
            .collect();
        for watch in watches.iter_mut() {
            // Not by itself: what one line does not let through says nothing of the others.
            if shows.iter().any(|index| *index != watch.index) {
                watch.targets.iter_mut().filter(|it| it.address == address).for_each(|it| it.at_fault = true);
                watch.weigh_answers();
            }
        }
    }
}

fn is_switch_near(active: &Watch, now: BootTime) -> bool {
    active.health.verdict == Verdict::Down
        || active.stance == Stance::Asking
            && active.health.silent_for(active.law, now) >= active.law.silence / 2
}

/// Asks for the services of each link that is heard and whose checks are due.
fn check_services(world: &mut dyn World, watches: &mut [Watch], active: usize, now: BootTime) {
    let is_near = is_switch_near(&watches[active], now);
    let round = &watches[active].round;
    let (calls_witnesses, is_active_failing, failed_rounds) =
        (round.wants_witnesses(now), round.fails(now), round.failed_rounds());
    for (index, watch) in watches.iter_mut().enumerate() {
        let need = match watch.link.routes_only {
            false if watch.is_about_to_rise(now) => Need::Candidate,
            false if index != active && (is_near || calls_witnesses) && !watch.useless => Need::Candidate,
            false if index <= active || is_near => Need::Active,
            false if is_active_failing => Need::Spare(failed_rounds),
            _ => Need::Waiting,
        };
        if watch.answers_just_now(now) && watch.round.is_due(need, now) {
            let uid = watch.uid;
            watch.round.begin(now).into_iter().for_each(|check| world.check(index, uid, check));
        }
    }
}

/// What the checks say of each line, once their round is over.
fn judge_services(watches: &mut [Watch], now: BootTime) {
    let seen: Vec<Seen> = watches
        .iter()
        .map(|watch| Seen {
            round: &watch.round,
            carries: !watch.link.routes_only,
            answers: watch.health.verdict == Verdict::Up && watch.answers_just_now(now),
        })
        .collect();
    let faults: Vec<bool> =
        (0..seen.len()).map(|index| checking::is_the_lines_fault(index, &seen, now)).collect();
    for (watch, is_the_lines_fault) in watches.iter_mut().zip(faults) {
        watch.fails = is_the_lines_fault;
        if watch.round.has_passed() {
            watch.useless = false;
        }
        let is_down = watch.before.verdict == Verdict::Down;
        if is_the_lines_fault && watch.round.has_failed(now) && (is_down || watch.round.has_failed_often(now))
        {
            watch.useless = true;
            watch.health.fall(now);
        }
    }
}

/// Whether the traffic can leave a dead active link now: what is waited for besides would only hold that up.
fn is_way_out_known(watches: &[Watch], active: usize, now: BootTime) -> bool {
    let is_up = |watch: &Watch| watch.health.verdict == Verdict::Up;
    let mut carriers = watches.iter().filter(|watch| !watch.link.routes_only);
    if is_up(&watches[active]) {
        return false;
    }
    if !carriers.clone().any(is_up) {
        return carriers.any(|watch| watch.answers_just_now(now) && !watch.useless);
    }
    // One before it in the list that does not answer had its chance, and waiting longer would break the law.
    for watch in carriers.filter(|watch| is_up(watch)) {
        match (watch.answers_just_now(now), watch.serves(now)) {
            (true, Some(true)) => return true,
            (true, None) => return false,
            (false, _) if !watch.was_asked_for(STRAGGLER, now) => return false,
            _ => {}
        }
    }
    false
}

/// Where no link is up, the first that answers is taken at once, stable or not.
fn take_whatever_answers(input: &RunInput, watches: &mut [Watch], now: BootTime) {
    let carries = |watch: &Watch| !watch.link.routes_only;
    if watches.iter().any(|watch| carries(watch) && watch.health.verdict == Verdict::Up) {
        return;
    }
    // The active one first: where it answers, nothing has to move.
    let active = input.active();
    let order = std::iter::once(active).chain(0..watches.len());
    let mut answering = order.filter(|index| {
        carries(&watches[*index]) && watches[*index].answers_just_now(now) && !watches[*index].useless
    });
    if let Some(index) = answering.next() {
        watches[index].health.rise(now);
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Stance {
    Asking,
    /// Not due, but it may be called in.
    Waiting,
    /// There is nothing to ask.
    Fixed(Probed),
}

/// One link while its targets are asked.
struct Watch<'a> {
    link: &'a Link,
    /// Its place in the config.
    index: usize,
    uid: Option<u32>,
    law: Law,
    stance: Stance,
    /// Before this run.
    before: Health,
    health: Health,
    targets: Vec<Target>,
    start: BootTime,
    first_asked: Option<BootTime>,
    /// The first moment in this run in which the link was heard.
    heard: Option<BootTime>,
    round: Round<'a>,
    /// None of its checks passed when they were asked last, and other links show that it is this line's fault.
    fails: bool,
    /// It is down because of its checks.
    useless: bool,
}

struct Target {
    address: IpAddr,
    heard_at: Option<BootTime>,
    /// Of its latest answer in an earlier run.
    usual_rtt_ms: Option<f64>,
    /// It has fallen silent over every link.
    at_fault: bool,
    /// It stands beside the line, as a modem does: another line may have another host of that address.
    is_neighbour: bool,
    /// In this run.
    result: Result<Duration, ProbeError>,
    /// It cannot be asked at all.
    known_beforehand: bool,
}

impl Target {
    fn may_be_pinged(&self) -> bool {
        !self.known_beforehand
    }

    fn may_be_shared(&self) -> bool {
        self.may_be_pinged() && !self.is_neighbour
    }
}

impl<'a> Watch<'a> {
    fn new(input: &RunInput<'a>, index: usize, plan: Plan, start: BootTime) -> Watch<'a> {
        let Plan { targets: plan, checks: barred } = plan;
        let link = &input.config.links[index];
        let law = Law::of(&input.config.probe, link);
        let before = input.health_before(link);
        let mut health = before;
        let known = input.state.link(&link.name).map(|link| &link.targets[..]).unwrap_or_default();
        let targets = match &plan {
            ProbePlan::Targets(targets) | ProbePlan::NotDue(targets) => targets.as_slice(),
        };
        let targets: Vec<Target> = targets
            .iter()
            .map(|(address, known_beforehand)| {
                let next_hop = input.resolved[index].next_hop((*address).into());
                let known = known.iter().find(|known| known.address == *address);
                Target {
                    address: *address,
                    heard_at: known.and_then(|known| known.heard_at).filter(|at| *at <= start),
                    usual_rtt_ms: known.and_then(|known| known.rtt_ms),
                    at_fault: known.is_some_and(|known| known.at_fault),
                    is_neighbour: next_hop.is_ok_and(|it| it.holds(*address) || it.via == Some(*address)),
                    result: Err(known_beforehand.clone().unwrap_or(ProbeError::NoReply)),
                    known_beforehand: known_beforehand.is_some(),
                }
            })
            .collect();
        let fault = input.resolved[index].fault();
        let stance = match fault {
            Some(fault) if fault.is_final() => {
                health.fall(start);
                Stance::Fixed(Probed::Unusable(fault.to_string()))
            }
            Some(fault) => {
                health.ask(law, start);
                Stance::Fixed(Probed::Silent(fault.to_string()))
            }
            // Its interface can carry traffic: with nothing to ask, that is its sign of life.
            None if link.targets.is_empty() => {
                health.ask(law, start);
                health.hear(law, start);
                Stance::Fixed(Probed::Answered)
            }
            None if matches!(plan, ProbePlan::NotDue(_)) => Stance::Waiting,
            None if targets.iter().any(Target::may_be_pinged) => Stance::Asking,
            None if targets.iter().any(|target| is_missing(&target.result)) => Stance::Fixed(Probed::Void),
            None => {
                health.ask(law, start);
                Stance::Fixed(Probed::Silent(why_silent(link, &targets)))
            }
        };
        health.judge(law, start);
        let services = input.state.link(&link.name).map(|link| &link.services);
        let checks = pin::checks(link, input.pin);
        let round = Round::new(checks, barred, services.unwrap_or(&Services::default()), start);
        let useless = round.was_useless();
        let (uid, first_asked, heard, fails) = (input.uid(index), None, None, false);
        Watch {
            link,
            index,
            uid,
            law,
            stance,
            before,
            health,
            targets,
            start,
            first_asked,
            heard,
            round,
            fails,
            useless,
        }
    }

    /// Whether it is silent though nothing can be asked, and not yet for long enough.
    fn is_unheard_of(&self) -> bool {
        matches!(self.stance, Stance::Fixed(Probed::Silent(_))) && self.health.verdict == Verdict::Up
    }

    fn expects_a_fast_reply(&self) -> bool {
        let is_fast = |target: &Target| target.usual_rtt_ms.is_some_and(|rtt_ms| rtt_ms < FAST);
        self.stance != Stance::Asking || self.before.is_spotless() && self.targets.iter().all(is_fast)
    }

    fn take(&mut self, reply: &Reply, max_latency: Option<Duration>) {
        if reply.link != self.index {
            return;
        }
        let mut is_ours = false;
        let asked = |target: &&mut Target| target.may_be_pinged() && target.address == reply.address;
        for target in self.targets.iter_mut().filter(asked) {
            match &reply.result {
                Ok(rtt) if max_latency.is_some_and(|most| *rtt > most) => {
                    target.result = target.result.clone().or(Err(ProbeError::TooLate(*rtt)));
                }
                Ok(rtt) => {
                    (target.result, target.heard_at) = (Ok(*rtt), target.heard_at.max(Some(reply.at)));
                    target.at_fault = false;
                    is_ours = true;
                }
                // What was heard once in this run is not unheard by a later failure.
                Err(error) => target.result = target.result.clone().or(Err(error.clone())),
            }
        }
        if is_ours {
            self.weigh_answers();
        }
    }

    /// What the targets have answered so far, as a sign of life of the link.
    fn weigh_answers(&mut self) {
        let (without_say, others): (Vec<_>, Vec<_>) =
            self.targets.iter().partition(|target| target.at_fault || is_missing(&target.result));
        let quorum = self.link.quorum.saturating_sub(without_say.len() as u32).max(1);
        let latest = others.iter().filter_map(|target| target.heard_at).max();
        if let Some(heard) = last_sign_of_life(others.iter().map(|target| target.heard_at), quorum) {
            self.health.hear(self.law, heard);
            if heard >= self.start {
                self.heard = self.heard.or(latest);
            }
        }
    }

    fn target(&self, address: IpAddr) -> Option<&Target> {
        self.targets.iter().find(|target| target.address == address && target.may_be_shared())
    }

    /// Whether the link is heard, and asked this target, which used to answer over it, for long enough.
    fn shows_silence_of(&self, address: IpAddr, now: BootTime) -> bool {
        let used_to_answer = self.target(address).is_some_and(|target| target.heard_at.is_some());
        used_to_answer
            && self.targets.iter().any(|it| it.result.is_ok())
            && self.was_asked_for(self.law.silence / 3, now)
    }

    /// Nothing that it could be asked says anything of the line just now.
    fn is_without_witness(&self) -> bool {
        let mut asked = self.targets.iter().filter(|target| target.may_be_pinged()).peekable();
        self.stance == Stance::Asking && asked.peek().is_some() && asked.all(|target| target.at_fault)
    }

    /// Whether those of its targets that could not be asked are all that might have told of the line. Where others are
    /// asked, these have the say: a line that is dead to them is not to be kept for a rule of somebody's.
    fn misses_all(&self) -> bool {
        let mut is_any_missing = false;
        let has_say = self.targets.iter().any(|target| {
            is_any_missing |= is_missing(&target.result);
            !target.at_fault && target.may_be_pinged() && !is_missing(&target.result)
        });
        is_any_missing && !has_say
    }

    fn has_own_fault(&self) -> bool {
        self.targets.iter().any(|target| matches!(&target.result, Err(error) if error.is_own_fault()))
    }

    /// A broken tool says nothing of what was pinged.
    fn spoil(&mut self) {
        if self.stance == Stance::Asking {
            self.stance = Stance::Fixed(Probed::Void);
        }
        if self.stance == Stance::Fixed(Probed::Void) {
            self.health = self.before;
        }
        self.useless = self.round.was_useless();
    }

    /// It has answered for long enough, and its checks are to have the last word.
    fn is_about_to_rise(&self, now: BootTime) -> bool {
        self.health.verdict == Verdict::Down && self.health.stable_in(self.law, now) == Some(Duration::ZERO)
    }

    /// Whether people get anything over it; `None`: that is being asked just now.
    fn serves(&self, now: BootTime) -> Option<bool> {
        match self.round.asked_for(now) {
            _ if self.round.has_passed() => Some(true),
            // Whoever has not answered by then does not count for this switch: the law has no more time.
            Some(time) if self.round.is_open(now) => (time >= self.law.silence / 2).then_some(false),
            _ => Some(!self.fails && !self.useless),
        }
    }

    fn judge(&mut self, now: BootTime) {
        if self.useless {
            self.health.stable_since = None;
        }
        let is_asked =
            self.round.is_open(now) || !self.round.has_passed() && self.round.is_due(Need::Candidate, now);
        if self.is_about_to_rise(now) && self.answers_just_now(now) && is_asked {
            return;
        }
        let is_known = !self.misses_all() && !self.is_without_witness() || self.heard.is_some();
        if self.stance == Stance::Asking && is_known {
            // Nobody waits for what is under way still when every target has answered, so it is no gap.
            if self.before.verdict == Verdict::Down && self.each_has_answered() {
                self.health.forget_silence();
            }
            self.health.judge(self.law, now);
        }
    }

    fn answers_just_now(&self, now: BootTime) -> bool {
        let recently = |heard: BootTime| {
            self.health.asked_at.is_none_or(|asked| heard >= asked)
                || now.since(heard).is_none_or(|time| time <= JUST_NOW)
        };
        match self.stance {
            Stance::Fixed(Probed::Answered) => true,
            _ => self.heard.is_some() && self.health.heard_at.is_some_and(recently),
        }
    }

    fn was_asked_for(&self, time: Duration, now: BootTime) -> bool {
        has_passed(self.first_asked, time, now)
    }

    /// Whether this run needs to hear no more of it.
    fn is_settled(&self, now: BootTime) -> bool {
        if self.round.is_open(now) {
            return false;
        }
        match (&self.stance, self.before.verdict, self.health.verdict) {
            (Stance::Fixed(_) | Stance::Waiting, ..) => true,
            (Stance::Asking, Verdict::Down, _) => {
                self.all_have_answered(now) || self.was_asked_for(DOWN, now)
            }
            (Stance::Asking, Verdict::Up, Verdict::Down) => true,
            (Stance::Asking, Verdict::Up, Verdict::Up) if self.answers_just_now(now) => {
                self.all_have_answered(now)
            }
            (Stance::Asking, Verdict::Up, Verdict::Up) => {
                (self.misses_all() || self.is_without_witness()) && self.was_asked_for(STRAGGLER, now)
            }
        }
    }

    /// The link is heard, and no target that is asked has still to be waited for.
    fn all_have_answered(&self, now: BootTime) -> bool {
        self.each_has_answered() || self.heard.is_some() && has_passed(self.heard, STRAGGLER, now)
    }

    fn each_has_answered(&self) -> bool {
        let is_over = |it: &Target| it.known_beforehand || it.at_fault || it.result.is_ok();
        self.heard.is_some() && self.targets.iter().all(is_over)
    }

    /// How often it is asked within a run.
    fn beat(&self, now: BootTime) -> Option<Duration> {
        let again = ASK_AGAIN.min(self.law.silence / 10);
        match (&self.stance, self.before.verdict, self.health.verdict) {
            (Stance::Fixed(_) | Stance::Waiting, ..) => None,
            (_, Verdict::Up, Verdict::Up) if self.answers_just_now(now) => Some(ASK_OTHERS),
            (_, Verdict::Up, Verdict::Up) => Some(again),
            // Where it answered in the run before, one lost packet would be a gap.
            (_, Verdict::Down, _) if self.before.stable_since.is_some() && !self.is_settled(now) => {
                Some(again)
            }
            _ => None,
        }
    }

    fn asks_next(&self, now: BootTime) -> Option<BootTime> {
        Some(self.health.asked_at?.plus(self.beat(now)?))
    }

    fn is_to_be_asked_again(&self, now: BootTime) -> bool {
        self.asks_next(now).is_some_and(|at| at <= now)
    }

    /// When something changes though nothing is heard.
    fn wakes(&self, now: BootTime) -> BootTime {
        let settles = match (&self.stance, self.before.verdict) {
            (Stance::Asking, _) if self.answers_just_now(now) => self.heard.map(|at| at.plus(STRAGGLER)),
            (Stance::Asking, Verdict::Down) => self.first_asked.map(|at| at.plus(DOWN)),
            (Stance::Asking, Verdict::Up) => Some(self.health.silence_ends(self.law, now)),
            _ => None,
        };
        let ahead = [self.asks_next(now), settles].into_iter().flatten().filter(|at| *at > now);
        ahead.min().unwrap_or(now.plus(ASK_OTHERS))
    }

    fn result(mut self, now: BootTime) -> LinkResult {
        if self.stance == Stance::Asking && self.misses_all() && self.heard.is_none() {
            self.stance = Stance::Fixed(Probed::Void);
            self.health = self.before;
        }
        if self.is_without_witness() {
            self.health = self.before;
            self.health.forget_silence();
        }
        let serves = self.serves(now) != Some(false);
        let services = Services { useless: self.useless, ..self.round.services(now) };
        let checks = self.round.results();
        let was_waited_for = self.was_asked_for(STRAGGLER, now);
        let probed = match self.stance {
            Stance::Waiting => Probed::NotDue,
            Stance::Asking if self.answers_just_now(now) => Probed::Answered,
            Stance::Asking => Probed::Silent(why_silent(self.link, &self.targets)),
            Stance::Fixed(probed) => probed,
        };
        let targets = (probed != Probed::NotDue).then(|| {
            let result = |target: Target| TargetResult {
                address: target.address,
                heard_at: target.heard_at,
                at_fault: target.at_fault,
                result: match target.result {
                    Err(ProbeError::NoReply) if !was_waited_for => Err(ProbeError::NoReplyYet),
                    result => result,
                },
            };
            self.targets.into_iter().map(result).collect()
        });
        LinkResult { probed, health: self.health, targets, serves, services, checks }
    }
}

fn has_passed(since: Option<BootTime>, time: Duration, now: BootTime) -> bool {
    since.and_then(|since| now.since(since)).is_none_or(|passed| passed >= time)
}

fn is_missing(result: &Result<Duration, ProbeError>) -> bool {
    matches!(result, Err(error) if error.is_missing())
}

fn why_silent(link: &Link, targets: &[Target]) -> String {
    let mut reasons: Vec<String> = targets
        .iter()
        .filter_map(|target| {
            Some(match target.result.as_ref().err()? {
                ProbeError::NoReply | ProbeError::NoReplyYet => format!("no reply from {}", target.address),
                other => format!("{}: {other}", target.address),
            })
        })
        .collect();
    if targets.len() < link.targets.len() {
        reasons.push("the gateway has no address to ping just now".to_owned());
    }
    let needed = match link.quorum {
        1 => String::new(),
        quorum => format!(" ({quorum} must answer)"),
    };
    match reasons.is_empty() {
        true => format!("its targets answered too long ago{needed}"),
        false => reasons.join(", ") + &needed,
    }
}
