use anyhow::Result;

use super::{Exit, say, status};
use crate::cli::{self, Format};
use crate::core::account::{Present, account};
use crate::core::report::{history, text};
use crate::core::since::since;
use crate::core::state::Loaded;
use crate::system::settings::{self, Broken, Settings};
use crate::system::{clock, records, store};

/// More warnings than this would push the table off the screen.
const WARNINGS: usize = 5;

/// Tells what happened. It takes no lock and needs no root.
pub fn run(read: &Result<Settings, Box<Broken>>, arguments: &cli::History) -> Result<Exit> {
    let (now, boot_id) = (clock::now()?, clock::boot_id()?);
    let zone = clock::zone();
    let since = arguments.since.as_ref().map(|text| since(text, now.wall, &zone)).transpose();
    let since = match since {
        Ok(since) => since,
        Err(problem) => {
            log::error!("--since: {problem}");
            return Ok(Exit::Usage);
        }
    };
    let paths = settings::paths(read);
    let (records, warnings) = records::read(&paths.state)?;
    warnings.iter().take(WARNINGS).for_each(|warning| log::warn!("{warning}"));
    if warnings.len() > WARNINGS {
        log::warn!("{} more lines of the history are left out like these", warnings.len() - WARNINGS);
    }
    let state = match store::peek(&paths.run, &boot_id)? {
        Loaded::Known(state) => Some(status::mark_broken(*state, read)),
        Loaded::Nothing | Loaded::Damaged(_) => None,
    };
    let last_run = state.as_ref().map(|state| state.checked_at);
    let links = match (read, &state) {
        (Ok(settings), _) => settings.config.names(),
        (Err(_), Some(state)) => state.links.iter().map(|link| link.name.clone()).collect(),
        (Err(broken), None) => {
            log::error!("{}", broken.problems);
            Vec::new()
        }
    };
    let present = Present { boot_id: &boot_id, now, last_run };
    let account = account(&records, &links, &present, since);
    let text = match arguments.format {
        Format::Text => {
            let headline = state.as_ref().and_then(|state| text::config_broken(state, now, &zone));
            let headline = headline.map(|line| line.text + "\n\n");
            headline.unwrap_or_default() + &history::text(account.as_ref(), &zone)
        }
        Format::Json => history::json(account.as_ref()),
    };
    say(text)?;
    Ok(Exit::Done)
}
