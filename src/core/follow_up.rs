//! What a switch brings with it: the exit script before a failback; flows, action script, mail and history after a switch
//! that the kernel shows.
//!
//! Each step is on disk in the state file before it is done and struck out after it. A run that is killed in between is
//! completed by the next one.

use std::time::Duration;

use anyhow::Result;

use super::config::{Config, NotifyEvent};
use super::decide::Outcome;
use super::gateway::View;
use super::message::{self, Switched};
use super::problem::{Code, Problem};
use super::record::{Event, Record};
use super::round::RunInput;
use super::script::{self, Call, Ending};
use super::spool::{LinkCall, Message};
use super::state::{ConfigBroken, State, Veto};
use super::switch::{Request, Switch, Switching};
use super::time::{BootTime, Moment};
use super::world::{Level, Order, World};

/// A repair that comes back on every run (two programs at war over a route) is written down once in this time.
const REPAIR_BEAT: Duration = Duration::from_secs(600);

/// So much of a calm time can a reboot make unknown to the history, and so seldom does it write to the flash.
const WATCHED_BEAT: Duration = Duration::from_secs(6 * 3600);

/// How often the action script is started for one switch, when run after run is killed while it is at work, or it cannot
/// be started.
const SCRIPT_STARTS: u32 = 3;

/// What is kept to be told while it cannot be handed on, the newest.
const MOST_PENDING: usize = 200;

/// How long a config has to be broken before somebody is told by mail: whoever edits it mends it sooner.
const CONFIG_MAIL_AFTER: Duration = Duration::from_secs(300);

/// How long an exit script that is not there keeps the traffic on the backup. By then the problem has been in the status,
/// and nobody has mended it; a backup that costs money, or is the last one, must not be kept for ever by a typo in a path.
const MISSED_SCRIPT_HOLDS: Duration = Duration::from_secs(600);

/// What came of asking the exit script.
pub struct Asked {
    pub outcome: Outcome,
    pub veto: Option<Veto>,
    pub missed_since: Option<BootTime>,
    /// What is to be said of it.
    pub event: Option<Event>,
}

/// Asks the exit script, where there is one and the switch leaves a link that works.
pub fn ask_exit_script(
    world: &mut dyn World,
    order: &Order,
    input: &RunInput,
    outcome: Outcome,
) -> Result<Asked> {
    let config = order.config;
    let (Outcome::Switch(Switch { to, reason, may_be_vetoed: true, .. }), Some(path)) =
        (&outcome, &config.exit_script)
    else {
        // It also outlives a run in which no failback was near, or a primary that misses one round would have the
        // script asked again at once.
        let veto = input.state.standing_veto(input.now).cloned();
        let missed_since = input.state.exit_script_missed_since;
        return Ok(Asked { outcome, veto, missed_since, event: None });
    };
    let active = input.active();
    let at = order.machine.local(world.now()?);
    let call = script::before_failback(config, input.resolved, active, *to, reason, &at);
    let ending = world.ask(path, &call, config.script_timeout);
    let missed_since = match ending {
        Ending::Refused(_) => input.state.exit_script_missed_since.or(Some(input.now)),
        _ => None,
    };
    let is_missed_for_long =
        missed_since.and_then(|since| input.now.since(since)) >= Some(MISSED_SCRIPT_HOLDS);
    let hangs = match ending {
        Ending::TimeLimit(_) => input.state.veto.as_ref().map_or(0, |veto| veto.hangs).saturating_add(1),
        _ => 0,
    };
    let why = match ending {
        ending if ending.success() || is_missed_for_long => {
            return Ok(Asked { outcome, veto: None, missed_since: None, event: None });
        }
        ending @ Ending::Exit(_) => format!("the exit script {} says not now ({ending})", path.display()),
        // Better a bill for the backup than calls cut off because of a typo in a path; but not for ever.
        ending => format!("the exit script {} could not be asked: {ending}", path.display()),
    };
    // By hand it is the answer to the command. The same every ten seconds would be no news.
    let is_news = input.request == Request::Nothing && input.state.veto.is_none();
    let event = is_news.then(|| Event::Vetoed { link: input.name(active).to_owned(), why: why.clone() });
    // From the answer on: a script that takes its time must not be asked without a pause.
    let veto = Veto { at: world.now()?.boot, hangs, why: why.clone() };
    Ok(Asked { outcome: input.vetoed(&why), veto: Some(veto), missed_since, event })
}

