use anyhow::Result;

use super::{Exit, force, reconcile};
use crate::core::config::Config;
use crate::core::routing::Wanted;
use crate::core::state::Recollection;
use crate::system::clock;
use crate::system::kernel::Kernel;
use crate::system::store::Store;

/// Takes every route, rule and address of ours out of the kernel, and forgets the state: the box is as before.
pub fn run(config: &Config) -> Result<Exit> {
    let Some(store) = Store::lock(&config.paths.run, force::PATIENCE)? else {
        return Ok(force::locked_out());
    };
    let mut kernel = Kernel::open()?;
    let view = reconcile::look(&mut kernel, config)?;
    let leaving = match store.recall(&clock::boot_id()?)? {
        Recollection::Known(state) => state.own_addresses,
        _ => Vec::new(),
    };
    let nothing = |_: &reconcile::View| Wanted { leaving: leaving.clone(), ..Wanted::default() };
    let reconciled = reconcile::reconcile(&mut kernel, config, view, nothing)?;
    for failure in reconciled.faults() {
        log::error!("{failure}");
    }
    if !reconciled.left.is_empty() {
        // Not yet: only the state knows which addresses are ours.
        return Ok(Exit::Failed);
    }
    store.forget()?;
    super::say(format_args!(
        "{} routes, rules and addresses taken out; the next `wanfo check` (wanfo.timer, cron) would put them back\n",
        reconciled.changes.len()
    ))?;
    Ok(Exit::Done)
}
