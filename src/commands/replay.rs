use anyhow::Result;

use super::{Exit, say};
use crate::cli;
use crate::core::config::Config;
use crate::core::replay::{fit, play};
use crate::core::report::replay::text;
use crate::system::{clock, recording};

/// More sentences than this about what cannot be read would push the rest off the screen.
const WARNINGS: usize = 5;

/// Plays what the runs of the last day heard through the config. It takes no lock and changes nothing.
pub fn run(config: &Config, arguments: &cli::Replay) -> Result<Exit> {
    let files = match &arguments.files[..] {
        [] => recording::files(&config.paths.run),
        files => files.to_vec(),
    };
    if files.is_empty() {
        log::error!(
            "there is no recording in {}: set `probe.record: true` in the config, or name a file",
            config.paths.run.display()
        );
        return Ok(Exit::Failed);
    }
    let recording = recording::read(&files);
    recording.left_out.iter().take(WARNINGS).for_each(|sentence| log::warn!("{sentence}"));
    if recording.left_out.len() > WARNINGS {
        log::warn!("and more like these");
    }
    let (config, left_out) = match fit(config, &recording) {
        Ok(fitting) => fitting,
        Err(why) => {
            log::error!("the recording cannot be played: {why}");
            return Ok(Exit::Failed);
        }
    };
    left_out.iter().for_each(|sentence| log::warn!("{sentence}"));
    say(text(&play(&recording, &config)?, &clock::zone()))?;
    Ok(Exit::Done)
}
