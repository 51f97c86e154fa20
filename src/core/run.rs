//! One run, from its beginning to its end.

use anyhow::Result;

use super::addresses;
use super::config::Config;
use super::decide::Outcome;
use super::follow_up;
use super::gateway::View;
use super::health::{Law, LinkResult, Verdict};
use super::hold::{Hold, asked_for};
use super::pin;
use super::probing::{self, Findings};
use super::problem::{Code, Problem};
use super::problems::{self, answers};
use super::reconcile::{Reconciled, look, reconcile, renumber, take_out};
use super::record::Event;
use super::report::overall::TOO_OLD;
use super::round::RunInput;
use super::routing;
use super::state::{Loaded, State};
use super::switch::{Cause, Request, Switch};
use super::time::BootTime;
use super::units::span;
use super::world::{Level, Order, World};

/// How a run ended.
pub struct Ended {
    /// What was learnt of each link.
    pub results: Vec<LinkResult>,
    pub outcome: Outcome,
    /// The default traffic was moved by it.
    pub moved: bool,
    /// As it was left to the next run.
    pub state: State,
    /// Something could not be done, and is tried again by the next run.
    pub failed: bool,
    /// The next one will soon know more.
    pub undecided: bool,
}

/// Looks, repairs, probes, decides, switches, remembers, tells.
pub fn run(world: &mut dyn World, order: &Order) -> Result<Ended> {
    let config = order.config;
    let now = world.now()?;
    let view = look(world, config)?;
    let (mut state, mut events) = recall(world, order, &view, now.boot)?;
    let (view, renumbered, mut faults) = leave_old_protocol(world, config, &mut state, view)?;
    events.extend(renumbered);
    claim_addresses(world, config, &mut state, &view)?;

    // First make true what should be true already. No target is pinged without its pin in the kernel.
    let mut kept = reconcile(world, config, view, &state)?;
    events.extend(kept.event(kind_of_change(&events, &state)));
    say(world, &events);
    faults.extend(complete_switch(world, order, &mut state, &kept, now.boot)?);
    count_bytes(world, &mut state);

    let links = kept.view.links.clone();
    let pin = pin::in_force(config, &kept.view.facts);
    let input =
        RunInput { config, resolved: &links, pin, state: &state, request: order.request, now: now.boot };
    let plans = input.plan_probes(&mut |flow| world.way(flow), kept.view.facts.pretended);
    let Findings { mut results, undecided } = probing::probe(world, &input, plans, order.stay)?;
    let now = world.now()?;
    let input = RunInput { now: now.boot, ..input };

    let mut decided = input.decide(&results);
    if let (Outcome::Switch(switch), false) = (&mut decided, order.request == Request::Nothing) {
        // Whoever says so by hand does not wait until it is stable.
        results[switch.to].health.rise(now.boot);
        switch.reason += &whose_hand(switch.hold, order.user, now.boot);
    }
    let mut news = not_watched(&input, &results);
    news.extend(input.verdicts_that_changed(&results));
    let asked = follow_up::ask_exit_script(world, order, &input, decided)?;
    let follow_up::Asked { outcome, veto, missed_since, event: objection } = asked;
    let mut problems = problems::find(&input, &kept.view, &results);
    faults.extend(answers::own_faults(config, &results));
    let watched_at = if input.is_blind(&results) { state.watched_at } else { now.boot };
    let links_now = input.link_states(&results);
    state.note_run(world.now()?.boot);
    state = State { links: links_now, veto, exit_script_missed_since: missed_since, watched_at, ..state };
    problems.extend(answers::of_targets(&state));
    problems.extend(follow_up::note_config(order, &mut state, now));
    problems.extend(follow_up::set_aside(order, &state));
    follow_up::note(order, &mut state, &[events, news.clone()].concat(), now);
    news.extend(objection);
    if let Request::Failback { .. } = order.request {
        // Whatever comes of it, the admin wants nothing held any more.
        state.held_before = None;
    }
    let mut moved = false;
    match &outcome {
        Outcome::Switch(switch) => {
            begin_switch(world, config, &mut state, switch, &kept.view)?;
            // The intent goes to disk before the first route moves: killed from here on, the next run completes it.
            world.save(&state)?;
            kept = reconcile(world, config, kept.view, &state)?;
            // The kernel first, then the words: whoever reads them may be slow.
            moved = kept.default_traffic_moved_to(config, switch.to);
            // By hand it is the answer to the command.
            news.extend(switch_event(&state, moved).filter(|_| !moved || order.request == Request::Nothing));
            news.extend(kept.event(|changes| Event::Reconciled { changes }));
            say(world, &news);
            if moved {
                faults.extend(follow_up::finish_switch(world, order, &mut state, &kept.view)?);
            }
        }
        Outcome::Stay { hold, .. } | Outcome::Refuse { hold, .. } => {
            state.hold = *hold;
            say(world, &news);
        }
        Outcome::Vetoed { .. } => say(world, &news),
    }
    say_replies(world, config, &results, now.boot);
    problems.extend(problems::of_default_traffic(config, &state, &kept.view, &mut |flow| world.way(flow)));
    faults.extend(kept.problems());
    if config.probe.record
        && let Err(error) = world.keep_round(order, &state)
    {
        problems.push(Problem::new(Code::RecordingNotKept, None, format!("{error:#}")));
    }
    state.schedule(config, world.now()?.boot);
    remember_and_tell(world, order, &mut state, &mut faults, problems)?;
    Ok(Ended { results, outcome, moved, state, failed: !faults.is_empty(), undecided })
}

