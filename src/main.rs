use std::process::ExitCode;

use clap::Parser;
use dlmalloc::GlobalDlmalloc;
use wanfo::cli::{self, Cli};
use wanfo::commands;

/// A run lives for two milliseconds, a tenth of which the allocators of C libraries would take: musl's asks the kernel for
/// every bigger piece and gives each back.
#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|mut error| {
        use clap::error::{ContextKind, ContextValue};
        let words: Vec<String> =
            std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        if let (true, Some(tip)) = (error.use_stderr(), cli::tip(&words)) {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        error.exit()
    });
    match commands::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            log::error!("{error:#}");
            commands::Exit::Failed.into()
        }
    }
}
