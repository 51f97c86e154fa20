use std::time::Duration;

use anyhow::Result;
use log::LevelFilter;

use super::{Exit, say};
use crate::core::config::Config;
use crate::core::doctor::{self, Mark, Tried};
use crate::core::facts::Interface;
use crate::core::gateway::View;
use crate::core::report::overall;
use crate::core::run;
use crate::core::state::Loaded;
use crate::core::switch::Request;
use crate::core::world::{Machine, Order, World};
use crate::system::dry_run::DryRun;
use crate::system::settings::{self, Broken, Settings};
use crate::system::{clock, machine, store};

/// For how long a silent target is asked.
const STAY: Duration = Duration::from_secs(2);

/// Goes through everything that wanfo needs, a line each. Nothing is changed.
pub fn run(read: &Result<Settings, Box<Broken>>) -> Result<Exit> {
    let last_good = read.as_ref().err().and_then(|broken| broken.last_good());
    let going = read.as_ref().ok().or(last_good.as_ref()).map(|settings| &settings.config);
    let broken = read.as_ref().err().map(|broken| match going {
        Some(_) => format!("{}; all else is about the last good one", broken.gist),
        None => format!("{}; what needs it is left out", broken.gist),
    });
    // What there is to say is said in its own way.
    log::set_max_level(LevelFilter::Off);
    let here = clock::machine()?;
    let tried = going.map(|config| try_run(config, &here).map_err(|error| format!("{error:#}")));
    let without_links = Config::without_links(settings::paths(read).clone());
    let config = going.unwrap_or(&without_links);
    let last_run = match store::peek(&config.paths.run, &here.boot_id) {
        Ok(Loaded::Known(state)) => {
            let now = clock::now()?;
            now.boot.since(state.checked_at).map(|age| (age, overall::is_too_old(&state, now)))
        }
        _ => None,
    };
    let view = tried.as_ref().and_then(|tried| Some(&tried.as_ref().ok()?.view));
    let seen = machine::look(config, &view.map(interfaces).unwrap_or_default(), last_run)?;
    let lines = doctor::examine(&seen, broken, tried.as_ref());
    let told: String = lines.iter().map(|line| format!("{line}\n")).collect();
    say(told)?;
    Ok(if lines.iter().any(|line| line.mark == Mark::Failure) { Exit::Failed } else { Exit::Done })
}

/// A dry run, in which nobody is left out because he is not due.
fn try_run(config: &Config, machine: &Machine) -> Result<Tried> {
    let mut config = config.clone();
    config.links.iter_mut().for_each(|link| link.standby_interval = Duration::ZERO);
    let order = Order {
        config: &config,
        config_broken: None,
        machine,
        request: Request::Nothing,
        user: None,
        stay: STAY,
    };
    let mut world = DryRun::new(&config, &machine.boot_id, |_| Ok(()))?;
    let before = world.look(&config)?;
    let ended = run::run(&mut world, &order)?;
    let view = View::of(&config, world.look(&config)?);
    Ok(Tried { before, view, results: ended.results, problems: ended.state.problems, config: config.clone() })
}

fn interfaces(view: &View) -> Vec<&Interface> {
    view.links.iter().filter_map(|link| view.facts.interface(link.interface.as_deref()?)).collect()
}
