//! Proves a backup before it is needed: over its own line, or with the traffic moved to it for a while.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{Exit, Going, check, force, link_named, say};
use crate::cli;
use crate::core::config::Config;
use crate::core::drill::{BEAT, Drill, Trial, objection};
use crate::core::gateway::View;
use crate::core::hold::Hold;
use crate::core::record::Record;
use crate::core::state::{Loaded, State};
use crate::core::switch::Request;
use crate::core::time::{BootTime, Moment};
use crate::core::units::span;
use crate::core::world::World;
use crate::core::{message, pin, problems};
use crate::system::kernel::Kernel;
use crate::system::ping::Pinger;
use crate::system::router::{self, Router};
use crate::system::store::{self, Store};
use crate::system::{checks, clock, login, proofs};

/// How long an answer is waited for where one is enough; a check has its own limit, which is shorter.
const PATIENCE: Duration = Duration::from_secs(6);

/// A switch is held for so much longer than is asked for: the way back is ours to begin.
const SPARE: Duration = Duration::from_secs(30);

/// So much of that is left when it begins.
const LEFT: Duration = Duration::from_secs(10);

pub fn run(going: &Going, arguments: &cli::Drill) -> Result<Exit> {
    let config = &going.settings.config;
    let carrying = (0..config.links.len()).filter(|index| !config.links[*index].routes_only);
    let backups: Vec<usize> = carrying.skip(1).collect();
    let named = match &arguments.link {
        None => None,
        Some(name) if arguments.switch => match force::backup(config, name) {
            Some(index) if !backups.contains(&index) => {
                log::error!(
                    "no default traffic goes over {name} (`routes_only`); `wanfo drill {name}` does without"
                );
                return Ok(Exit::Usage);
            }
            Some(index) => Some(index),
            None => return Ok(Exit::Usage),
        },
        Some(name) => match link_named(config, name) {
            None => return Ok(Exit::Usage),
            index => index,
        },
    };
    if arguments.mail && config.notify.is_none() {
        log::warn!("nobody will be told: the config has no `notify`");
    }
    // What comes of it is written down: who may not do that hears it now.
    drop(Store::lock(&config.paths.run, Duration::ZERO)?);
    let drills = match (arguments.switch, named.or(backups.first().copied())) {
        (_, None) => {
            log::error!("there is no backup that may carry the default traffic");
            return Ok(Exit::Failed);
        }
        (true, Some(first)) => vec![with_switch(going, arguments, named, first)?],
        (false, _) => {
            let links = named.map_or(backups, |index| vec![index]);
            links.into_iter().map(|index| over_its_line(config, index)).collect::<Result<_>>()?
        }
    };
    let report = drills.iter().map(Drill::to_string).collect::<Vec<_>>().join("\n");
    say(&report)?;
    let is_proven = drills.iter().all(|drill| drill.failure.is_none());
    match write_down(config, &drills, report, arguments.mail)? {
        true if is_proven => Ok(Exit::Done),
        true => Ok(Exit::Failed),
        false => Ok(force::locked_out()),
    }
}

/// Asks everything over the link's own line.
fn over_its_line(config: &Config, index: usize) -> Result<Drill> {
    let mut kernel = Kernel::open()?;
    let view = View::of(config, router::look(&mut kernel, config)?);
    let now = clock::now()?.boot;
    let pin = pin::in_force(config, &view.facts);
    let mut trial = Trial::over_its_line(config, &view, pin, index, now, &mut |flow| kernel.way(flow));
    if trial.failure.is_none() {
        ask(config, &mut trial, None, |_, _| Ok(None))?;
    }
    let (link, failure) = (config.links[index].name.clone(), trial.verdict());
    Ok(Drill { link, with_switch: false, trials: vec![trial], failure })
}

