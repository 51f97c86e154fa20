use std::path::Path;

use anyhow::Result;

use super::{Exit, say};
use crate::cli;
use crate::core::config::Config;
use crate::core::gateway::View;
use crate::core::problems;
use crate::system::kernel::Kernel;
use crate::system::router;

/// The configuration was read before this runs, so it is good by itself. Whether it is on this machine is asked here.
pub fn run(path: &Path, config: &Config, arguments: &cli::Config) -> Result<Exit> {
    if arguments.effective {
        say(config.to_yaml())?;
        return Ok(Exit::Done);
    }
    let links: Vec<&str> = config.links.iter().map(|link| link.name.as_str()).collect();
    let (file, links) = (path.display(), links.join(", "));
    let view = View::of(config, router::look(&mut Kernel::open()?, config)?);
    let problems = problems::of_config(config, &view);
    let (doubts, faults): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.is_a_doubt());
    doubts.iter().for_each(|doubt| log::warn!("{doubt}"));
    faults.iter().for_each(|fault| log::error!("{fault}"));
    if faults.is_empty() {
        say(format_args!("{file} is good; links in order of preference: {links}\n"))?;
        return Ok(Exit::Done);
    }
    say(format_args!("{file} has no mistakes, but some of it will not work on this machine\n"))?;
    Ok(Exit::Failed)
}
