//! A run with an admin's wish. It does everything that a `check` does, and the wish is a part of its decision.

use anyhow::Result;

use super::check;
use super::{Exit, Going};
use crate::cli::{Failback, ForceFailover};
use crate::core::config::Config;
use crate::core::hold::Hold;
use crate::core::probing::STAY;
use crate::core::run::Ended;
use crate::core::switch::Request;
use crate::core::world::Order;
use crate::system::store::Store;
use crate::system::{clock, login};

/// Switches to a backup, because somebody says so.
pub fn failover(going: &Going, arguments: &ForceFailover) -> Result<Exit> {
    let config = &going.settings.config;
    let to = match arguments.to.as_ref().map(|name| backup(config, name)) {
        Some(None) => return Ok(Exit::Usage),
        to => to.flatten(),
    };
    let hold = match arguments.stay {
        Some(time) => Hold::Until(clock::now()?.boot.plus(time)),
        None if arguments.hold => Hold::UntilFailback,
        None => Hold::No,
    };
    run(going, Request::Failover { to, hold })
}

/// Switches to the best link.
pub fn failback(going: &Going, arguments: &Failback) -> Result<Exit> {
    run(going, Request::Failback { now: arguments.now })
}

fn run(going: &Going, request: Request) -> Result<Exit> {
    let user = login::user();
    match Store::lock(&going.settings.config.paths.run, check::PATIENCE)? {
        Some(store) => Ok(with_lock(going, store, request, user.as_deref())?.1),
        None => Ok(locked_out()),
    }
}

/// The place in the config of the backup with this name; where there is none, that is said.
pub fn backup(config: &Config, name: &str) -> Option<usize> {
    match config.links.iter().position(|link| link.name == name) {
        Some(0) => {
            log::error!("{name} is the preferred link; `wanfo failback` switches to it");
            None
        }
        None => {
            let backups: Vec<&str> = config.links[1..].iter().map(|link| link.name.as_str()).collect();
            log::error!("there is no link {name}; the backups are: {}", backups.join(", "));
            None
        }
        backup => backup,
    }
}

/// One run with a wish of this user's.
pub fn with_lock(going: &Going, store: Store, request: Request, user: Option<&str>) -> Result<(Ended, Exit)> {
    let machine = clock::machine()?;
    let order = Order { user, ..going.order(&machine, request, STAY) };
    check::with_lock(going, &order, store)
}

/// Says that the lock was not to be had.
pub fn locked_out() -> Exit {
    log::error!(
        "another run has held the lock for {}s (its script may still be at work); try again",
        check::PATIENCE.as_secs()
    );
    Exit::Busy
}
