use anyhow::Result;

use super::{Exit, force};
use crate::core::config::Config;
use crate::core::reconcile;
use crate::core::state::Loaded;
use crate::core::world::World;
use crate::system::clock;
use crate::system::router::Router;
use crate::system::store::Store;

/// Takes every route, rule and address of ours out of the kernel, and forgets the state: the box is as before.
pub fn run(config: &Config) -> Result<Exit> {
    let Some(store) = Store::lock(&config.paths.run, force::PATIENCE)? else {
        return Ok(force::locked_out());
    };
    let boot_id = clock::boot_id()?;
    let mut router = Router::new(config, &boot_id, store)?;
    let (before, leaving) = match router.load()? {
        Loaded::Known(state) => (state.protocol, state.own_addresses),
        _ => (None, Vec::new()),
    };
    // The number may have been edited since the last run.
    let now = config.routing.protocol;
    let mut taken_out = 0;
    for protocol in before.into_iter().filter(|before| *before != now).chain([now]) {
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
    super::say(format_args!(
        "{taken_out} routes, rules and addresses taken out; the next `wanfo check` (wanfo.timer, cron) would put them \
         back\n"
    ))?;
    Ok(Exit::Done)
}
