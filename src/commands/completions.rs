use anyhow::Result;
use clap::CommandFactory;

use super::{Exit, say};
use crate::cli::{self, Cli};

/// What makes a shell complete our words.
pub fn run(arguments: &cli::Completions) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "wanfo", &mut script);
    say(String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
