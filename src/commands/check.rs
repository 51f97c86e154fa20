//! One run, from its beginning to its end.

use std::io::{IsTerminal, stdout};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Exit;
use crate::core::config::{Config, Link};
use crate::core::decide::{self, Candidate, Decision, Stay};
use crate::core::event::Event;
use crate::core::facts::Facts;
use crate::core::gateway::{self, Line};
use crate::core::health::{self, Answer, Failure, Health, Round, Verdict, Waiting};
use crate::core::report::Moment;
use crate::core::routing::{self, Change, Wanted};
use crate::core::state::{Hold, LinkState, Recollection, State, Switching, TargetState};
use crate::system::kernel::{self, Kernel};
use crate::system::store::{self, Store};
use crate::system::{clock, iproute, ping};

/// What a run is asked to do besides its duty.
#[derive(Debug, Clone, Copy)]
pub enum Request {
    Nothing,
    Failover { to: Option<usize>, hold: WantedHold },
    Failback,
}

/// How long a forced failover is to last.
#[derive(Debug, Clone, Copy)]
pub enum WantedHold {
    /// The backup's own delay.
    No,
    For(Duration),
    UntilFailback,
}

/// `wanfo check`, as the timer starts it.
pub fn run(config: &Config) -> Result<Exit> {
    match Store::lock(&config.paths.run, Duration::ZERO)? {
        Some(store) => one_run(config, Hands::Real(store), Request::Nothing),
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

/// Reads, asks, weighs, decides, acts, remembers.
pub fn one_run(config: &Config, hands: Hands, request: Request) -> Result<Exit> {
    let now = clock::now()?;
    let boot_id = clock::boot_id()?;
    let mut kernel = Kernel::open()?;
    let view = look(&mut kernel, config)?;
    let mut state = resume(hands.recall(config, &boot_id)?, &boot_id, config, &view, now);
    let mut active = state.active_in(config).unwrap_or(0);
    let mut events = Vec::new();

    // First make true what should be true already. Without its pins in the kernel no target may be pinged.
    let mut kept = hands.reconcile(&mut kernel, config, view, |view| wanted(config, view, active))?;
    events.extend(kept.event());
    if kept.left.is_empty()
        && let Some(Switching { from, to }) = state.switching.take()
    {
        events.push(Event::SwitchCompleted { from, to });
    }

    let asked = choose_targets(config, &kept, &state, active, request, now);
    let answers = ping_all(&asked, config.probe.timeout);
    let checked = weigh(config, &kept.view.lines, &state, &answers);
    events.extend(verdicts_that_changed(config, &state, &checked));

    let verdict = decide_switch(config, &state, &checked, active, request, now);
    let mut refusal = None;
    match verdict {
        Outcome::Switch { to, reason } => {
            events.push(Event::Switched {
                from: config.links[active].name.clone(),
                to: config.links[to].name.clone(),
                reason: reason.clone(),
            });
            begin_switch(&mut state, config, active, to, reason, request, clock::now()?);
            // The intent goes to disk before the first route moves: killed from here on, the next run completes it.
            hands.save(&state)?;
            active = to;
            kept = hands.reconcile(&mut kernel, config, kept.view, |view| wanted(config, view, active))?;
            events.extend(kept.event());
            if kept.left.is_empty() {
                state.switching = None;
            }
        }
        Outcome::Stay { hold } => state.hold = hold,
        Outcome::Refuse { reason, hold } => {
            state.hold = hold;
            refusal = Some(reason);
        }
    }

    let faults = [kept.faults(), own_faults(&checked)].concat();
    let problems = [faults.clone(), problems(config, &kept.view, &checked, active)].concat();
    events.extend(problems_that_changed(&state.problems, &problems, &faults));
    remember(&mut state, config, &kept.view.lines, &checked, problems, clock::now()?);
    tell(config, &hands, &state, &checked, &events, &faults);
    hands.save(&state)?;
    match refusal {
        Some(reason) => bail!(reason),
        None if faults.is_empty() || hands.are_tied() => Ok(Exit::Done),
        None => Ok(Exit::Failed),
    }
}

/// What a run may do to the world.
pub enum Hands {
    Real(Store),
    /// A dry run: reads and probes, and prints what it would do.
    Tied,
}

impl Hands {
    fn are_tied(&self) -> bool {
        matches!(self, Hands::Tied)
    }

    fn recall(&self, config: &Config, boot_id: &str) -> Result<Recollection> {
        match self {
            Hands::Real(store) => store.recall(boot_id),
            Hands::Tied => store::peek(&config.paths.run, boot_id),
        }
    }

    fn save(&self, state: &State) -> Result<()> {
        match self {
            Hands::Real(store) => store.save(state),
            Hands::Tied => Ok(()),
        }
    }

    fn reconcile(
        &self,
        kernel: &mut Kernel,
        config: &Config,
        view: View,
        wanted: impl Fn(&View) -> Wanted,
    ) -> Result<Reconciled> {
        match self {
            Hands::Real(_) => reconcile(kernel, config, view, wanted),
            Hands::Tied => {
                let left = routing::plan(&view.facts, &wanted(&view), config.routing.protocol);
                left.iter().for_each(|change| println!("would run: {change}"));
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
    let wan: Vec<String> = config
        .links
        .iter()
        .filter_map(|link| gateway::interface_of(link, &interfaces))
        .map(|interface| interface.name.clone())
        .collect();
    let wan: Vec<&str> = wan.iter().map(String::as_str).collect();
    let every_default = routing::needs_every_default(config);
    let facts = kernel.facts(
        interfaces,
        &kernel::Wanted { protocol: config.routing.protocol, wan: &wan, every_default },
    )?;
    let lines = gateway::survey(config, &facts);
    Ok(View { facts, lines })
}

fn wanted(config: &Config, view: &View, active: usize) -> Wanted {
    routing::wanted(config, &view.lines, active, &view.facts)
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
pub fn reconcile(
    kernel: &mut Kernel,
    config: &Config,
    view: View,
    wanted: impl Fn(&View) -> Wanted,
) -> Result<Reconciled> {
    let changes = routing::plan(&view.facts, &wanted(&view), config.routing.protocol);
    if changes.is_empty() {
        return Ok(Reconciled { view, changes, failures: Vec::new(), left: Vec::new() });
    }
    let failures = iproute::apply(&changes);
    let view = look(kernel, config)?;
    let left = routing::plan(&view.facts, &wanted(&view), config.routing.protocol);
    Ok(Reconciled { view, changes, failures, left })
}

impl Reconciled {
    /// What keeps the kernel from being as it should. An `ip` that failed where the kernel is right all the same (the
    /// route was there already, or went with its interface) did no harm.
    pub fn faults(&self) -> Vec<String> {
        match (&self.left[..], &self.failures[..]) {
            ([], _) => Vec::new(),
            (left, []) => left
                .iter()
                .map(|change| format!("`{change}` is said to be done, and the kernel does not show it"))
                .collect(),
            (_, failures) => failures.to_vec(),
        }
    }

    fn event(&self) -> Option<Event> {
        let done: Vec<Change> =
            self.changes.iter().filter(|change| !self.left.contains(change)).cloned().collect();
        (!done.is_empty()).then_some(Event::Reconciled(done))
    }
}

/// The state to go on from: the last run's, or a fresh one where it knows nothing that is of use.
fn resume(memory: Recollection, boot_id: &str, config: &Config, view: &View, now: Moment) -> State {
    match memory {
        Recollection::Known(state) if state.active_in(config).is_some() => *state,
        _ => {
            let active = routing::active_by_kernel(config, &view.lines, &view.facts);
            State::fresh(boot_id, &config.links[active].name, now.boot)
        }
    }
}

/// What is to be asked of one link in this run.
enum Ask {
    /// It is a healthy backup that was probed not long ago.
    NotDue,
    /// In the order of its targets, each to be pinged or known to be useless to ping.
    Targets(Vec<Result<IpAddr, Answer>>),
}

fn choose_targets(
    config: &Config,
    kept: &Reconciled,
    state: &State,
    active: usize,
    request: Request,
    now: Moment,
) -> Vec<Ask> {
    let health = |index: usize| health_of(state, &config.links[index]);
    let suspicious = health(active) != Health::UNKNOWN || kept.view.lines[active].obstacle().is_some();
    let may_return = state.stay(config.links[active].delay, now.boot) == Stay::Free;
    let shared = gateway::shared_targets(config, &kept.view.lines);
    let mut asks = Vec::new();
    for (index, (link, line)) in config.links.iter().zip(&kept.view.lines).enumerate() {
        let wanted_now = index == active
            || suspicious
            || (index < active && may_return)
            || !matches!(request, Request::Nothing);
        let last_probe =
            state.link(&link.name).and_then(|link| link.probed_at).and_then(|at| now.boot.since(at));
        let waiting =
            Waiting { health: health(index), last_probe, standby_interval: link.standby_interval };
        if !health::is_due(&waiting, wanted_now) {
            asks.push(Ask::NotDue);
            continue;
        }
        let targets = link.targets.iter().filter_map(|target| line.resolve(*target)).map(|address| {
            let useless = |failure| Err(Answer { address, result: Err(failure) });
            let table = config.table_of(index);
            if let Some(obstacle) = line.obstacle().or(line.way(address.into()).err()) {
                useless(Failure::Unusable(obstacle.to_string()))
            } else if shared.iter().any(|(_, second, other)| *second == index && *other == address) {
                useless(Failure::Shared)
            } else if kept.left.iter().any(|change| change.concerns_pin(address, table)) {
                useless(Failure::OwnFault(format!(
                    "{address} was not probed: it is not tied to {} in the kernel yet, and the request could \
                     leave by another link",
                    link.name
                )))
            } else {
                Ok(address)
            }
        });
        asks.push(Ask::Targets(targets.collect()));
    }
    asks
}

/// One concurrent round over everything that is due; the answers link by link, `None` for a link that was not asked.
fn ping_all(asks: &[Ask], timeout: Duration) -> Vec<Option<Vec<Answer>>> {
    let all = asks.iter().filter_map(|ask| match ask {
        Ask::NotDue => None,
        Ask::Targets(targets) => Some(targets),
    });
    let addresses: Vec<IpAddr> = all.flatten().filter_map(|target| target.clone().ok()).collect();
    let mut answers = ping::round(&addresses, timeout).into_iter();
    let mut answer = |target: &Result<IpAddr, Answer>| match target {
        Ok(_) => answers.next(),
        Err(useless) => Some(useless.clone()),
    };
    asks.iter()
        .map(|ask| match ask {
            Ask::NotDue => None,
            Ask::Targets(targets) => Some(targets.iter().filter_map(&mut answer).collect()),
        })
        .collect()
}

/// One link after its round.
struct Checked {
    round: Round,
    health: Health,
    answers: Option<Vec<Answer>>,
}

fn weigh(config: &Config, lines: &[Line], state: &State, answers: &[Option<Vec<Answer>>]) -> Vec<Checked> {
    let rounds: Vec<Round> = (config.links.iter().zip(lines).zip(answers))
        .map(|((link, line), answers)| health::judge(link, line, answers.as_deref()))
        .collect();
    // One fault of our own spoils the whole round: a broken tool switches nobody's line.
    let spoilt = rounds.contains(&Round::Void);
    let mut checked = Vec::new();
    for ((link, round), answers) in config.links.iter().zip(rounds).zip(answers) {
        let round = match round {
            Round::Good | Round::Failed(_) if spoilt && !link.targets.is_empty() => Round::Void,
            round => round,
        };
        let before = health_of(state, link);
        let health = match round {
            // With nothing to ask there is nothing to wait for either.
            Round::Good if link.targets.is_empty() => Health::UNKNOWN,
            _ => before.after(&round, config.probe.threshold),
        };
        checked.push(Checked { round, health, answers: answers.clone() });
    }
    checked
}

fn health_of(state: &State, link: &Link) -> Health {
    state.link(&link.name).map_or(Health::UNKNOWN, |link| link.health)
}

/// What follows from the round and from what was asked for.
enum Outcome {
    Stay { hold: Hold },
    Switch { to: usize, reason: String },
    Refuse { reason: String, hold: Hold },
}

fn decide_switch(
    config: &Config,
    state: &State,
    checked: &[Checked],
    active: usize,
    request: Request,
    now: Moment,
) -> Outcome {
    let name = |index: usize| config.links[index].name.as_str();
    let links: Vec<Candidate> = checked
        .iter()
        .map(|link| Candidate {
            up: link.health.verdict == Verdict::Up,
            good_just_now: link.round == Round::Good,
        })
        .collect();
    match request {
        Request::Nothing => {
            let stay = state.stay(config.links[active].delay, now.boot);
            match decide::decide(&links, active, stay) {
                Decision::Switch { to } if links[active].up => {
                    Outcome::Switch { to, reason: format!("{} is up", name(to)) }
                }
                Decision::Switch { to } => {
                    let trouble = trouble(&checked[active], state, name(active));
                    Outcome::Switch { to, reason: format!("{} is down: {trouble}", name(active)) }
                }
                decision => {
                    log::debug!("{}", explain(decision, stay, config, active));
                    Outcome::Stay { hold: state.hold }
                }
            }
        }
        Request::Failover { to, hold } => {
            let hold = match hold {
                WantedHold::No => Hold::No,
                WantedHold::For(time) => Hold::Until(now.boot.plus(time)),
                WantedHold::UntilFailback => Hold::UntilFailback,
            };
            match decide::forced(&links, active, to) {
                Some(to) if to == active => {
                    println!("{} is active already", name(active));
                    Outcome::Stay { hold }
                }
                Some(to) => Outcome::Switch { to, reason: "forced by hand".to_owned() },
                None => {
                    let why_not = |index: usize| {
                        format!("{}: {}", name(index), trouble(&checked[index], state, name(index)))
                    };
                    let backups = match to {
                        Some(to) => vec![why_not(to)],
                        None => (1..links.len()).map(why_not).collect(),
                    };
                    let reason = format!("not switched, for it would help nobody: {}", backups.join("; "));
                    Outcome::Refuse { reason, hold: state.hold }
                }
            }
        }
        Request::Failback => match decide::best(&links) {
            Some(best) if best < active => Outcome::Switch { to: best, reason: "failback by hand".to_owned() },
            _ if active == 0 => {
                println!("{} is active already", name(active));
                Outcome::Stay { hold: Hold::No }
            }
            _ => {
                let trouble = trouble(&checked[0], state, name(0));
                let reason = format!("staying on {}: {}: {trouble}", name(active), name(0));
                Outcome::Refuse { reason, hold: Hold::No }
            }
        },
    }
}

/// Why a link is not good: by this round, else by the last one that said something.
fn trouble(checked: &Checked, state: &State, name: &str) -> String {
    match &checked.round {
        Round::Failed(why) | Round::Unusable(why) => why.clone(),
        Round::Void => "the round was void".to_owned(),
        _ if checked.health.verdict == Verdict::Down => {
            format!("not up again yet, {} more good rounds are needed", checked.health.failed_rounds)
        }
        _ => match state.link(name).and_then(|link| link.trouble.clone()) {
            Some(trouble) => trouble,
            None => "not known to work".to_owned(),
        },
    }
}

fn explain(decision: Decision, stay: Stay, config: &Config, active: usize) -> String {
    let active = &config.links[active].name;
    match (decision, stay) {
        (Decision::Wait { better }, Stay::For(left)) => {
            let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
            format!("staying on {active} for {left} more, though {} is up", config.links[better].name)
        }
        (Decision::Wait { better }, _) => {
            format!("{active} is held until `wanfo failback`, though {} is up", config.links[better].name)
        }
        (Decision::NothingBetter, _) => format!("staying on {active}: no other link is known to work"),
        _ => format!("staying on {active}: it is the best link"),
    }
}

fn begin_switch(
    state: &mut State,
    config: &Config,
    from: usize,
    to: usize,
    reason: String,
    request: Request,
    now: Moment,
) {
    let [from, to] = [from, to].map(|index| config.links[index].name.clone());
    state.active = to.clone();
    state.switching = Some(Switching { from, to });
    state.switched_at = Some(now.boot);
    state.reason = reason;
    state.forced = matches!(request, Request::Failover { .. });
    state.hold = match request {
        Request::Failover { hold: WantedHold::For(time), .. } => Hold::Until(now.boot.plus(time)),
        Request::Failover { hold: WantedHold::UntilFailback, .. } => Hold::UntilFailback,
        _ => Hold::No,
    };
}

fn verdicts_that_changed(config: &Config, state: &State, checked: &[Checked]) -> Vec<Event> {
    let links = config.links.iter().zip(checked);
    links
        .filter_map(|(link, now)| match (health_of(state, link).verdict, now.health.verdict) {
            (Verdict::Up, Verdict::Down) => {
                let reason = trouble(now, state, &link.name);
                Some(Event::LinkDown { link: link.name.clone(), reason })
            }
            (Verdict::Down, Verdict::Up) => Some(Event::LinkUp { link: link.name.clone() }),
            _ => None,
        })
        .collect()
}

/// Why this run could not ask what it had to ask.
fn own_faults(checked: &[Checked]) -> Vec<String> {
    let mut faults = Vec::new();
    for answer in checked.iter().filter_map(|link| link.answers.as_ref()).flatten() {
        if let Err(Failure::OwnFault(fault)) = &answer.result
            && !faults.contains(fault)
        {
            faults.push(fault.clone());
        }
    }
    faults
}

/// What an admin should look at, though the run itself did its work.
fn problems(config: &Config, view: &View, checked: &[Checked], active: usize) -> Vec<String> {
    let mut problems = gateway::problems(config, &view.lines);
    for route in routing::unbeatable_defaults(config, &view.facts) {
        problems.push(format!(
            "with `override: default` a failover cannot beat this default route: {route}; give it a metric of 2 or more"
        ));
    }
    if checked.iter().all(|link| link.health.verdict == Verdict::Down) {
        let name = &config.links[active].name;
        problems.push(format!("no link is up; staying on {name} until one is"));
    }
    problems
}

fn problems_that_changed(before: &[String], now: &[String], faults: &[String]) -> Vec<Event> {
    let appeared = now.iter().filter(|problem| !before.contains(problem) && !faults.contains(problem));
    let solved = before.iter().filter(|problem| !now.contains(problem));
    appeared.cloned().map(Event::Problem).chain(solved.cloned().map(Event::Solved)).collect()
}

/// Writes down what this run knows.
fn remember(
    state: &mut State,
    config: &Config,
    lines: &[Line],
    checked: &[Checked],
    problems: Vec<String>,
    now: Moment,
) {
    let active = state.active_in(config).unwrap_or(0);
    let links = config.links.iter().zip(lines).zip(checked);
    let links = links.map(|((link, line), checked)| {
        let before = state.link(&link.name);
        let gateway = |way: &Result<gateway::Way, _>| way.as_ref().ok().and_then(|way| way.via);
        let targets = match &checked.answers {
            Some(answers) => answers.iter().map(target_state).collect(),
            None => before.map(|link| link.targets.clone()).unwrap_or_default(),
        };
        LinkState {
            name: link.name.clone(),
            interface: line.interface.clone(),
            gateway: gateway(&line.v4),
            gateway6: gateway(&line.v6),
            health: checked.health,
            threshold: config.probe.threshold,
            probed_at: match checked.answers {
                Some(_) => Some(now.boot),
                None => before.and_then(|link| link.probed_at),
            },
            trouble: match &checked.round {
                Round::Failed(why) | Round::Unusable(why) => Some(why.clone()),
                Round::Good => None,
                Round::Void | Round::NotDue => before.and_then(|link| link.trouble.clone()),
            },
            targets,
        }
    });
    state.links = links.collect();
    state.next_switch_after = match state.stay(config.links[active].delay, now.boot) {
        Stay::For(left) => Some(now.boot.plus(left)),
        Stay::Free | Stay::UntilFailback => None,
    };
    state.problems = problems;
    state.checked_at = now.boot;
}

fn target_state(answer: &Answer) -> TargetState {
    TargetState {
        address: answer.address,
        rtt_ms: answer.result.as_ref().ok().map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
        error: answer.result.as_ref().err().map(Failure::to_string),
    }
}

/// Says what happened. A run in which nothing happened says nothing, except in a terminal.
fn tell(
    config: &Config,
    hands: &Hands,
    state: &State,
    checked: &[Checked],
    events: &[Event],
    faults: &[String],
) {
    let would = if hands.are_tied() { "would say: " } else { "" };
    for (link, checked) in config.links.iter().zip(checked) {
        for answer in checked.answers.iter().flatten() {
            match &answer.result {
                Ok(rtt) => {
                    log::debug!("{}: {} answered in {:.1?}", link.name, answer.address, rtt)
                }
                Err(failure) => log::debug!("{}: {}: {failure}", link.name, answer.address),
            }
        }
        let Health { verdict, failed_rounds } = checked.health;
        log::debug!("{}: {verdict:?}, {failed_rounds} of {} failed rounds", link.name, config.probe.threshold);
    }
    for event in events {
        match event {
            Event::Problem(_) => log::warn!("{would}{event}"),
            _ => log::info!("{would}{event}"),
        }
    }
    for fault in faults {
        log::error!("{fault}");
    }
    if stdout().is_terminal() || hands.are_tied() {
        let links = state.links.iter().map(|link| format!("{} is {}", link.name, told(link.health.verdict)));
        println!("{} is active; {}", state.active, links.collect::<Vec<_>>().join(", "));
    }
}

fn told(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Up => "up",
        Verdict::Down => "down",
    }
}
