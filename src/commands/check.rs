//! One run: the lock, the run itself, the last word, the exit code.

use std::io::{IsTerminal, stdout};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Exit, Going, say};
use crate::core::config::Config;
use crate::core::decide::Outcome;
use crate::core::health::ProbeError;
use crate::core::probing::STAY;
use crate::core::run::{self, Ended};
use crate::core::state::Loaded;
use crate::core::switch::Request;
use crate::core::world::{Machine, Order};
use crate::system::clock;
use crate::system::dry_run::DryRun;
use crate::system::router::Router;
use crate::system::store::{self, Store};

/// A lock that is held for so long is no run under way any more: it hangs, or somebody else holds it.
const LOCKED_OUT_TOO_LONG: Duration = Duration::from_secs(300);

/// How long a command waits for a run that is under way. A run with a slow script may take longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The pause before the next run of one start. It holds no lock, so that a command gets its turn.
const PAUSE: Duration = Duration::from_millis(250);

/// `wanfo check`, as the timer starts it. Where a link is silent because it has no address or no gateway, or the lines
/// change under way, it goes on, run after run, until every link is decided.
pub fn run(going: &Going, by_hand: bool) -> Result<Exit> {
    let config = &going.settings.config;
    let start = clock::now()?.boot;
    let machine = clock::machine()?;
    // What the timer starts makes way: the next is two seconds ahead. Somebody at a terminal waits.
    let patience = if by_hand { PATIENCE } else { Duration::ZERO };
    let one_run = |stay: Duration| -> Result<Option<(Ended, Exit)>> {
        let order = going.order(&machine, Request::Nothing, stay);
        let store = Store::lock(&config.paths.run, patience)?;
        store.map(|store| with_lock(going, &order, store)).transpose()
    };
    let Some((mut ended, mut exit)) = one_run(STAY)? else {
        warn_if_locked_out(config, &machine)?;
        return Ok(Exit::Busy);
    };
    while ended.undecided {
        sleep(PAUSE);
        let left = STAY.saturating_sub(clock::now()?.boot.since(start).unwrap_or(STAY));
        if left.is_zero() {
            break;
        }
        match one_run(left)? {
            Some(next) => (ended, exit) = next,
            // Whoever has the lock goes on from here.
            None => break,
        }
    }
    Ok(exit)
}

impl Going {
    /// The order for one run.
    pub fn order<'a>(&'a self, machine: &'a Machine, request: Request, stay: Duration) -> Order<'a> {
        let (config, config_broken) = (&self.settings.config, self.broken.as_deref());
        Order { config, config_broken, machine, request, user: None, stay }
    }
}

/// One run on the real router, whose lock was taken.
pub fn with_lock(going: &Going, order: &Order, store: Store) -> Result<(Ended, Exit)> {
    if let Err(error) = going.settings.keep(&store) {
        log::warn!("{error:#}");
    }
    let mut router = Router::new(order.config, &order.machine.boot_id, store)?;
    let ended = run::run(&mut router, order)?;
    let last_word = last_word(&ended, if ended.moved { "switched" } else { "not switched yet" })?;
    if stdout().is_terminal() || order.request != Request::Nothing {
        say(format_args!("{last_word}\n"))?;
    } else {
        log::debug!("{last_word}");
    }
    let exit = if ended.failed { Exit::Failed } else { Exit::Done };
    Ok((ended, exit))
}

/// `wanfo check --dry-run`.
pub fn dry_run(config: &Config) -> Result<Exit> {
    let machine = clock::machine()?;
    let order = Order {
        config,
        config_broken: None,
        machine: &machine,
        request: Request::Nothing,
        user: None,
        stay: STAY,
    };
    let mut router = DryRun::new(config, &machine.boot_id, |line| say(line))?;
    let ended = run::run(&mut router, &order)?;
    say(format_args!("{}\n", last_word(&ended, "would switch")?))?;
    let mut targets = ended.results.iter().filter_map(|link| link.targets.as_ref()).flatten();
    if targets.any(|target| target.result == Err(ProbeError::Unpinned)) {
        say("the targets are probed once the routes and rules that tie them to their links are there\n")?;
    }
    Ok(if ended.failed { Exit::Failed } else { Exit::Done })
}

/// Another run at work is normal, and no word is lost on it.
fn warn_if_locked_out(config: &Config, machine: &Machine) -> Result<()> {
    let now = clock::now()?.boot;
    let last_run = match store::peek(&config.paths.run, &machine.boot_id)? {
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

/// What came of the run, in one line; what was asked for and cannot be done is an error. `switched`: what became of a switch.
fn last_word(ended: &Ended, switched: &str) -> Result<String> {
    let why = match &ended.outcome {
        Outcome::Refuse { why, .. } => bail!(why.clone()),
        Outcome::Stay { why, .. } | Outcome::Vetoed { why } => why.clone(),
        Outcome::Switch(switch) => format!("{switched} to {}: {}", ended.state.active, switch.reason),
    };
    let links = ended.state.links.iter().map(|link| format!("{} is {}", link.name, link.health.verdict));
    Ok(format!("{why}; {}", links.collect::<Vec<_>>().join(", ")))
}
