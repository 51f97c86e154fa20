use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use jiff::SignedDuration;

use super::{Exit, say, say_in_color};
use crate::cli::{self, StatusFormat};
use crate::core::account::{Present, account};
use crate::core::problem::{Code, Problem};
use crate::core::proofs::Proofs;
use crate::core::report::overall::{self, Detail};
use crate::core::report::page::Line;
use crate::core::report::{html, json, prometheus, text};
use crate::core::state::{Loaded, State};
use crate::core::time::Moment;
use crate::system::settings::{self, Broken, Settings};
use crate::system::{clock, proofs, records, store};

/// How often `--watch` looks.
const REFRESH: Duration = Duration::from_secs(1);

/// What the page for a browser tells of.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Tells what the last run knew. It takes no lock, so it never waits for a run.
pub fn run(
    config: &Path,
    read: Result<Settings, Box<Broken>>,
    arguments: &cli::Status,
    verbose: bool,
) -> Result<Exit> {
    if arguments.watch {
        if !stdout().is_terminal() {
            log::error!(
                "--watch needs a terminal; `watch wanfo status` or a loop around `wanfo status` do without"
            );
            return Ok(Exit::Usage);
        }
        if !matches!(arguments.format, StatusFormat::Text) {
            log::error!("--watch shows the page for people; leave out --format, or --watch");
            return Ok(Exit::Usage);
        }
        let mut read = read;
        loop {
            let (state, now) = look(&read)?;
            let page = page(state.as_ref(), &proven(&read), now, verbose);
            // From the upper left corner: the rest of each row and of the screen is cleared (ECMA-48, CUP, ED).
            say_in_color(&page, "\x1b[H\x1b[J")?;
            sleep(REFRESH);
            read = settings::read(config);
        }
    }
    let (state, now) = look(&read)?;
    let proofs = proven(&read);
    match arguments.format {
        StatusFormat::Text => say_in_color(&page(state.as_ref(), &proofs, now, verbose), "")?,
        StatusFormat::Json => say(json::render(state.as_ref(), &proofs, now) + "\n")?,
        StatusFormat::Prometheus => say(prometheus::render(state.as_ref(), &proofs, now))?,
        StatusFormat::Html => say(html_page(&read, state.as_ref(), &proofs, now)?)?,
    }
    Ok(match arguments.exit_code || arguments.strict {
        true => Exit::Code(overall::overall(state.as_ref(), now, arguments.strict) as u8),
        false => Exit::Done,
    })
}

fn look(read: &Result<Settings, Box<Broken>>) -> Result<(Option<State>, Moment)> {
    let now = clock::now()?;
    let state = match store::peek(&settings::paths(read).run, &clock::boot_id()?)? {
        Loaded::Known(state) => Some(mark_broken(*state, read)),
        Loaded::Nothing => None,
        Loaded::Damaged(reason) => {
            log::warn!("the state cannot be used: {reason}; the next `wanfo check` starts afresh");
            None
        }
    };
    match (&state, read) {
        (None, Err(broken)) => log::error!("{}", broken.problems),
        (Some(state), Err(broken)) if !is_known_broken(state) && broken.is_no_run_s() => log::warn!(
            "{}; no run goes by that file: what is told here is of the runs with their state in {}",
            broken.gist,
            broken.paths.run.display()
        ),
        _ => {}
    }
    Ok((state, now))
}

/// When each link was last proven. Without that there is a status all the same.
fn proven(read: &Result<Settings, Box<Broken>>) -> Proofs {
    proofs::load(&settings::paths(read).state).unwrap_or_else(|error| {
        log::warn!("{error:#}");
        Proofs::default()
    })
}

/// With the last day of the history, where there is one.
fn html_page(
    read: &Result<Settings, Box<Broken>>,
    state: Option<&State>,
    proofs: &Proofs,
    now: Moment,
) -> Result<String> {
    let (records, _) = records::read(&settings::paths(read).state)?;
    let links: Vec<String> =
        state.iter().flat_map(|state| &state.links).map(|link| link.name.clone()).collect();
    let boot_id = clock::boot_id()?;
    let present = Present { boot_id: &boot_id, now, last_run: state.map(|state| state.checked_at) };
    let day = account(&records, &links, &present, now.wall.checked_sub(DAY).ok());
    Ok(html::render(state, proofs, day.as_ref(), now, &clock::zone()))
}

fn page(state: Option<&State>, proofs: &Proofs, now: Moment, verbose: bool) -> Vec<Line> {
    let detail = if verbose { Detail::Full } else { Detail::Brief };
    text::render(state, proofs, now, &clock::zone(), detail)
}

fn is_known_broken(state: &State) -> bool {
    state.problems.iter().any(|problem| problem.code == Code::ConfigBroken)
}

/// A config that was broken since the last run is known by nobody else.
pub fn mark_broken(mut state: State, read: &Result<Settings, Box<Broken>>) -> State {
    if let Err(broken) = read
        && !broken.is_denied
        && !broken.is_no_run_s()
    {
        let problem = Problem::new(Code::ConfigBroken, None, &broken.gist);
        if !state.problems.iter().any(|known| known.is(&problem)) {
            state.problems.push(problem);
        }
    }
    state
}
