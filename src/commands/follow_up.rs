//! What a switch brings with it: the exit script before a failback; flows, action script, mail and history after a switch
//! that the kernel shows.
//!
//! Each step is on disk in the state file before it is done and struck out after it. A run that is killed in between is
//! completed by the next one.

use std::path::Path;
use std::time::Duration;

use anyhow::{Error, Result};

use super::check::Hands;
use super::reconcile::View;
use crate::core::config::{Config, NotifyEvent};
use crate::core::{decide::Outcome, switch::{Request, Switch}};
use crate::core::event::Event;
use crate::core::record::{Happening, Record};
use crate::core::message::{self, Switched};
use crate::core::round::RunInput;
use crate::core::script::{self as call, Call};
use crate::core::state::{Pending, State, Veto};
use crate::core::switch::Switching;
use crate::core::time::BootTime;
use crate::system::script::Ending;
use crate::system::spool::Spool;
use crate::system::{clock, conntrack, records, script, trust};

/// A repair that comes back on every run (two programs at war over a route) is written down once in this time.
const REPAIR_BEAT: Duration = Duration::from_secs(600);

/// How often the action script is started for one switch, when run after run is killed while it is at work.
const SCRIPT_STARTS: u32 = 3;

/// What is kept to be told while it cannot be handed on, the newest.
const MOST_TO_TELL: usize = 200;

/// Asks the exit script, where there is one and the switch leaves a link that works.
pub fn ask_exit_script(hands: &Hands, input: &RunInput, outcome: Outcome) -> Result<(Outcome, Option<Veto>)> {
    let config = input.config;
    let (Outcome::Switch(Switch { to, reason, may_be_vetoed: true, .. }), Some(path)) =
        (&outcome, &config.exit_script)
    else {
        // It also outlives a run in which no failback was near, or a primary that misses one round would have the
        // script asked again at once.
        let veto = input.state.standing_veto(input.now).cloned();
        return Ok((outcome, veto));
    };
    if let Hands::Tied = hands {
        super::say(format_args!("would run: {} SECONDARY_EXIT ...\n", path.display()))?;
        return Ok((outcome, None));
    }
    let active = input.active();
    let call = call::before_failback(config, input.resolved, active, *to, reason, &clock::zoned());
    let why = match run(path, &call, config.script_timeout) {
        Ok(ending) if ending.success() => return Ok((outcome, None)),
        Ok(ending @ Ending::Exit(_)) => {
            let why = format!("the exit script {} says not now ({ending})", path.display());
            // By hand it is the answer to the command. The same every ten seconds would be no news.
            if input.request == Request::Nothing && input.state.veto.is_none() {
                log::info!("staying on {}: {why}", input.name(active));
            }
            why
        }
        // Better a line too long on the backup than calls cut off because of a typo in a path.
        answer => {
            let failure = match answer {
                Ok(ending) => format!("the exit script {} was {ending}", path.display()),
                Err(failure) => failure,
            };
            log::warn!("{failure}; not knowing what it says, wanfo stays");
            format!("the exit script could not be asked: {failure}")
        }
    };
    // From the answer on: a script that takes its time must not be asked without a pause.
    let veto = Veto { at: clock::now()?.boot, why: why.clone() };
    Ok((input.vetoed(&why), Some(veto)))
}

/// Does what is left of a switch that the kernel shows.
pub fn finish_switch(config: &Config, hands: &Hands, state: &mut State, view: &View) -> Result<()> {
    let Some(mut switching) = state.switching.clone() else { return Ok(()) };
    if let Hands::Tied = hands {
        return Ok(());
    }
    let at = clock::zoned();
    if config.flush_conntrack {
        flush_old_flows(state, &switching);
    }
    if switching.script.is_none() {
        // A start of the script is on disk together with this record.
        if switching.script_starts == 0 {
            let Switching { from, to, backup_bytes, .. } = switching.clone();
            let (reason, forced) = (state.reason.clone(), state.forced);
            record(state, Happening::Switched { from, to, reason, forced, backup_bytes })?;
        }
        if let Some(path) = &config.action_script {
            let call = call::after_switch(config, &view.links, state, &switching, &at);
            let outcome = if switching.script_starts < SCRIPT_STARTS {
                switching.script_starts += 1;
                hands.save(&State { switching: Some(switching.clone()), ..state.clone() })?;
                run(path, &call, config.script_timeout).map(|ending| ending.to_string())
            } else {
                Err(format!("{} is given up: the run was killed each time it was at work", path.display()))
            };
            let outcome = outcome.unwrap_or_else(|failure| {
                log::error!("{failure}");
                failure
            });
            let (path, word) = (path.display().to_string(), call.arguments[0].clone());
            record(state, Happening::Script { path, state: word, outcome: outcome.clone() })?;
            switching.script = Some(outcome);
            // A run that is killed from here on does not run the script again.
            state.switching = Some(switching.clone());
            hands.save(state)?;
        }
    }
    if is_wanted(config, NotifyEvent::Switch) {
        let host = clock::host();
        let switched = Switched {
            host: &host,
            at: &at,
            state,
            switching: &switching,
            resolved: &view.links,
            facts: &view.facts,
        };
        let mail = switched.message();
        state.pending.mails.push(mail);
    }
    state.switching = None;
    Ok(())
}

