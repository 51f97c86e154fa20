//! The verbs, one file each.

/// One run.
pub mod check;
/// What makes a shell complete our words.
mod completions;
/// The configuration, checked and shown.
mod config;
/// Sending the mails that wait.
mod deliver;
/// What keeps wanfo from working here.
mod doctor;
/// Taking everything out again.
mod down;
/// Proving a backup.
mod drill;
/// A command that leaves by one link.
mod exec;
/// A run with an admin's wish: `force-failover` and `failback`.
mod force;
/// What happened.
mod history;
/// A configuration made of another program's settings.
mod import;
/// A config for a machine that has none.
mod init;
/// The manual.
mod man;
/// The last day again, with another config.
mod replay;
/// What the last run knew.
mod status;

use std::env;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result};
use log::LevelFilter;
use nix::sys::stat::{Mode, umask};

use crate::cli::{Cli, Command};
use crate::core::config::{Config, LogLevel};
use crate::core::report::page::{Line, Tone, WIDTH};
use crate::system::journal;
use crate::system::output::{self, STDOUT};
use crate::system::settings::{self, Broken, Settings};

/// How a command ended, as its exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    /// Bad usage or bad config.
    Usage,
    /// Another run holds the lock (EX_TEMPFAIL, sysexits.h).
    Busy,
    /// What the command's help says of it.
    Code(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Busy => 75,
            Exit::Code(code) => code,
        })
    }
}

/// What a command goes by.
pub struct Going {
    settings: Settings,
    /// The config file is no good, and `settings` are the last one that was: why, in one line.
    broken: Option<String>,
}

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<Exit> {
    // A folder that only we could read would keep `status` from everybody, one that all may write would be refused.
    // A command that is started for somebody has his.
    if !matches!(cli.command, Command::Exec(_)) {
        umask(Mode::from_bits_truncate(0o022));
    }
    match &cli.command {
        // A pager may take its time: nobody waits for these.
        Command::Status(_)
        | Command::History(_)
        | Command::Replay(_)
        | Command::Config(_)
        | Command::Doctor
        | Command::Init
        | Command::Import(_)
        | Command::Man(_) => {}
        Command::Check(check) if check.dry_run => {}
        _ => output::hurry(),
    }
    journal::start(LevelFilter::Info);
    // These need no machine that wanfo works on.
    match &cli.command {
        Command::Completions(arguments) => return completions::run(arguments),
        Command::Man(arguments) => return man::run(arguments),
        _ => {}
    }
    // The run that started the script holds the lock until the script ends.
    if env::var_os("WANFO_STATE").is_some() && cli.command.needs_the_lock() {
        log::error!(
            "a script of wanfo's cannot run this command: the run that started the script waits for it, and holds the lock \
             meanwhile; have it run after the script, and without WANFO_STATE: `systemd-run --no-block wanfo …`"
        );
        return Ok(Exit::Busy);
    }
    // There is no config yet.
    if let Command::Import(arguments) = &cli.command {
        return import::run(arguments);
    }
    let read = settings::read(&cli.config);
    let verbose = cli.verbose;
    let set_log_level = |settings: &Settings| {
        log::set_max_level(match settings.config.log_level {
            _ if verbose => LevelFilter::Debug,
            LogLevel::Error => LevelFilter::Error,
            LogLevel::Info => LevelFilter::Info,
            LogLevel::Debug => LevelFilter::Debug,
        });
    };
    read.iter().for_each(set_log_level);
    // These need no good config.
    match &cli.command {
        Command::Status(arguments) => return status::run(&cli.config, read, arguments, verbose),
        Command::History(arguments) => return history::run(&read, arguments),
        Command::Down => return down::run(&read),
        Command::Doctor => return doctor::run(&read),
        Command::Init => return init::run(),
        _ => {}
    }
    let going = match read {
        Ok(settings) => Going { settings, broken: None },
        Err(broken) => match go_on(&broken, &cli.command, verbose) {
            Some(going) => going,
            None => {
                log::error!("{}", broken.problems);
                return Ok(Exit::Usage);
            }
        },
    };
    set_log_level(&going.settings);
    match cli.command {
        Command::Check(check) if check.dry_run => check::dry_run(&going.settings.config),
        Command::Check(_) => check::run(&going, verbose || stdout().is_terminal()),
        Command::ForceFailover(arguments) => force::failover(&going, &arguments),
        Command::Failback(arguments) => force::failback(&going, &arguments),
        Command::Deliver(arguments) => deliver::run(&going.settings.config, &arguments),
        Command::Drill(arguments) => drill::run(&going, &arguments),
        Command::Exec(arguments) => exec::run(&going.settings.config, &arguments),
        Command::Replay(arguments) => replay::run(&going.settings.config, &arguments),
        Command::Config(arguments) => config::run(&cli.config, &going.settings.config, &arguments),
        Command::Status(_)
        | Command::History(_)
        | Command::Down
        | Command::Doctor
        | Command::Init
        | Command::Import(_)
        | Command::Completions(_)
        | Command::Man(_) => unreachable!("done above"),
    }
}