/// Remembers since when the config is broken, and has somebody told who does not mend it at once.
pub fn note_config(order: &Order, state: &mut State, now: Moment) -> Option<Problem> {
    let Some(why) = order.config_broken else {
        state.config_broken = None;
        return None;
    };
    let mut broken = state.config_broken.unwrap_or(ConfigBroken { since: now.boot, is_mailed: false });
    if !broken.is_mailed && now.boot.since(broken.since) >= Some(CONFIG_MAIL_AFTER) {
        broken.is_mailed = true;
        if order.config.notify.is_some() {
            let (host, at) = (&order.machine.host, order.machine.local(now));
            state.pending.mails.push(message::config_broken(host, &at, state, why));
        }
    }
    state.config_broken = Some(broken);
    Some(Problem::new(Code::ConfigBroken, None, why))
}

/// What the last run found to be refused for good.
pub fn set_aside(order: &Order, state: &State) -> Option<Problem> {
    let count = Some(state.outlook.set_aside).filter(|count| *count > 0 && order.config.notify.is_some())?;
    let directory = order.config.paths.state.join("spool");
    let text = format!(
        "messages that were refused for good: {count} in {}/failed, each with its reason; put right what that says and move \
         them back to {}, or remove them",
        directory.display(),
        directory.display()
    );
    Some(Problem::new(Code::MessageSetAside, None, text))
}

/// Does what is left of a switch that the kernel shows. Returns what could not be done yet; then the next run goes on.
pub fn finish_switch(
    world: &mut dyn World,
    order: &Order,
    state: &mut State,
    view: &View,
) -> Result<Option<Problem>> {
    let Some(mut switching) = state.switching.clone() else { return Ok(None) };
    let config = order.config;
    let now = world.now()?;
    let at = order.machine.local(now);
    if config.flush_conntrack && !view.facts.without_conntrack && switching.script_starts == 0 {
        flush_old_flows(world, config, state, &switching, view);
    }
    if switching.script.is_none() {
        // A start of the script is on disk together with this record.
        if switching.script_starts == 0 {
            let Switching { from, to, cause, backup_bytes, .. } = switching.clone();
            let (reason, forced) = (state.reason.clone(), state.forced);
            let event = Event::Switched { from, to, cause, reason, forced, backup_bytes };
            keep(state, now, event);
        }
        if let Some(path) = &config.action_script {
            let call = script::after_switch(config, &view.links, state, &switching, &at);
            let outcome = if switching.script_starts < SCRIPT_STARTS {
                switching.script_starts += 1;
                state.switching = Some(switching.clone());
                world.save(state)?;
                match world.run(path, &call, config.script_timeout) {
                    Ending::NotStarted(why) if switching.script_starts < SCRIPT_STARTS => {
                        let text = format!("{why}; the next run tries again");
                        return Ok(Some(Problem::new(Code::ScriptNotStarted, None, text)));
                    }
                    ending => {
                        match &ending {
                            Ending::Exit(0) => {}
                            Ending::Refused(why) | Ending::NotStarted(why) => world.say(Level::Error, why),
                            // It may have said nothing itself, and the history is not what a journal is read for.
                            failed => {
                                let (path, word) = (path.display(), &call.arguments[0]);
                                world.say(Level::Warn, &format!("script {path} {word}: {failed}"));
                            }
                        }
                        ending.to_string()
                    }
                }
            } else {
                let why =
                    format!("{} is given up: the run was killed each time it was at work", path.display());
                world.say(Level::Error, &why);
                why
            };
            let (path, word) = (path.display().to_string(), call.arguments[0].clone());
            let now = world.now()?;
            keep(state, now, Event::Script { path, state: word, outcome: outcome.clone() });
            switching.script = Some(outcome);
            // A run that is killed from here on does not run the script again.
            state.switching = Some(switching.clone());
            world.save(state)?;
        }
    }
    if is_wanted(config, NotifyEvent::Switch) {
        let host = &order.machine.host;
        let switched = Switched { host, at: &at, config, state, switching: &switching, view };
        let mail = switched.message();
        state.pending.mails.push(mail);
    }
    state.switching = None;
    Ok(None)
}

