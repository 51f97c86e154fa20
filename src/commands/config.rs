use std::path::Path;

use anyhow::Result;

use super::Exit;
use crate::cli;
use crate::core::config::Config;

/// The configuration was read before this runs, so it is good.
pub fn run(path: &Path, config: &Config, arguments: &cli::Config) -> Result<Exit> {
    if arguments.effective {
        print!("{}", config.to_yaml());
    } else {
        let links: Vec<&str> = config.links.iter().map(|link| link.name.as_str()).collect();
        println!("{} is good; links in order of preference: {}", path.display(), links.join(", "));
    }
    Ok(Exit::Done)
}
