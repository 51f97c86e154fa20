use anyhow::Result;
use jiff::tz::TimeZone;

use super::{Exit, say};
use crate::cli::{self, Format};
use crate::core::problem::{Code, Problem};
use crate::core::report::overall::{self, Detail};
use crate::core::report::{json, text};
use crate::core::state::{Loaded, State};
use crate::system::settings::{self, Broken, Settings};
use crate::system::{clock, store};

/// Tells what the last run knew. It takes no lock, so it never waits for a run.
pub fn run(read: &Result<Settings, Box<Broken>>, arguments: &cli::Status, verbose: bool) -> Result<Exit> {
    let now = clock::now()?;
    let state = match store::peek(&settings::paths(read).run, &clock::boot_id()?)? {
        Loaded::Known(state) => Some(mark_broken(*state, read)),
        Loaded::Nothing => None,
        Loaded::Damaged(reason) => {
            log::warn!("the state cannot be used: {reason}; the next `wanfo check` starts afresh");
            None
        }
    };
    if let (None, Err(broken)) = (&state, read) {
        log::error!("{}", broken.problems);
    }
    let detail = if verbose { Detail::Full } else { Detail::Brief };
    match arguments.format {
        Format::Text => say(text::render(state.as_ref(), now, &TimeZone::system(), detail))?,
        Format::Json => say(json::render(state.as_ref(), now) + "\n")?,
    }
    Ok(match arguments.exit_code {
        true => Exit::Status(overall::overall(state.as_ref(), now) as u8),
        false => Exit::Done,
    })
}

/// A config that was broken since the last run is known by nobody else.
pub fn mark_broken(mut state: State, read: &Result<Settings, Box<Broken>>) -> State {
    if let Err(broken) = read
        && !broken.is_denied
    {
        let problem = Problem::new(Code::ConfigBroken, None, &broken.gist);
        if !state.problems.iter().any(|known| known.is(&problem)) {
            state.problems.push(problem);
        }
    }
    state
}