/// Writes what happened besides switches into the list of what is to be told.
pub fn note(config: &Config, state: &mut State, events: &[Event], now: BootTime) -> Result<()> {
    for event in events {
        let happening = match event {
            Event::Started { active } => Happening::Started {
                active: active.clone(),
                links: config.links.iter().map(|link| link.name.clone()).collect(),
            },
            Event::LinkDown { link, reason } => {
                Happening::LinkDown { link: link.clone(), reason: reason.clone() }
            }
            Event::LinkUp { link } => Happening::LinkUp { link: link.clone() },
            Event::Repaired(changes) if may_record_repair(state, now) => {
                state.repair_recorded_at = Some(now);
                Happening::Repaired { changes: changes.iter().map(ToString::to_string).collect() }
            }
            _ => continue,
        };
        record(state, happening)?;
        let (link, last_error) = match event {
            Event::LinkDown { link, reason } => (link, Some(reason.as_str())),
            Event::LinkUp { link } => (link, None),
            _ => continue,
        };
        let place = config.links.iter().position(|other| other.name == *link);
        if *link != state.active
            && place.is_some_and(|place| place > 0)
            && is_wanted(config, NotifyEvent::Standby)
        {
            let mail = message::standby(&clock::host(), &clock::zoned(), state, link, last_error);
            state.pending.mails.push(mail);
        }
    }
    Ok(())
}

/// Puts the state on disk, then hands on what is to be told: mails to the spool, records to the history. Nothing to tell,
/// nothing touched under `paths.state`, but a look at whether a mail is due for another try.
pub fn remember_and_tell(config: &Config, hands: &Hands, state: &mut State) -> Result<()> {
    let Pending { mails, records } = &mut state.pending;
    mails.drain(..mails.len().saturating_sub(MOST_TO_TELL));
    records.drain(..records.len().saturating_sub(MOST_TO_TELL));
    hands.save(state)?;
    if let Hands::Tied = hands {
        return Ok(());
    }
    let before = (state.pending.clone(), state.notifications_pending);
    let spool = Spool::new(&config.paths.state);
    if state.pending != Pending::default() {
        if config.paths.state.exists() {
            trust::refuse_if_others_can_write(&config.paths.state, "directory").map_err(Error::msg)?;
        }
        // What cannot be put into the spool holds up nothing else, the history least of all.
        let mut failure = None;
        state.pending.mails.retain(|mail| spool.put(mail).map_err(|error| failure = Some(error)).is_err());
        records::append(&config.paths.state, &state.pending.records)?;
        state.pending.records.clear();
        if let Some(failure) = failure {
            hands.save(state)?;
            return Err(failure);
        }
    }
    if config.notify.is_some() {
        state.notifications_pending = spool.pending()?;
        spool.wake(&config.paths.run, clock::now()?.wall)?;
    }
    if before != (state.pending.clone(), state.notifications_pending) {
        hands.save(state)?;
    }
    Ok(())
}

/// What the admin should know of these parts, on every run.
pub fn problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    if config.flush_conntrack && !conntrack::is_installed() {
        problems.push(conntrack::Failure::NotInstalled.to_string());
    }
    if (config.action_script.is_some() || config.exit_script.is_some()) && script::is_confined() {
        problems.push(
            "the scripts run inside the sandbox of wanfo.service and may fail at what they do; install the drop-in \
             action-script.conf that comes with the units"
                .to_owned(),
        );
    }
    problems
}

fn run(path: &Path, call: &Call, limit: Duration) -> Result<Ending, String> {
    script::run(path, &call.arguments, &call.environment, limit)
}

/// The old link may have lost its addresses with its interface; the state still knows them.
fn flush_old_flows(state: &State, switching: &Switching) {
    let addresses_of = |name: &str| state.link(name).map(|link| link.addresses.clone()).unwrap_or_default();
    let entered = addresses_of(&switching.to);
    let mut addresses = addresses_of(&switching.from);
    // Two links on one interface share its addresses, and those flows have a way.
    addresses.retain(|address| !entered.contains(address));
    match conntrack::flush(&addresses) {
        Ok(flows) => log::info!("deleted {flows} flows that still used {}", switching.from),
        // It stands among the problems; once is enough.
        Err(conntrack::Failure::NotInstalled) => {}
        Err(failure) => log::warn!("{failure}"),
    }
}

fn is_wanted(config: &Config, event: NotifyEvent) -> bool {
    config.notify.as_ref().is_some_and(|notify| notify.events.contains(&event))
}

fn may_record_repair(state: &State, now: BootTime) -> bool {
    state.repair_recorded_at.and_then(|at| now.since(at)).is_none_or(|time| time >= REPAIR_BEAT)
}

fn record(state: &mut State, happening: Happening) -> Result<()> {
    let now = clock::now()?;
    let record = Record { at: now.wall, boot_id: state.boot_id.clone(), boot_ms: now.boot, happening };
    state.pending.records.push(record);
    Ok(())
}