/// Moves the traffic to a backup, asks as everybody does, and moves it back. `named`: the one that it has to be; `first`: the
/// first there is.
fn with_switch(going: &Going, arguments: &cli::Drill, named: Option<usize>, first: usize) -> Result<Drill> {
    let config = &going.settings.config;
    let boot_id = clock::boot_id()?;
    let mut drill = Drill {
        link: config.links[first].name.clone(),
        with_switch: true,
        trials: Vec::new(),
        failure: None,
    };
    let state = match store::peek(&config.paths.run, &boot_id)? {
        Loaded::Known(state) => Some(*state),
        Loaded::Nothing | Loaded::Damaged(_) => None,
    };
    drill.failure = objection(config, state.as_ref(), arguments.anyway, clock::now()?.boot)
        .map(|why| format!("not switched: {why}"));
    if drill.failure.is_some() {
        return Ok(drill);
    }
    let mut held_until = BootTime(0);
    let moved = by_hand(going, || {
        let now = clock::now()?.boot;
        held_until = now.plus(arguments.time + SPARE);
        Ok(Request::Failover { to: named, hold: Hold::Until(held_until) })
    });
    let index = match moved {
        Ok(active) => active,
        Err(error) => {
            drill.failure = Some(format!("{error:#}"));
            return Ok(drill);
        }
    };
    let name = &config.links[index].name;
    drill.link.clone_from(name);
    log::info!(
        "asking over {name} for {}; should this be killed, the first run after {} returns by itself",
        span(arguments.time),
        span(arguments.time + SPARE)
    );
    // A slow action script has used up some of the time.
    let most = clock::now().ok().and_then(|now| held_until.since(now.boot.plus(LEFT))).unwrap_or_default();
    let time = Some(arguments.time.min(most));
    // Whatever fails from here on: first the way back.
    match as_everybody(config, &boot_id, index, "the traffic is on it", time) {
        Ok(trial) => {
            drill.failure = trial.verdict();
            drill.trials.push(trial);
        }
        Err(error) => drill.failure = Some(format!("{error:#}")),
    }
    let mut is_ours = true;
    let back = by_hand(going, || {
        // Whoever has moved or held it meanwhile wants it so.
        is_ours = is_as_put(config, &boot_id, name, held_until)?;
        Ok(if is_ours { Request::Failback { now: false } } else { Request::Nothing })
    });
    let back = back.and_then(|index| {
        if !is_ours {
            log::warn!(
                "the traffic was moved or held otherwise in the middle of the drill: it stays on {}",
                config.links[index].name
            );
            return Ok(());
        }
        let on_it = as_everybody(config, &boot_id, index, "the traffic is back on it", None)?;
        let verdict = on_it.verdict();
        drill.trials.push(on_it);
        match verdict {
            Some(why) => bail!("{}: {why}", config.links[index].name),
            None => Ok(()),
        }
    });
    if let Err(error) = back {
        let why = format!("the return failed: {error:#}");
        drill.failure = Some(drill.failure.map_or(why.clone(), |before| format!("{before}; {why}")));
    }
    Ok(drill)
}

/// Whether the traffic is still as the drill has put it: on this link, and held until then. Of a state that is lost that is
/// believed.
fn is_as_put(config: &Config, boot_id: &str, link: &str, held_until: BootTime) -> Result<bool> {
    Ok(match store::peek(&config.paths.run, boot_id)? {
        Loaded::Known(state) => state.active == link && state.hold == Hold::Until(held_until),
        Loaded::Nothing | Loaded::Damaged(_) => true,
    })
}

/// One run with a wish, and which link is active after it.
fn by_hand(going: &Going, wish: impl FnOnce() -> Result<Request>) -> Result<usize> {
    let config = &going.settings.config;
    let Some(store) = Store::lock(&config.paths.run, check::PATIENCE)? else {
        bail!("another run has held the lock for {}", span(check::PATIENCE));
    };
    let user = login::user().map_or("a drill".to_owned(), |user| format!("a drill of {user}"));
    let (ended, _) = force::with_lock(going, store, wish()?, Some(&user))?;
    Ok(ended.state.active_in(config).unwrap_or(0))
}

