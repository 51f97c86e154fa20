//! One run, from its beginning to its end.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Exit, say};
use crate::core::config::Config;
use crate::core::decide::{Outcome, Request};
use crate::core::event::{self, Event};
use crate::core::facts::Facts;
use crate::core::gateway::{self, Line};
use crate::core::round::{self, Checked, Situation};
use crate::core::routing::{self, Change, Wanted};
use crate::core::state::{BootTime, Recollection, State, Switching};
use crate::system::kernel::{self, Kernel};
use crate::system::store::{self, Store};
use crate::system::{clock, iproute, ping};

/// `wanfo check`, as the timer starts it.
pub fn run(config: &Config) -> Result<Exit> {
    match Store::lock(&config.paths.run, Duration::ZERO)? {
        Some(store) => one_run(config, Hands::Free(store), Request::Nothing),
        None => {
            log::debug!("another run holds the lock");
            Ok(Exit::Busy)
        }
    }
}

/// `wanfo check --dry-run`.
pub fn dry_run(config: &Config) -> Result<Exit> {
    one_run(config, Hands::Tied, Request::Nothing)
}

/// Looks, repairs, asks, weighs, decides, switches, remembers.
pub fn one_run(config: &Config, hands: Hands, request: Request) -> Result<Exit> {
    let now = clock::now()?.boot;
    let mut kernel = Kernel::open()?;
    let view = look(&mut kernel, config)?;
    let mut state = hands.recall(config, &view, now)?;
    let mut events = Vec::new();

    // First make true what should be true already. No target is pinged without its pin in the kernel.
    let mut kept = hands.reconcile(&mut kernel, config, view, &state)?;
    events.extend(kept.event());
    if kept.left.is_empty()
        && let Some(Switching { from, to }) = state.switching.take()
    {
        events.push(Event::SwitchCompleted { from, to });
    }

    let lines = kept.view.lines.clone();
    let situation = Situation { config, lines: &lines, state: &state, request, now };
    let asks = situation.whom_to_ask(&kept.left);
    let answers = ping::round(&round::addresses(&asks), config.probe.timeout);
    let checked = situation.weigh(round::sort_by_link(asks, answers));
    events.extend(event::verdicts_that_changed(&situation, &checked));

    let outcome = situation.decide(&checked);
    let problems = situation.problems(&kept.view.facts, &checked);
    let links = situation.link_states(&checked);
    if let Outcome::Switch(switch) = &outcome {
        state.begin_switch(switch, config, clock::now()?.boot);
        // The intent goes to disk before the first route moves: killed from here on, the next run completes it.
        hands.save(&state)?;
        kept = hands.reconcile(&mut kernel, config, kept.view, &state)?;
        events.extend(switch_event(&mut state, kept.left.is_empty()));
        events.extend(kept.event());
    }

    let faults = [kept.faults(), round::own_faults(&checked)].concat();
    let problems = [faults.clone(), problems].concat();
    events.extend(event::problems_that_changed(&state.problems, &problems));
    if let Outcome::Stay { hold, .. } | Outcome::Refuse { hold, .. } = outcome {
        state.hold = hold;
    }
    state.remember(config, links, problems, clock::now()?.boot);
    tell(config, &hands, &checked, &events, &faults);
    hands.save(&state)?;
    conclude(&hands, &state, request, outcome, &faults)
}

/// What a run may do to the world.
pub enum Hands {
    Free(Store),
    /// A dry run: looks, probes, and prints what it would do.
    Tied,
}

impl Hands {
    /// The state to go on from: the last run's, or a fresh one where it knows nothing that is of use.
    fn recall(&self, config: &Config, view: &View, now: BootTime) -> Result<State> {
        let boot_id = clock::boot_id()?;
        let memory = match self {
            Hands::Free(store) => store.recall(&boot_id)?,
            Hands::Tied => store::peek(&config.paths.run, &boot_id)?,
        };
        Ok(match memory {
            Recollection::Known(state) if state.active_in(config).is_some() => *state,
            memory => {
                let active = routing::active_by_kernel(config, &view.lines, &view.facts);
                let fresh = State::fresh(&boot_id, &config.links[active].name, now);
                match memory {
                    // The active link was taken out of the config. What is known of the others stands.
                    Recollection::Known(state) => State { links: state.links, ..fresh },
                    _ => fresh,
                }
            }
        })
    }

    fn save(&self, state: &State) -> Result<()> {
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
        let wanted = |view: &View| routing::wanted(config, &view.lines, active, &view.facts);
        match self {
            Hands::Free(_) => reconcile(kernel, config, view, wanted),
            Hands::Tied => {
                let left = routing::plan(&view.facts, &wanted(&view), config.routing.protocol);
                left.iter().try_for_each(|change| say(format_args!("would run: {change}\n")))?;
                Ok(Reconciled { view, changes: Vec::new(), failures: Vec::new(), left })
            }
        }
    }
}

