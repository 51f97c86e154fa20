use std::path::Path;

use anyhow::Result;

use super::{Exit, check, force, say};
use crate::core::config::Config;
use crate::core::reconcile;
use crate::core::record::{Event, Record};
use crate::core::state::Loaded;
use crate::core::world::World;
use crate::system::router::Router;
use crate::system::settings::{self, Broken, Settings};
use crate::system::store::Store;
use crate::system::{clock, timer};

/// Takes every route, rule and address of ours out of the kernel, and forgets the state: the box is as before. State and
/// kernel tell all that it takes; the config only adds a number that was edited since the last run.
pub fn run(read: &Result<Settings, Box<Broken>>) -> Result<Exit> {
    let paths = settings::paths(read);
    let Some(store) = Store::lock(&paths.run, check::PATIENCE)? else {
        return Ok(force::locked_out());
    };
    let boot_id = clock::boot_id()?;
    let mut without_links = Config::without_links(paths.clone());
    let last_good = match read {
        Ok(_) => None,
        Err(broken) => {
            log::warn!("{}; going by what the last run knew", broken.gist);
            without_links.routing.protocol = broken.protocol;
            broken.last_good()
        }
    };
    let known = read.as_ref().ok().or(last_good.as_ref()).map(|settings| &settings.config);
    let config = known.unwrap_or(&without_links);
    let mut router = Router::new(config, &boot_id, store)?;
    let (before, leaving, watched) = match router.load()? {
        Loaded::Known(state) => (state.protocol, state.own_addresses, Some(state.watched_at)),
        _ => (None, Vec::new(), None),
    };
    // The number may have been edited since the last run. Another than the last run's is ours only if a config says so.
    let now = (known.is_some() || before.is_none()).then_some(config.routing.protocol);
    let mut taken_out = 0;
    for protocol in before.into_iter().filter(|before| Some(*before) != now).chain(now) {
        let reconciled = reconcile::take_out(&mut router, config, protocol, &leaving)?;
        for problem in reconciled.problems() {
            log::error!("{problem}");
        }
        if !reconciled.left.is_empty() {
            // Not yet: only the state knows which addresses are ours.
            return Ok(Exit::Failed);
        }
        taken_out += reconciled.changes.len();
    }
    router.forget()?;
    if let Some(watched_ms) = watched {
        let record = Record::new(&boot_id, router.now()?, Event::TakenOut { watched_ms });
        // It is done, and only its record is missing.
        router.record(&[record]).unwrap_or_else(|error| log::warn!("{error:#}"));
    }
    if known.is_none() && before.is_none() && taken_out == 0 {
        // No failure: whoever never had a config has nothing to take out.
        log::warn!(
            "nothing is known of the last run either, and nothing in the kernel bears the protocol number {}; if \
             `routing.protocol` was another one, name a config that says so with --config",
            config.routing.protocol
        );
    }
    say(format_args!("{taken_out} routes, rules and addresses taken out; "))?;
    say(match timer::enabled_in(timer::FOLDERS.map(Path::new)) {
        Some(_) => {
            "wanfo.timer is still enabled, and its next check puts them back: `systemctl disable --now wanfo.timer` \
             stops that\n"
        }
        None => "the next `wanfo check` (wanfo.timer, cron) would put them back\n",
    })?;
    Ok(Exit::Done)
}
