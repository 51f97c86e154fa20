//! One run, from its beginning to its end.

use std::io::{IsTerminal, stdout};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};

use super::reconcile::{Reconciled, View, look, reconcile, take_out};
use super::{Exit, follow_up, say};
use crate::core::addresses;
use crate::core::config::Config;
use crate::core::{decide::Outcome, switch::Request};
use crate::core::event::{self, Event};
use crate::core::gateway::ResolvedLink;
use crate::core::round::{self, LinkResult, RunInput};
use crate::core::change::Wanted;
use crate::core::routing;
use crate::core::state::{Loaded, State};
use crate::core::switch::Switching;
use crate::core::time::BootTime;
use crate::system::kernel::Kernel;
use crate::system::store::{self, Store};
use crate::system::{clock, counters, ping};

/// A lock that is held for so long is no run under way any more: it hangs, or somebody else holds it.
const LOCKED_OUT_TOO_LONG: Duration = Duration::from_secs(300);

/// `wanfo check`, as the timer starts it. With `probe.recheck` it goes on, run after run, until every counter has
/// settled. In the pauses it holds no lock, so that a command gets its turn.
pub fn run(config: &Config) -> Result<Exit> {
    let start = clock::now()?.boot;
    let Some(mut ended) = run_unless_locked(config)? else {
        warn_if_locked_out(config)?;
        return Ok(Exit::Busy);
    };
    let time_left = || -> Result<bool> {
        let since_start = clock::now()?.boot.since(start);
        Ok(since_start.is_some_and(|time| round::another_fits(config.probe.recheck, time)))
    };
    while ended.on_the_move && time_left()? {
        sleep(config.probe.recheck);
        match run_unless_locked(config)? {
            Some(next) => ended = next,
            // Whoever has the lock goes on from here.
            None => break,
        }
    }
    Ok(ended.exit)
}

fn run_unless_locked(config: &Config) -> Result<Option<Ended>> {
    let store = Store::lock(&config.paths.run, Duration::ZERO)?;
    store.map(|store| one_run(config, Hands::Free(store), Request::Nothing)).transpose()
}

/// Another run at work is normal, and no word is lost on it.
fn warn_if_locked_out(config: &Config) -> Result<()> {
    let now = clock::now()?.boot;
    let last_run = match store::peek(&config.paths.run, &clock::boot_id()?)? {
        Loaded::Known(state) => now.since(state.checked_at),
        _ => None,
    };
    match last_run.filter(|age| *age > LOCKED_OUT_TOO_LONG) {
        Some(age) => log::warn!(
            "another run has held the lock in {} since the last one ended {}s ago; `lsof` tells who",
            config.paths.run.display(),
            age.as_secs()
        ),
        None => log::debug!("another run holds the lock"),
    }
    Ok(())
}

/// `wanfo check --dry-run`.
pub fn dry_run(config: &Config) -> Result<Exit> {
    Ok(one_run(config, Hands::Tied, Request::Nothing)?.exit)
}

/// How a run ended.
pub struct Ended {
    pub exit: Exit,
    /// The next one may soon know more.
    on_the_move: bool,
}