/// The state to go on from: the last run's, or a fresh one where it knows nothing that is of use.
fn recall(world: &mut dyn World, order: &Order, view: &View, now: BootTime) -> Result<(State, Vec<Event>)> {
    let config = order.config;
    let (mut state, mut events) = match world.load()? {
        Loaded::Known(state) if state.knows_all_of(config) => (*state, Vec::new()),
        Loaded::Known(state) => {
            let mut state = *state;
            let mut events = leave_lost_link(world, config, &mut state, view, now)?;
            let active = state.active.clone();
            events.push(Event::LinksChanged { active, links: config.names() });
            (state, events)
        }
        Loaded::Nothing | Loaded::Damaged(_) => {
            let active = &config.links[routing::active_by_kernel(config, &view.links, &view.facts)].name;
            let mut state = State::fresh(&order.machine.boot_id, active, now);
            match world.load_hold() {
                Ok(held) => (state.hold_on_disk, state.held_before) = (held.clone(), held),
                Err(error) => world.say(Level::Warn, &format!("{error:#}")),
            }
            state.find_on_a_backup(config);
            (state, vec![Event::Started { active: active.clone(), links: config.names() }])
        }
    };
    if let Some(held) = &state.held_before {
        if *held == state.active {
            (state.hold, state.forced, state.held_before) = (Hold::UntilFailback, true, None);
        } else if !config.links.iter().any(|link| link.name == *held && !link.routes_only) {
            events.push(Event::Released { link: held.clone(), what: "hold".to_owned() });
            state.held_before = None;
        }
    }
    Ok((state, events))
}

/// A config that takes the active link away, or renames it, is a switch like any other: to the link by whose interface
/// the traffic goes, else to the first that was up.
fn leave_lost_link(
    world: &mut dyn World,
    config: &Config,
    state: &mut State,
    view: &View,
    now: BootTime,
) -> Result<Vec<Event>> {
    if state.active_in(config).is_some() {
        return Ok(Vec::new());
    }
    let from = state.active.clone();
    let reason = match config.links.iter().any(|link| link.name == from) {
        true => format!("{from} carries no default traffic any more (`routes_only`)"),
        false => format!("{from} is not in the config any more"),
    };
    let what = match (state.hold, state.next_switch_after) {
        (Hold::UntilFailback, _) => Some("hold"),
        (_, Some(until)) if until > now => Some("delay"),
        _ => None,
    };
    let by_kernel = routing::active_by_kernel(config, &view.links, &view.facts);
    let was = |index: usize| state.link(&config.links[index].name).map(|link| link.health.verdict);
    let mut carriers = (0..config.links.len()).filter(|index| !config.links[*index].routes_only);
    let to = match was(by_kernel) {
        Some(Verdict::Down) => carriers.find(|index| was(*index) == Some(Verdict::Up)).unwrap_or(by_kernel),
        _ => by_kernel,
    };
    let switch = Switch { to, cause: Cause::Config, reason, may_be_vetoed: false, hold: Hold::No };
    begin_switch(world, config, state, &switch, view)?;
    world.save(state)?;
    let released = what.map(|what| Event::Released { link: from, what: what.to_owned() });
    Ok(released.into_iter().collect())
}