/// What a run goes by where the config is no good; `None`: there is nothing, or the config itself is what is asked about.
fn go_on(broken: &Broken, command: &Command, verbose: bool) -> Option<Going> {
    let by_hand = match command {
        Command::Config(_) | Command::Replay(_) => return None,
        Command::Check(check) if check.dry_run => return None,
        // What the timer starts says it once, as a problem.
        Command::Check(_) => verbose || stdout().is_terminal(),
        Command::Deliver(_) => false,
        _ => true,
    };
    let settings = broken.last_good()?;
    let why = format!("{}; until it is mended the last good one counts", broken.gist);
    if by_hand {
        log::warn!("{why}");
    }
    Some(Going { settings, broken: Some(why) })
}

/// The place in the config of the link with this name; where there is none, that is said.
fn link_named(config: &Config, name: &str) -> Option<usize> {
    let index = config.links.iter().position(|link| link.name == name);
    if index.is_none() {
        log::error!("there is no link {name:?} in the config; it has {}", config.names().join(", "));
    }
    index
}

/// Prints a page, in color and no wider than it where stdout is a terminal. With `before`, which goes ahead of it as it is, the
/// page stands in place of another one, and is no higher either.
fn say_in_color(page: &[Line], before: &str) -> Result<()> {
    let has_color = stdout().is_terminal()
        && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
    // What reads from a pipe looks for sentences, and whoever shows them breaks them.
    let (width, height) = match terminal_size::terminal_size_of(stdout()) {
        Some((columns, rows)) => (usize::from(columns.0).clamp(40, 100), usize::from(rows.0)),
        None if stdout().is_terminal() => (WIDTH, usize::MAX),
        None => (usize::MAX, usize::MAX),
    };
    // SGR, ECMA-48.
    let paint = |tone: Tone| match tone {
        Tone::Plain | Tone::Bar => None,
        Tone::Good => Some("32"),
        Tone::Warning => Some("33"),
        Tone::Bad => Some("1;31"),
    };
    let in_color = |line: &Line| {
        let color = paint(line.tone).filter(|_| has_color);
        let painted = move |row: String| match color {
            Some(color) => format!("\x1b[{color}m{row}\x1b[0m\n"),
            None => row + "\n",
        };
        line.rows(width).into_iter().map(painted)
    };
    let mut rows: Vec<String> = page.iter().flat_map(in_color).collect();
    // The cursor stands on a row of its own below.
    let room = height.saturating_sub(2);
    if !before.is_empty() && rows.len() > room + 1 {
        let more = rows.split_off(room).len();
        rows.push(format!("({more} more rows; `wanfo status` has them)\n"));
    }
    print(&(before.to_owned() + &rows.concat()))
}

/// Prints to stdout; the one way to do so, since `print!` panics where it cannot, and waits. A reader that has seen
/// enough and is gone (`| head`), or hangs while others wait for us, is no error; a full disk is one. No escape of a
/// damaged file's gets to the terminal.
fn say(text: impl Display) -> Result<()> {
    print(&text.to_string().replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), " "))
}

fn print(text: &str) -> Result<()> {
    match STDOUT.write(text) {
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::WouldBlock) => Ok(()),
        written => written.context("writing to standard output"),
    }
}
