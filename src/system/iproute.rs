//! The one place that changes routes and rules, by running `ip` (iproute2), one command a change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::{self, Unfinished};
use crate::core::change::Change;

/// `ip` needs a millisecond, and waits for whatever else changes the network (rtnl_mutex); one that needs this long will not
/// come back.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How the kernel refuses what is there already: EEXIST, and of addresses its newer versions say so in words.
const ALREADY_THERE: [&str; 2] = ["File exists", "ddress already assigned"];

/// `ip` says one line; a broken one may say anything. In characters.
const QUOTE_LIMIT: usize = 300;

/// Makes the changes in their order. Returns what went wrong, as sentences: one that fails does not keep the others
/// from being tried, unless they are bound to fail as well.
///
/// Whether it worked is for the caller to see in the kernel: `ip` may fail because the route is there already, or is
/// gone already.
pub fn apply(changes: &[Change]) -> Vec<String> {
    let ip = match program() {
        Ok(ip) => ip,
        Err(missing) => return vec![missing],
    };
    let mut failures = Vec::new();
    for (done, change) in changes.iter().enumerate() {
        let Err((failure, hopeless)) = make(&ip, change) else { continue };
        failures.push(failure);
        let left = changes.len() - done - 1;
        if hopeless && left > 0 {
            failures.push(format!("{left} more `ip` commands were not tried; the next run tries again"));
        }
        if hopeless {
            break;
        }
    }
    failures
}

/// `ip`, or the sentence that says that it is missing.
pub fn program() -> Result<PathBuf, String> {
    let missing =
        || "there is no `ip` on this machine (/usr/sbin/ip to /bin/ip); install iproute2".to_owned();
    process::program("ip").ok_or_else(missing)
}

/// The failure as a sentence, and whether further commands would fail the same way.
fn make(ip: &Path, change: &Change) -> Result<(), (String, bool)> {
    let finished = match process::run(ip, &change.ip_arguments(), TIME_LIMIT) {
        Ok(finished) => finished,
        Err(Unfinished::TimeLimit) => {
            let limit = humantime::format_duration(TIME_LIMIT);
            return Err((format!("`{change}` did not end within {limit} and was killed"), true));
        }
        Err(Unfinished::Error(error)) => {
            return Err((format!("`{change}` could not be run ({}): {error}", ip.display()), true));
        }
    };
    if finished.status.success() {
        if !finished.stderr.is_empty() {
            log::info!("`{change}` says: {}", quotable(&finished.stderr));
        }
        return Ok(());
    }
    let said = match finished.stderr.as_str() {
        "" => "it said nothing".to_owned(),
        text => quotable(text),
    };
    let already_there = ALREADY_THERE.iter().any(|words| said.contains(words));
    if already_there && matches!(change, Change::RestoreAddress(_)) {
        return Ok(());
    }
    let no_permission = said.contains("Operation not permitted");
    let advice = if no_permission {
        "; changing routes needs root (CAP_NET_ADMIN)".to_owned()
    } else if already_there {
        format!("; {}", change.cure_of_conflict())
    } else {
        String::new()
    };
    Err((format!("`{change}` failed ({}): {said}{advice}", finished.status), no_permission))
}

/// A program's words as a part of a sentence, which goes to terminals, the journal and the state file.
fn quotable(text: &str) -> String {
    let one_line = text.lines().collect::<Vec<_>>().join("; ");
    one_line.chars().filter(|c| !c.is_control()).take(QUOTE_LIMIT).collect()
}