/// After an edit of `routing.protocol` what we made under the old number would be a stranger's: the routes get the new one,
/// and the rest is taken out. Returns also what was changed, and what went wrong; then the old number is not forgotten, and the
/// next run tries again.
fn leave_old_protocol(
    world: &mut dyn World,
    config: &Config,
    state: &mut State,
    view: View,
) -> Result<(View, Vec<Event>, Vec<Problem>)> {
    let now = config.routing.protocol;
    match state.protocol.replace(now) {
        Some(before) if before != now => {
            let renumbered = renumber(world, config, before)?;
            let gone = take_out(world, config, before, &[])?;
            if !gone.left.is_empty() {
                state.protocol = Some(before);
            }
            let view = look(world, config)?;
            // A dry run has told its commands one by one.
            let renumbered = (!renumbered.is_empty() && !view.facts.pretended)
                .then_some(Event::Reconciled { changes: renumbered });
            let events = renumbered.into_iter().chain(gone.event(|changes| Event::Reconciled { changes }));
            Ok((view, events.collect(), gone.problems()))
        }
        _ => Ok((view, Vec::new(), Vec::new())),
    }
}

/// What wanfo is about to put on an interface is on disk as its own before it is there: a config that changes later takes
/// away that, and nothing else.
fn claim_addresses(world: &mut dyn World, config: &Config, state: &mut State, view: &View) -> Result<()> {
    let own = addresses::owned(&state.own_addresses, config, &view.facts);
    if own != state.own_addresses {
        state.own_addresses = own;
        world.save(state)?;
    }
    Ok(())
}

/// On the first run, and where a switch was broken off or could not be made whole, nobody has undone anything.
fn kind_of_change(events: &[Event], state: &State) -> fn(Vec<String>) -> Event {
    let is_whole = state.switching.is_none() && !state.problems.iter().any(|it| it.code == Code::RouteNotSet);
    match events.is_empty() && is_whole {
        true => |changes| Event::Repaired { changes },
        false => |changes| Event::Reconciled { changes },
    }
}

/// Does what is left of a switch that an earlier run, or the config, has begun.
fn complete_switch(
    world: &mut dyn World,
    order: &Order,
    state: &mut State,
    kept: &Reconciled,
    now: BootTime,
) -> Result<Option<Problem>> {
    let (Some(switching), Some(active)) = (&state.switching, state.active_in(order.config)) else {
        return Ok(None);
    };
    if !kept.default_traffic_moved_to(order.config, active) {
        return Ok(None);
    }
    let event = match state.switched_at.is_some_and(|at| at >= now) {
        true => switch_event(state, true),
        // The script alone is tried again: the switch was told when it was made.
        false if switching.script_starts > 0 || switching.cause == Cause::Found => None,
        false => Some(Event::SwitchCompleted { from: switching.from.clone(), to: switching.to.clone() }),
    };
    say(world, event.as_slice());
    follow_up::finish_switch(world, order, state, &kept.view)
}

fn begin_switch(
    world: &mut dyn World,
    config: &Config,
    state: &mut State,
    switch: &Switch,
    view: &View,
) -> Result<()> {
    let counter = view.links[switch.to].interface.as_deref().and_then(|interface| world.bytes(interface));
    let now = world.now()?.boot;
    state.begin_switch(switch, config, counter, now);
    Ok(())
}