/// Looks, repairs, plans, weighs, decides, switches, remembers, tells.
pub fn one_run(config: &Config, hands: Hands, request: Request) -> Result<Ended> {
    let now = clock::now()?.boot;
    let mut kernel = Kernel::open()?;
    let view = look(&mut kernel, config)?;
    let (mut state, mut events) = hands.recall(config, &view, now)?;
    let (view, old_faults) = leave_old_protocol(&mut kernel, config, &hands, &mut state, view)?;
    claim_addresses(config, &hands, &mut state, &view)?;

    // First make true what should be true already. No target is pinged without its pin in the kernel.
    let mut kept = hands.reconcile(&mut kernel, config, view, &state)?;
    // On the first run, and where a switch was broken off, nobody has undone anything.
    let is_repair = events.is_empty() && state.switching.is_none();
    events.extend(kept.event(if is_repair { Event::Repaired } else { Event::Reconciled }));
    hands.announce(&events);
    if kept.default_traffic_moved()
        && let Some(Switching { from, to, .. }) = state.switching.clone()
    {
        hands.announce(&[Event::SwitchCompleted { from, to }]);
        follow_up::finish_switch(config, &hands, &mut state, &kept.view)?;
    }
    count_bytes(&mut state);

    let resolved = kept.view.links.clone();
    let input = RunInput { config, resolved: &resolved, state: &state, request, now };
    let plans = input.plan_probes(&kept.left, &kept.view.facts);
    let answers = ping::round(&round::addresses(&plans), config.probe.timeout);
    let checked = input.evaluate(round::sort_by_link(plans, answers));
    log_answers(config, &checked);
    let on_the_move = input.is_on_the_move(&checked);
    let verdicts = event::verdicts_that_changed(&input, &checked);
    hands.announce(&verdicts);
    events.extend(verdicts);

    let (outcome, veto) = follow_up::ask_exit_script(&hands, &input, input.decide(&checked))?;
    let problems = [input.problems(&kept.view.facts, &checked), follow_up::problems(config)].concat();
    state = State { links: input.link_states(&checked), veto, checked_at: clock::now()?.boot, ..state };
    follow_up::note(config, &mut state, &events, now)?;
    match &outcome {
        Outcome::Switch(switch) => {
            state.begin_switch(switch, config, counter(&resolved[switch.to]), clock::now()?.boot);
            // The intent goes to disk before the first route moves: killed from here on, the next run completes it.
            hands.save(&state)?;
            kept = hands.reconcile(&mut kernel, config, kept.view, &state)?;
            hands.announce(&switch_events(&state, &kept));
            if kept.default_traffic_moved() {
                follow_up::finish_switch(config, &hands, &mut state, &kept.view)?;
            }
        }
        Outcome::Stay { hold, .. } | Outcome::Refuse { hold, .. } => state.hold = *hold,
        Outcome::Vetoed { .. } => {}
    }

    let faults = [old_faults, kept.faults(), round::own_faults(&checked)].concat();
    hands.announce(&event::problems_that_changed(&state.problems, &problems, &faults));
    faults.iter().for_each(|fault| log::error!("{fault}"));
    state.problems = [faults.clone(), problems].concat();
    state.schedule(config, clock::now()?.boot);
    follow_up::remember_and_tell(config, &hands, &mut state)?;
    let exit = conclude(&hands, &state, request, outcome, &faults)?;
    Ok(Ended { exit, on_the_move })
}

/// After an edit of `routing.protocol` what we made under the old number would be a stranger's: takes it out first. Returns
/// also what went wrong; then the old number is not forgotten, and the next run tries again.
fn leave_old_protocol(
    kernel: &mut Kernel,
    config: &Config,
    hands: &Hands,
    state: &mut State,
    view: View,
) -> Result<(View, Vec<String>)> {
    let now = config.routing.protocol;
    match (state.protocol.replace(now), hands) {
        (Some(before), Hands::Free(_)) if before != now => {
            let gone = take_out(kernel, config, before, &[])?;
            if !gone.left.is_empty() {
                state.protocol = Some(before);
            }
            Ok((look(kernel, config)?, gone.faults()))
        }
        _ => Ok((view, Vec::new())),
    }
}

/// What wanfo is about to put on an interface is on disk as its own before it is there: a config that changes later takes
/// away that, and nothing else.
fn claim_addresses(config: &Config, hands: &Hands, state: &mut State, view: &View) -> Result<()> {
    let own = addresses::owned(&state.own_addresses, config, &view.facts);
    if own != state.own_addresses {
        state.own_addresses = own;
        hands.save(state)?;
    }
    Ok(())
}

/// What a run may do to the world.
pub enum Hands {
    Free(Store),
    /// A dry run: looks, probes, and prints what it would do.
    Tied,
}

impl Hands {
    /// The state to go on from: the last run's, or a fresh one where it knows nothing that is of use.
    fn recall(&self, config: &Config, view: &View, now: BootTime) -> Result<(State, Vec<Event>)> {
        let boot_id = clock::boot_id()?;
        let memory = match self {
            Hands::Free(store) => store.recall(&boot_id)?,
            Hands::Tied => store::peek(&config.paths.run, &boot_id)?,
        };
        Ok(match memory {
            Loaded::Known(state) if state.knows_all_of(config) => (*state, Vec::new()),
            Loaded::Known(state) if state.active_in(config).is_some() => {
                let active = state.active.clone();
                (*state, vec![Event::Started { active }])
            }
            memory => {
                let active = routing::active_by_kernel(config, &view.links, &view.facts);
                let active = config.links[active].name.clone();
                let mut state = State::fresh(&boot_id, &active, now);
                if let Loaded::Known(before) = memory {
                    // The active link was taken out of the config. What is known of the others stands, what wanfo
                    // has made, and what is still to be told.
                    state.links = before.links;
                    state.protocol = before.protocol;
                    state.own_addresses = before.own_addresses;
                    state.pending = before.pending;
                }
                (state, vec![Event::Started { active }])
            }
        })
    }