/// Puts what the history remembers, and what a waiting backup's mail tells, on the list of what is to be told.
pub fn note(order: &Order, state: &mut State, events: &[Event], now: Moment) {
    for event in events {
        match event {
            Event::Repaired { .. } if may_record_repair(state, now.boot) => {
                state.repair_recorded_at = Some(now.boot);
            }
            Event::Started { .. } | Event::LinksChanged { .. } | Event::NotWatched { .. } => {}
            Event::LinkDown { .. } | Event::LinkUp { .. } | Event::Released { .. } => {}
            _ => continue,
        }
        keep(state, now, event.clone());
        let (link, last_error) = match event {
            Event::LinkDown { link, reason, .. } => (link, Some(reason.as_str())),
            Event::LinkUp { link, .. } => (link, None),
            _ => continue,
        };
        if order.config.link_script.is_some() {
            let call = script::after_change(order.config, state, link, last_error, &order.machine.local(now));
            state.pending.mails.push(for_link_script(state, link, call, now));
        }
        let index = order.config.links.iter().position(|other| other.name == *link);
        if *link != state.active
            && index.is_some_and(|index| index > 0)
            && is_wanted(order.config, NotifyEvent::Standby)
        {
            let (host, at) = (&order.machine.host, order.machine.local(now));
            let mail = message::standby(host, &at, state, link, last_error);
            state.pending.mails.push(mail);
        }
    }
    let is_calm = state.recorded_at.and_then(|at| now.boot.since(at)) >= Some(WATCHED_BEAT);
    if is_calm && state.watched_at == now.boot {
        keep(state, now, Event::Watched);
    }
}

/// The link script takes its time: `wanfo deliver` runs it.
fn for_link_script(state: &State, link: &str, call: Call, now: Moment) -> Message {
    let topic = format!("link-{link}");
    let subject = call.arguments.join(" ");
    let Call { arguments, environment } = call;
    let call = Some(LinkCall { boot_id: state.boot_id.clone(), arguments, environment });
    Message {
        id: state.id_of_now(&topic),
        at: now.wall,
        subject,
        text: String::new(),
        topic: Some(topic),
        call,
    }
}

/// Hands on what is to be told: mails to the spool, records to the history, a hold to its file. Nothing to tell, nothing
/// touched under `paths.state`. What cannot be handed on waits, is a problem, and holds up nothing else.
pub fn hand_on(world: &mut dyn World, order: &Order, state: &mut State) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut fails = |code, error: &anyhow::Error| {
        problems.push(Problem::new(code, None, format!("{error:#}")));
    };
    let pending = &mut state.pending;
    pending.mails.drain(..pending.mails.len().saturating_sub(MOST_PENDING));
    pending.records.drain(..pending.records.len().saturating_sub(MOST_PENDING));
    let mut failure = None;
    pending.mails.retain(|mail| world.spool(mail).map_err(|error| failure = Some(error)).is_err());
    if order.config.notify.is_some() || order.config.link_script.is_some() {
        failure = failure.or(world.wake(&mut state.outlook).err());
    }
    if let Some(failure) = failure {
        fails(Code::MailNotSpooled, &failure);
    }
    if !state.pending.records.is_empty() {
        match world.record(&state.pending.records) {
            Ok(()) => state.pending.records.clear(),
            Err(error) => fails(Code::HistoryNotWritten, &error),
        }
    }
    if state.held() != state.hold_on_disk.as_deref() {
        let held = state.held().map(str::to_owned);
        match world.save_hold(held.as_deref()) {
            Ok(()) => state.hold_on_disk = held,
            Err(error) => fails(Code::HoldNotKept, &error),
        }
    }
    problems
}

/// The old link may have lost its addresses with its interface; the state still knows them.
fn flush_old_flows(
    world: &mut dyn World,
    config: &Config,
    state: &State,
    switching: &Switching,
    view: &View,
) {
    let addresses_of = |name: &str| state.link(name).map(|link| link.addresses.clone()).unwrap_or_default();
    let mut links = config.links.iter().zip(&view.links);
    let entered = links.find(|(link, _)| link.name == switching.to).map(|(_, now)| now.addresses());
    let entered = [entered.unwrap_or_default(), addresses_of(&switching.to)].concat();
    let mut addresses = addresses_of(&switching.from);
    // Two links on one interface share its addresses, as a link does with what it was called before, and those flows have
    // a way.
    let had_some = !addresses.is_empty();
    addresses.retain(|address| !entered.contains(address));
    let flushed = if had_some && addresses.is_empty() { Ok(0) } else { world.flush(&addresses) };
    match flushed {
        Ok(flows) => {
            let event = Event::Flushed { link: switching.from.clone(), flows };
            world.say(Level::Info, &event.to_string());
        }
        Err(failure) => world.say(Level::Warn, &failure),
    }
}

fn is_wanted(config: &Config, event: NotifyEvent) -> bool {
    config.notify.as_ref().is_some_and(|notify| notify.events.contains(&event))
}

fn may_record_repair(state: &State, now: BootTime) -> bool {
    state.repair_recorded_at.and_then(|at| now.since(at)).is_none_or(|time| time >= REPAIR_BEAT)
}

fn keep(state: &mut State, now: Moment, event: Event) {
    state.pending.records.push(Record::new(&state.boot_id, now, event));
    state.recorded_at = Some(now.boot);
}
