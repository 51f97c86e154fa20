//! Log lines on stderr, which the journal or cron picks up.

use std::io::{ErrorKind, stderr};
use std::sync::atomic::{AtomicU32, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::sys::stat::fstat;

use super::output::STDERR;
use crate::core::spool::one_line;

struct Stderr {
    /// Stderr is systemd's journal: each line begins with its priority (sd-daemon(3)).
    to_journal: bool,
    /// Lines that nobody read in time.
    dropped: AtomicU32,
}

/// Lines of this level and above go to stderr from now on.
pub fn start(level: LevelFilter) {
    // It fails only where a logger is there already, as in a test.
    let _ = log::set_boxed_logger(Box::new(Stderr { to_journal: is_journal(), dropped: AtomicU32::new(0) }));
    log::set_max_level(level);
}

/// Whether JOURNAL_STREAM names the device and the inode of our stderr (systemd.exec(5)). The variable is inherited
/// also by those whose stderr is a file.
fn is_journal() -> bool {
    let Ok(journal) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(stderr()).is_ok_and(|stat| journal == format!("{}:{}", stat.st_dev, stat.st_ino))
}

impl Stderr {
    fn line(&self, level: Level, text: &str) -> String {
        // Nothing of ours is `info` for the journal: the unit says LogLevelMax=notice, to silence PID 1's own lines.
        let priority = match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 5,
            Level::Debug | Level::Trace => 7,
        };
        match self.to_journal {
            true => format!("<{priority}>{text}\n"),
            false => format!("wanfo: {text}\n"),
        }
    }
}

impl Log for Stderr {
    /// Libraries tell of what they do, too: of addresses and headers that are secrets.
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        for line in record.args().to_string().lines() {
            // What a relay says, or a damaged file, must not write to the admin's terminal.
            let line = self.line(record.level(), &one_line(line));
            let written = match self.dropped.load(Ordering::Relaxed) {
                0 => STDERR.write(&line),
                count => {
                    let told = format!("{count} lines of the log were dropped, since nobody read them");
                    STDERR.write(&(self.line(Level::Warn, &told) + &line))
                }
            };
            match written {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
                // Nowhere to complain to when stderr is closed.
                _ => self.dropped.store(0, Ordering::Relaxed),
            }
        }
    }

    fn flush(&self) {}
}