/// Asks as an ordinary process, whose way is that of the default traffic, and sees to it that this is the link's: once, or
/// for so long.
fn as_everybody(
    config: &Config,
    boot_id: &str,
    index: usize,
    what: &str,
    time: Option<Duration>,
) -> Result<Trial> {
    let name = &config.links[index].name;
    let mut kernel = Kernel::open()?;
    let view = View::of(config, router::look(&mut kernel, config)?);
    let now = clock::now()?.boot;
    let heading = format!("{name}, asked as an ordinary process, while {what}:");
    let mut trial = Trial::by_default(config, &view, index, heading, now, &mut |flow| kernel.way(flow));
    ask(config, &mut trial, time, |trial, now| {
        if let Loaded::Known(state) = store::peek(&config.paths.run, boot_id)?
            && state.active != *name
        {
            return Ok(Some(format!(
                "the traffic was moved to {} meanwhile: {}",
                state.active, state.reason
            )));
        }
        let view = View::of(config, router::look(&mut kernel, config)?);
        let carrying = State::fresh(boot_id, name, now);
        let astray = problems::default_elsewhere(config, &carrying, &view, &mut |flow| kernel.way(flow));
        let silent = time.and_then(|_| trial.has_fallen_silent(config.probe.silence, now));
        Ok(astray.map(|problem| problem.text).or(silent))
    })?;
    Ok(trial)
}

/// Asks until everything has answered, or for so long. `watch` is asked every second, and breaks it off by saying why.
fn ask(
    config: &Config,
    trial: &mut Trial,
    time: Option<Duration>,
    mut watch: impl FnMut(&Trial, BootTime) -> Result<Option<String>>,
) -> Result<()> {
    let mut pinger = Pinger::default();
    let until = clock::now()?.boot.plus(time.unwrap_or(PATIENCE));
    let is_over = |trial: &Trial| time.is_none() && trial.is_over();
    loop {
        let now = clock::now()?.boot;
        trial.failure = watch(trial, now)?;
        if trial.failure.is_some() || now >= until || is_over(trial) {
            return Ok(());
        }
        let beat = now.plus(BEAT).min(until);
        // What is asked in the last moment could not be answered.
        if now.plus(BEAT) <= until {
            let (requests, services) = trial.due(time.is_none(), now);
            pinger.ping(&requests, Duration::ZERO);
            for service in &services {
                checks::start(&pinger.sender(), trial.link, trial.uid, service);
            }
        }
        while let Some(left) =
            beat.since(clock::now()?.boot).filter(|left| !left.is_zero() && !is_over(trial))
        {
            let heard = pinger.listen(left);
            let now = clock::now()?.boot;
            heard.into_iter().for_each(|heard| trial.take(heard, config.probe.max_latency, now));
        }
    }
}

/// Into the history, to what `status` tells, and to the people; whether the lock was to be had for it.
fn write_down(config: &Config, drills: &[Drill], report: String, by_mail: bool) -> Result<bool> {
    let machine = clock::machine()?;
    let Some(store) = Store::lock(&config.paths.run, check::PATIENCE)? else { return Ok(false) };
    let mut router = Router::new(config, &machine.boot_id, store)?;
    let now = clock::now()?;
    let Moment { wall: at, boot: boot_ms } = now;
    let records: Vec<Record> =
        drills.iter().map(|drill| Record::new(&machine.boot_id, now, drill.event())).collect();
    router.record(&records)?;
    let mut known = proofs::load(&config.paths.state).unwrap_or_default();
    known.keep(&config.names());
    let links = View::of(config, router.look(config)?).links;
    for (link, resolved) in config.links.iter().zip(&links) {
        let is_proven = drills.iter().any(|drill| drill.link == link.name && drill.failure.is_none());
        if let (true, Some(interface)) = (is_proven, &resolved.interface) {
            known.note(&link.name, interface, at);
        }
    }
    proofs::save(&config.paths.state, &known)?;
    if by_mail && config.notify.is_some() {
        let id = State::fresh(&machine.boot_id, "", boot_ms).id_of_now("drill");
        router.spool(&message::drilled(&machine.host, id, at, drills, report))?;
        router.wake(&mut Default::default())?;
    }
    Ok(true)
}
