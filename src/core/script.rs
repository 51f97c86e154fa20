//! What the action script and the exit script are told.
//!
//! Arguments and words are AstLinux's, so that a script written for its WAN Failover runs unchanged; what it cannot
//! know stands in the environment as `WANFO_*`.

use std::net::IpAddr;

use jiff::Zoned;

use super::config::Config;
use super::gateway::Line;
use super::state::{State, Switching};

/// How a script is started.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// `STATE primary_if primary_gw secondary_if secondary_gw secondary_gwipv6`; what is not known is empty.
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

/// The first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The primary carries the traffic again.
    Primary,
    /// A backup carries it.
    Secondary,
    /// May the backup be left? Anything but exit code 0 means: not now.
    SecondaryExit,
}

impl Word {
    pub fn as_str(self) -> &'static str {
        match self {
            Word::Primary => "PRIMARY",
            Word::Secondary => "SECONDARY",
            Word::SecondaryExit => "SECONDARY_EXIT",
        }
    }
}

/// The call after a switch.
pub fn after_switch(
    config: &Config,
    lines: &[Line],
    state: &State,
    switching: &Switching,
    at: &Zoned,
) -> Call {
    let entered = place_of(config, &switching.to);
    let left = place_of(config, &switching.from);
    let (word, backup) = match entered {
        Some(0) => (Word::Primary, left),
        _ => (Word::Secondary, entered),
    };
    let mut call = Call::new(word, backup, lines);
    call.tell("FROM", &switching.from);
    call.tell("TO", &switching.to);
    call.tell("REASON", &state.reason);
    call.tell("FORCED", if state.forced { "1" } else { "0" });
    call.tell_moment(at);
    call.tell_line("FROM", left.and_then(|index| lines.get(index)));
    call.tell_line("TO", entered.and_then(|index| lines.get(index)));
    call
}

/// The question before a failback from link `active` to link `to`.
pub fn before_failback(
    config: &Config,
    lines: &[Line],
    active: usize,
    to: usize,
    reason: &str,
    at: &Zoned,
) -> Call {
    let mut call = Call::new(Word::SecondaryExit, Some(active), lines);
    call.tell("FROM", &config.links[active].name);
    call.tell("TO", &config.links[to].name);
    call.tell("REASON", reason);
    call.tell("FORCED", "0");
    call.tell_moment(at);
    call.tell_line("FROM", lines.get(active));
    call.tell_line("TO", lines.get(to));
    call
}

impl Call {
    fn new(word: Word, backup: Option<usize>, lines: &[Line]) -> Call {
        let primary = lines.first();
        let backup = backup.and_then(|index| lines.get(index));
        let arguments = [
            word.as_str().to_owned(),
            interface(primary),
            gateway(primary),
            interface(backup),
            gateway(backup),
            gateway6(backup),
        ];
        let environment = vec![("WANFO_STATE".to_owned(), word.as_str().to_owned())];
        Call { arguments: arguments.to_vec(), environment }
    }

    fn tell(&mut self, name: &str, value: &str) {
        // A value with a NUL byte could not be handed over (execve(2)); no other byte can do harm there.
        self.environment.push((format!("WANFO_{name}"), value.replace('\0', "")));
    }

    fn tell_moment(&mut self, at: &Zoned) {
        self.tell("TIME", &at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    }

    fn tell_line(&mut self, which: &str, line: Option<&Line>) {
        self.tell(&format!("{which}_INTERFACE"), &interface(line));
        self.tell(&format!("{which}_GATEWAY"), &gateway(line));
        self.tell(&format!("{which}_GATEWAY6"), &gateway6(line));
        let addresses: Vec<String> =
            line.map(Line::addresses).unwrap_or_default().iter().map(IpAddr::to_string).collect();
        self.tell(&format!("{which}_ADDRESSES"), &addresses.join(" "));
    }
}

fn place_of(config: &Config, name: &str) -> Option<usize> {
    config.links.iter().position(|link| link.name == name)
}

fn interface(line: Option<&Line>) -> String {
    line.and_then(|line| line.interface.clone()).unwrap_or_default()
}

fn gateway(line: Option<&Line>) -> String {
    told(line.and_then(|line| line.v4.as_ref().ok()).and_then(|way| way.via))
}

fn gateway6(line: Option<&Line>) -> String {
    told(line.and_then(|line| line.v6.as_ref().ok()).and_then(|way| way.via))
}

fn told(address: Option<IpAddr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}
