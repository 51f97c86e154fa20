use std::process::ExitCode;

use clap::Parser;
use wanfo::cli::Cli;
use wanfo::commands;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            log::error!("{error:#}");
            commands::Exit::Failed.into()
        }
    }
}
