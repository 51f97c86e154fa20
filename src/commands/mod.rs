//! The verbs, one file each.

/// One run.
pub mod check;
/// The configuration, checked and shown.
mod config;
/// Sending the mails that wait.
mod deliver;
/// Taking everything out again.
mod down;
/// A run with an admin's wish: `force-failover` and `failback`.
mod force;
/// What happened.
mod history;
/// What the last run knew.
mod status;

use std::fmt::Display;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use log::LevelFilter;
use nix::sys::stat::{Mode, umask};

use crate::cli::{Cli, Command};
use crate::core::config::{Config, LogLevel};
use crate::core::report::overall::Overall;
use crate::system::output::{self, STDOUT};
use crate::system::{journal, trust};

/// How a command ended, as its exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    /// Bad usage or bad config.
    Usage,
    /// Another run holds the lock (EX_TEMPFAIL, sysexits.h).
    Busy,
    /// `status --exit-code`.
    Status(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Busy => 75,
            Exit::Status(code) => code,
        })
    }
}

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<Exit> {
    // A folder that only we could read would keep `status` from everybody, one that all may write would be refused.
    umask(Mode::from_bits_truncate(0o022));
    match &cli.command {
        // A pager may take its time: nobody waits for these.
        Command::Status(_) | Command::History(_) | Command::Config(_) => {}
        Command::Check(check) if check.dry_run => {}
        _ => output::hurry(),
    }
    journal::start(LevelFilter::Info);
    let config = match load(&cli.config) {
        Ok(config) => config,
        Err(problems) => {
            log::error!("{problems}");
            return Ok(match cli.command {
                // To a monitor, 2 would say that no link is up.
                Command::Status(status) if status.exit_code => Exit::Status(Overall::Unknown as u8),
                _ => Exit::Usage,
            });
        }
    };
    let verbose = matches!(&cli.command, Command::Check(check) if check.verbose);
    log::set_max_level(match config.log_level {
        _ if verbose => LevelFilter::Debug,
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    });
    match cli.command {
        Command::Check(check) if check.dry_run => check::dry_run(&config),
        Command::Check(_) => check::run(&config),
        Command::Status(arguments) => status::run(&config, &arguments),
        Command::History(arguments) => history::run(&config, &arguments),
        Command::ForceFailover(arguments) => force::failover(&config, &arguments),
        Command::Failback(arguments) => force::failback(&config, &arguments),
        Command::Deliver(arguments) => deliver::run(&config, &arguments),
        Command::Down => down::run(&config),
        Command::Config(arguments) => config::run(&cli.config, &config, &arguments),
    }
}

/// Prints to stdout; the one way to do so, since `print!` panics where it cannot, and waits. A reader that has seen
/// enough and is gone (`| head`), or hangs while others wait for us, is no error; a full disk is one. No escape of a
/// damaged file's gets to the terminal.
fn say(text: impl Display) -> Result<()> {
    let text = text.to_string().replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), " ");
    match STDOUT.write(&text) {
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::WouldBlock) => Ok(()),
        written => written.context("writing to standard output"),
    }
}

/// Nobody writes that much by hand; a log file or a device named by mistake must not eat the router's memory.
const CONFIG_LIMIT: u64 = 1 << 20;

/// The configuration, or everything that is wrong with it.
fn load(path: &Path) -> Result<Config, String> {
    let file = path.display();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(CONFIG_LIMIT + 1).read_to_end(&mut bytes));
    read.map_err(|error| {
        format!("cannot read the configuration {file}: {error}; name another file with --config")
    })?;
    if bytes.len() as u64 > CONFIG_LIMIT {
        return Err(format!(
            "{file} is larger than {CONFIG_LIMIT} bytes, so it is no configuration of wanfo's"
        ));
    }
    // Whoever can write it has the scripts that it names run by root.
    trust::refuse_if_others_can_write(path, "configuration")?;
    let text = String::from_utf8(bytes).map_err(|_| format!("the configuration {file} is not UTF-8 text"))?;
    crate::core::config::read::parse(&text).map_err(|problems| {
        let list: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
        format!("the configuration {file} has {} problem(s):\n{}", list.len(), list.join("\n"))
    })
}
