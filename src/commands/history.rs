use anyhow::Result;
use jiff::tz::TimeZone;

use super::{Exit, say};
use crate::cli::{self, Format};
use crate::core::account::{Present, account};
use crate::core::config::Config;
use crate::core::report::history;
use crate::core::since::since;
use crate::core::state::Loaded;
use crate::system::{clock, records, store};

/// More warnings than this would push the table off the screen.
const WARNINGS: usize = 5;

/// Tells what happened. It takes no lock and needs no root.
pub fn run(config: &Config, arguments: &cli::History) -> Result<Exit> {
    let (now, boot_id) = (clock::now()?, clock::boot_id()?);
    let zone = TimeZone::system();
    let since = arguments.since.as_ref().map(|text| since(text, now.wall, &zone)).transpose();
    let since = match since {
        Ok(since) => since,
        Err(problem) => {
            log::error!("--since: {problem}");
            return Ok(Exit::Usage);
        }
    };
    let (records, warnings) = records::read(&config.paths.state)?;
    warnings.iter().take(WARNINGS).for_each(|warning| log::warn!("{warning}"));
    if warnings.len() > WARNINGS {
        log::warn!("{} more lines of the history are left out like these", warnings.len() - WARNINGS);
    }
    let last_run = match store::peek(&config.paths.run, &boot_id)? {
        Loaded::Known(state) => Some(state.checked_at),
        Loaded::Nothing | Loaded::Damaged(_) => None,
    };
    let links: Vec<String> = config.links.iter().map(|link| link.name.clone()).collect();
    let present = Present { boot_id: &boot_id, now, last_run };
    let account = account(&records, &links, &present, since);
    let text = match arguments.format {
        Format::Text => history::text(account.as_ref(), &zone),
        Format::Json => history::json(account.as_ref()),
    };
    say(text)?;
    Ok(Exit::Done)
}
