use std::path::Path;

use anyhow::Result;

use super::{Exit, say};
use crate::cli;
use crate::core::config::Config;

/// The configuration was read before this runs, so it is good.
pub fn run(path: &Path, config: &Config, arguments: &cli::Config) -> Result<Exit> {
    if arguments.effective {
        say(config.to_yaml())?;
    } else {
        let links: Vec<&str> = config.links.iter().map(|link| link.name.as_str()).collect();
        let (file, links) = (path.display(), links.join(", "));
        say(format_args!("{file} is good; links in order of preference: {links}\n"))?;
    }
    Ok(Exit::Done)
}
