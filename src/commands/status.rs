use anyhow::Result;
use jiff::tz::TimeZone;

use super::{Exit, say};
use crate::cli::{self, Format};
use crate::core::config::Config;
use crate::core::report::overall::{self, Detail};
use crate::core::report::{json, text};
use crate::core::state::Loaded;
use crate::system::{clock, store};

/// Tells what the last run knew. It takes no lock, so it never waits for a run.
pub fn run(config: &Config, arguments: &cli::Status) -> Result<Exit> {
    let now = clock::now()?;
    let state = match store::peek(&config.paths.run, &clock::boot_id()?)? {
        Loaded::Known(state) => Some(*state),
        Loaded::Nothing => None,
        Loaded::Damaged(reason) => {
            log::warn!("the state cannot be used: {reason}; the next `wanfo check` starts afresh");
            None
        }
    };
    let detail = if arguments.verbose { Detail::Full } else { Detail::Brief };
    match arguments.format {
        Format::Text => say(text::render(state.as_ref(), now, &TimeZone::system(), detail))?,
        Format::Json => say(json::render(state.as_ref(), now) + "\n")?,
    }
    Ok(match arguments.exit_code {
        true => Exit::Status(overall::overall(state.as_ref(), now) as u8),
        false => Exit::Done,
    })
}