    /// Says what happened, as it happens. A run in which nothing happens says nothing.
    fn announce(&self, events: &[Event]) {
        let would = if let Hands::Tied = self { "would say: " } else { "" };
        for event in events {
            match event {
                Event::Problem(_) => log::warn!("{would}{event}"),
                _ => log::info!("{would}{event}"),
            }
        }
    }

    pub fn save(&self, state: &State) -> Result<()> {
        match self {
            Hands::Free(store) => store.save(state),
            Hands::Tied => Ok(()),
        }
    }

    fn reconcile(
        &self,
        kernel: &mut Kernel,
        config: &Config,
        view: View,
        state: &State,
    ) -> Result<Reconciled> {
        let active = state.active_in(config).unwrap_or(0);
        let leaving = addresses::leaving(&state.own_addresses, config);
        let wanted = |view: &View| {
            let wanted = routing::wanted(config, &view.links, active, &view.facts);
            Wanted { leaving: leaving.clone(), ..wanted }
        };
        match self {
            Hands::Free(_) => reconcile(kernel, config, view, wanted),
            Hands::Tied => {
                let left = routing::plan(&view.facts, &wanted(&view), config.routing.protocol);
                left.iter().try_for_each(|change| say(format_args!("would run: {change}\n")))?;
                Ok(Reconciled::untouched(view, left))
            }
        }
    }
}

/// What the byte counter of a link's interface shows.
fn counter(resolved_link: &ResolvedLink) -> Option<u64> {
    resolved_link.interface.as_deref().and_then(counters::bytes)
}

/// Goes on counting the bytes over the backup that is active; on the primary nothing is counted.
fn count_bytes(state: &mut State) {
    let Some(mut usage) = state.usage else { return };
    let interface = state.link(&state.active).and_then(|link| link.interface.as_deref());
    if let Some(counter) = interface.and_then(counters::bytes) {
        usage.take(counter);
        state.usage = Some(usage);
    }
}

/// What is to be said of a switch that was just begun.
fn switch_events(state: &State, kept: &Reconciled) -> Vec<Event> {
    let reason = state.reason.clone();
    let switch =
        state.switching.clone().map(|Switching { from, to, .. }| match kept.default_traffic_moved() {
            true => Event::Switched { from, to, reason },
            false => Event::SwitchBegun { from, to, reason },
        });
    switch.into_iter().chain(kept.event(Event::Reconciled)).collect()
}

fn log_answers(config: &Config, checked: &[LinkResult]) {
    for (link, checked) in config.links.iter().zip(checked) {
        for answer in checked.answers.iter().flatten() {
            match &answer.result {
                Ok(rtt) => log::debug!("{}: {} answered in {rtt:.1?}", link.name, answer.address),
                Err(failure) => log::debug!("{}: {}: {failure}", link.name, answer.address),
            }
        }
        let (verdict, failed_rounds) = (checked.health.verdict, checked.health.failed_rounds);
        log::debug!("{}: {verdict}, {failed_rounds} of {} failed rounds", link.name, config.probe.threshold);
    }
}

/// The last word, and the exit code. In a terminal there is always one.
fn conclude(
    hands: &Hands,
    state: &State,
    request: Request,
    outcome: Outcome,
    faults: &[String],
) -> Result<Exit> {
    let (why, refused) = match outcome {
        Outcome::Refuse { why, .. } => (why, true),
        Outcome::Stay { why, .. } | Outcome::Vetoed { why } => (why, false),
        Outcome::Switch(switch) => (format!("switched to {}: {}", state.active, switch.reason), false),
    };
    if refused {
        bail!(why);
    }
    if stdout().is_terminal() || matches!(hands, Hands::Tied) || request != Request::Nothing {
        let links = state.links.iter().map(|link| format!("{} is {}", link.name, link.health.verdict));
        say(format_args!("{why}; {}\n", links.collect::<Vec<_>>().join(", ")))?;
        if matches!(hands, Hands::Tied)
            && state.links.iter().any(|link| link.probed_at.is_none() && link.last_error.is_none())
        {
            say("the targets are probed once the routes and rules that tie them to their links are there\n")?;
        }
    } else {
        log::debug!("{why}");
    }
    match hands {
        Hands::Free(_) if !faults.is_empty() => Ok(Exit::Failed),
        _ => Ok(Exit::Done),
    }
}
