//! Log lines on stderr, which the journal or cron picks up.

use std::io::{IsTerminal, Write, stderr};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::core::spool::one_line;

struct Stderr {
    /// systemd says that stderr is its journal (JOURNAL_STREAM, systemd.exec(5)): each line begins with its
    /// priority (sd-daemon(3)).
    to_journal: bool,
}

/// Lines of this level and above go to stderr from now on.
pub fn start(level: LevelFilter) {
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !stderr().is_terminal();
    // It fails only where a logger is there already, as in a test.
    let _ = log::set_boxed_logger(Box::new(Stderr { to_journal }));
    log::set_max_level(level);
}

impl Log for Stderr {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        // Nothing of ours is `info` for the journal: the unit says LogLevelMax=notice, to silence PID 1's own lines.
        let priority = match record.level() {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 5,
            Level::Debug | Level::Trace => 7,
        };
        for line in record.args().to_string().lines() {
            // What a relay says, or a damaged file, must not write to the admin's terminal.
            let line = one_line(line);
            // Nowhere to complain to when stderr is closed.
            let _ = match self.to_journal {
                true => writeln!(stderr(), "<{priority}>{line}"),
                false => writeln!(stderr(), "wanfo: {line}"),
            };
        }
    }

    fn flush(&self) {}
}
