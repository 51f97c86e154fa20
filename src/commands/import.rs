//! A configuration made of another program's settings. Nothing on this machine is changed, and nothing of theirs is run.

use std::io::{IsTerminal, stdout};
use std::path::{Path, absolute};

use anyhow::Result;

use super::{Exit, say};
use crate::cli;
use crate::core::import::astlinux::SCRIPT;
use crate::core::import::draft::File;
use crate::core::import::import;
use crate::system::file;

/// Nobody's settings are that long; a log file or a device named by mistake must not eat the router's memory.
const LIMIT: u64 = 1 << 20;

pub fn run(arguments: &cli::Import) -> Result<Exit> {
    let mut texts = Vec::new();
    let mut is_whole = true;
    for path in &arguments.files {
        match file::read_foreign(path, LIMIT) {
            // A comment may be in any encoding.
            Ok(bytes) => {
                texts.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()))
            }
            Err(error) => {
                log::error!("cannot read {}: {error}", path.display());
                is_whole = false;
            }
        }
    }
    if !is_whole {
        return Ok(Exit::Usage);
    }
    let files: Vec<File> = texts.iter().map(|(name, text)| File { name, text }).collect();
    match import(&files, action_script(&arguments.files).as_deref()) {
        Ok(imported) => {
            say(&imported.yaml)?;
            // On a terminal they stand below the configuration already.
            if !stdout().is_terminal() {
                imported.notes.iter().for_each(|note| log::warn!("{note}"));
            }
            Ok(Exit::Done)
        }
        Err(faults) => {
            faults.iter().for_each(|fault| log::error!("{fault}"));
            Ok(Exit::Usage)
        }
    }
}

/// AstLinux has it beside rc.conf, and so one above the files in rc.conf.d.
fn action_script(files: &[std::path::PathBuf]) -> Option<String> {
    let files = files.iter().filter_map(|file| absolute(file).ok());
    let mut scripts = files.flat_map(|file| {
        let folders = file.ancestors().skip(1).take(2).map(Path::to_owned).collect::<Vec<_>>();
        folders.into_iter().map(|folder| folder.join(SCRIPT))
    });
    scripts.find(|script| script.is_file()).and_then(|script| Some(script.to_str()?.to_owned()))
}