/// What the kernel showed, and each link as it stands in it.
pub struct View {
    pub facts: Facts,
    pub lines: Vec<Line>,
}

/// Asks the kernel for everything that matters.
pub fn look(kernel: &mut Kernel, config: &Config) -> Result<View> {
    let interfaces = kernel.interfaces()?;
    let of_links = config.links.iter().filter_map(|link| gateway::interface_of(link, &interfaces));
    let wan: Vec<String> = of_links.map(|interface| interface.name.clone()).collect();
    let wanted = kernel::Wanted {
        protocol: config.routing.protocol,
        wan: &wan.iter().map(String::as_str).collect::<Vec<_>>(),
        every_default: routing::needs_every_default(config),
    };
    let facts = kernel.facts(interfaces, &wanted)?;
    let lines = gateway::survey(config, &facts);
    Ok(View { facts, lines })
}

/// The kernel after it was brought in line.
pub struct Reconciled {
    /// As it was read back.
    pub view: View,
    /// What was tried.
    pub changes: Vec<Change>,
    /// What `ip` complained of.
    failures: Vec<String>,
    /// What is still not as it should be.
    pub left: Vec<Change>,
}

/// Brings the kernel to what is wanted, and reads it back. Where nothing differs no process is started.
///
/// The world may move on meanwhile: an IPv6 address becomes usable, a DHCP client sets a route. What is wanted only
/// since then is done as well, but only once, lest somebody who changes things without pause keep us here for ever.
pub fn reconcile(
    kernel: &mut Kernel,
    config: &Config,
    view: View,
    wanted: impl Fn(&View) -> Wanted,
) -> Result<Reconciled> {
    let plan = |view: &View| routing::plan(&view.facts, &wanted(view), config.routing.protocol);
    let left = plan(&view);
    let mut reconciled = Reconciled { view, changes: Vec::new(), failures: Vec::new(), left };
    for _ in 0..2 {
        let untried = |change: &&Change| !reconciled.changes.contains(change);
        let new: Vec<Change> = reconciled.left.iter().filter(untried).cloned().collect();
        if new.is_empty() {
            break;
        }
        reconciled.failures.extend(iproute::apply(&new));
        reconciled.changes.extend(new);
        reconciled.view = look(kernel, config)?;
        reconciled.left = plan(&reconciled.view);
    }
    Ok(reconciled)
}

impl Reconciled {
    /// What keeps the kernel from being as it should. An `ip` that failed where the kernel is right all the same (the
    /// route was there already, or went with its interface) did no harm.
    pub fn faults(&self) -> Vec<String> {
        match (&self.left[..], &self.failures[..]) {
            ([], _) => Vec::new(),
            (left, []) => left
                .iter()
                .filter(|change| self.changes.contains(change))
                .map(|change| format!("`{change}` is said to be done, and the kernel does not show it"))
                .collect(),
            (_, failures) => failures.to_vec(),
        }
    }

    fn event(&self) -> Option<Event> {
        let done = self.changes.iter().filter(|change| !self.left.contains(change));
        let done: Vec<Change> = done.cloned().collect();
        (!done.is_empty()).then_some(Event::Reconciled(done))
    }
}

/// What is to be said of a switch; one that the kernel shows is no longer an intent.
fn switch_event(state: &mut State, done: bool) -> Option<Event> {
    let Switching { from, to } = state.switching.clone()?;
    let reason = state.reason.clone();
    if done {
        state.switching = None;
        return Some(Event::Switched { from, to, reason });
    }
    Some(Event::SwitchBegun { from, to, reason })
}

/// Says what happened. A run in which nothing happened says nothing.
fn tell(config: &Config, hands: &Hands, checked: &[Checked], events: &[Event], faults: &[String]) {
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
    let would = if let Hands::Tied = hands { "would say: " } else { "" };
    for event in events {
        match event {
            Event::Problem(problem) if faults.contains(problem) => {}
            Event::Problem(_) => log::warn!("{would}{event}"),
            _ => log::info!("{would}{event}"),
        }
    }
    for fault in faults {
        log::error!("{fault}");
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
        Outcome::Stay { why, .. } => (why, false),
        Outcome::Switch(switch) => (format!("switched to {}: {}", state.active, switch.reason), false),
    };
    if refused {
        bail!(why);
    }
    if stdout().is_terminal() || matches!(hands, Hands::Tied) || request != Request::Nothing {
        let links = state.links.iter().map(|link| format!("{} is {}", link.name, link.health.verdict));
        say(format_args!("{why}; {}\n", links.collect::<Vec<_>>().join(", ")))?;
    } else {
        log::debug!("{why}");
    }
    match hands {
        Hands::Free(_) if !faults.is_empty() => Ok(Exit::Failed),
        _ => Ok(Exit::Done),
    }
}