/// Goes on counting the bytes over the backup that is active; on the primary nothing is counted.
fn count_bytes(world: &mut dyn World, state: &mut State) {
    let Some(mut usage) = state.usage else { return };
    let interface = state.link(&state.active).and_then(|link| link.interface.as_deref());
    if let Some(counter) = interface.and_then(|interface| world.bytes(interface)) {
        usage.take(counter);
        state.usage = Some(usage);
    }
}

/// The time before this run in which nobody could tell how the lines were.
fn not_watched(input: &RunInput, results: &[LinkResult]) -> Vec<Event> {
    let since = input.state.watched_at;
    match input.now.since(since) {
        Some(gap) if gap > TOO_OLD && !input.is_blind(results) => vec![Event::NotWatched { since_ms: since }],
        _ => Vec::new(),
    }
}

/// What is to be said of a switch that was just begun.
fn switch_event(state: &State, moved: bool) -> Option<Event> {
    let switching = state.switching.clone()?;
    let (from, to, reason) = (switching.from, switching.to, state.reason.clone());
    let (cause, forced, backup_bytes) = (switching.cause, state.forced, switching.backup_bytes);
    Some(match moved {
        true => Event::Switched { from, to, cause, reason, forced, backup_bytes },
        false => Event::SwitchBegun { from, to, reason },
    })
}

/// Puts the state on disk, hands on what is to be told, and says which problems are new and which are gone. The faults
/// are what could not be done; they are said on every run.
fn remember_and_tell(
    world: &mut dyn World,
    order: &Order,
    state: &mut State,
    faults: &mut Vec<Problem>,
    problems: Vec<Problem>,
) -> Result<()> {
    let before = std::mem::replace(&mut state.problems, [faults.clone(), problems.clone()].concat());
    world.save(state)?;
    let saved = state.clone();
    faults.extend(follow_up::hand_on(world, order, state));
    state.problems = [faults.clone(), problems.clone()].concat();
    if *state != saved {
        world.save(state)?;
    }
    let is_new = |problem: &&Problem| !before.iter().any(|known| problem.is_said_by(known));
    let is_gone = |known: &&Problem| !state.problems.iter().any(|problem| problem.is(known));
    let new = problems.iter().filter(is_new).cloned().map(|problem| Event::Problem { problem });
    let gone = before.iter().filter(is_gone).cloned().map(|problem| Event::Solved { problem });
    say(world, &new.chain(gone).collect::<Vec<_>>());
    faults.iter().for_each(|fault| world.say(Level::Error, &fault.to_string()));
    Ok(())
}

/// Says what happened. A run in which nothing happens says nothing.
fn say(world: &mut dyn World, events: &[Event]) {
    for event in events {
        let level = match event {
            Event::Problem { .. } | Event::Vetoed { .. } => Level::Warn,
            _ => Level::Info,
        };
        world.say(level, &event.to_string());
    }
}

/// Who wanted it, and for how long, behind what is told of a switch by hand.
fn whose_hand(hold: Hold, user: Option<&str>, now: BootTime) -> String {
    let stay = match hold {
        Hold::No => None,
        Hold::Until(until) => Some(format!("--for {}", span(asked_for(until, now)))),
        Hold::UntilFailback => Some("--hold".to_owned()),
    };
    let details: Vec<String> = user.map(str::to_owned).into_iter().chain(stay).collect();
    if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) }
}

fn say_replies(world: &mut dyn World, config: &Config, results: &[LinkResult], now: BootTime) {
    for (link, result) in config.links.iter().zip(results) {
        for target in result.targets.iter().flatten() {
            let said = match &target.result {
                Ok(rtt) => format!("{}: {} answered in {rtt:.1?}", link.name, target.address),
                Err(error) => format!("{}: {}: {error}", link.name, target.address),
            };
            world.say(Level::Debug, &said);
        }
        let health = &result.health;
        let silent = health.silent_for(Law::of(&config.probe, link), now);
        let silent = if silent.is_zero() { String::new() } else { format!(", silent for {silent:.1?}") };
        let said = format!("{}: {}{silent}", link.name, health.verdict);
        world.say(Level::Debug, &said);
    }
}
