//! What the admin's scripts are told.
//!
//! Arguments and words of the action script and the exit script are AstLinux's, so that a script written for its WAN Failover runs unchanged; what it cannot
//! know stands in the environment as `WANFO_*`.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use jiff::ZonedDateTime;
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::gateway::ResolvedLink;
use super::state::State;
use super::switch::Switching;

/// How a script ended. Shown as a clause: "exit code 0", "killed by signal 9", "killed after 60s".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Exit(i32),
    /// By a signal (signal(7)) that was not ours.
    Signal(i32),
    /// It had not ended within its time, and was killed with everything it had started.
    TimeLimit(Duration),
    /// It is not there, cannot be executed, or somebody else may write it: the sentence names the cure. Trying again
    /// helps nobody.
    Refused(String),
    /// It could not be started for a reason that may pass, as too little memory: the sentence.
    NotStarted(String),
}

impl Ending {
    pub fn success(&self) -> bool {
        *self == Ending::Exit(0)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Ending::Exit(code) => write!(f, "exit code {code}"),
            Ending::Signal(signal) => write!(f, "killed by signal {signal}"),
            Ending::TimeLimit(limit) => write!(f, "killed after {}", humantime::format_duration(*limit)),
            Ending::Refused(why) | Ending::NotStarted(why) => f.write_str(why),
        }
    }
}

/// How a script is started.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Of the link script `DOWN|UP NAME INTERFACE GATEWAY`, of the others `STATE primary_if primary_gw secondary_if secondary_gw secondary_gwipv6`; what is not known is empty.
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
    resolved: &[ResolvedLink],
    state: &State,
    switching: &Switching,
    at: &ZonedDateTime,
) -> Call {
    let entered = index_of(config, &switching.to);
    let left = index_of(config, &switching.from);
    let (word, backup) = match entered {
        Some(0) => (Word::Primary, left),
        _ => (Word::Secondary, entered),
    };
    let mut call = Call::new(word, backup, resolved);
    call.tell("FROM", &switching.from);
    call.tell("TO", &switching.to);
    call.tell("REASON", &state.reason);
    call.tell("FORCED", if state.forced { "1" } else { "0" });
    call.tell_moment(at);
    call.tell_line("FROM", left.and_then(|index| resolved.get(index)));
    call.tell_line("TO", entered.and_then(|index| resolved.get(index)));
    call
}

/// The question before a failback from link `active` to link `to`.
pub fn before_failback(
    config: &Config,
    resolved: &[ResolvedLink],
    active: usize,
    to: usize,
    reason: &str,
    at: &ZonedDateTime,
) -> Call {
    let mut call = Call::new(Word::SecondaryExit, Some(active), resolved);
    call.tell("FROM", &config.links[active].name);
    call.tell("TO", &config.links[to].name);
    call.tell("REASON", reason);
    call.tell("FORCED", "0");
    call.tell_moment(at);
    call.tell_line("FROM", resolved.get(active));
    call.tell_line("TO", resolved.get(to));
    call
}

/// The call after a link went down (`why` tells why) or came up.
pub fn after_change(
    config: &Config,
    state: &State,
    link: &str,
    why: Option<&str>,
    at: &ZonedDateTime,
) -> Call {
    let word = if why.is_some() { "DOWN" } else { "UP" };
    let known = state.link(link);
    // The interface may have gone with the modem that is to be reset.
    let in_config = index_of(config, link).and_then(|index| config.links[index].interface.clone());
    let interface = known.and_then(|known| known.interface.clone()).or(in_config).unwrap_or_default();
    let [via, via6] =
        [known.and_then(|known| known.gateway), known.and_then(|known| known.gateway6)].map(told);
    let addresses = known.map(|known| known.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>());
    let arguments = [word, link, &interface, &via].map(str::to_owned).to_vec();
    let mut call = Call { arguments, environment: Vec::new() };
    // Not WANFO_STATE: no run waits for this script, so it may run every command of wanfo's.
    call.tell("LINK", link);
    call.tell("LINK_STATE", word);
    call.tell("LINK_INTERFACE", &interface);
    call.tell("LINK_GATEWAY", &via);
    call.tell("LINK_GATEWAY6", &via6);
    call.tell("LINK_ADDRESSES", &addresses.unwrap_or_default().join(" "));
    call.tell("REASON", why.unwrap_or_default());
    call.tell_moment(at);
    call
}

impl Call {
    fn new(word: Word, backup: Option<usize>, resolved: &[ResolvedLink]) -> Call {
        let primary = resolved.first();
        let backup = backup.and_then(|index| resolved.get(index));
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

    fn tell_moment(&mut self, at: &ZonedDateTime) {
        self.tell("TIME", &at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    }

    fn tell_line(&mut self, which: &str, resolved_link: Option<&ResolvedLink>) {
        self.tell(&format!("{which}_INTERFACE"), &interface(resolved_link));
        self.tell(&format!("{which}_GATEWAY"), &gateway(resolved_link));
        self.tell(&format!("{which}_GATEWAY6"), &gateway6(resolved_link));
        let addresses: Vec<String> = resolved_link
            .map(ResolvedLink::addresses)
            .unwrap_or_default()
            .iter()
            .map(IpAddr::to_string)
            .collect();
        self.tell(&format!("{which}_ADDRESSES"), &addresses.join(" "));
    }
}

fn index_of(config: &Config, name: &str) -> Option<usize> {
    config.links.iter().position(|link| link.name == name)
}

fn interface(resolved_link: Option<&ResolvedLink>) -> String {
    resolved_link.and_then(|resolved_link| resolved_link.interface.clone()).unwrap_or_default()
}

fn gateway(resolved_link: Option<&ResolvedLink>) -> String {
    told(
        resolved_link
            .and_then(|resolved_link| resolved_link.v4.as_ref().ok())
            .and_then(|next_hop| next_hop.via),
    )
}

fn gateway6(resolved_link: Option<&ResolvedLink>) -> String {
    told(
        resolved_link
            .and_then(|resolved_link| resolved_link.v6.as_ref().ok())
            .and_then(|next_hop| next_hop.via),
    )
}

fn told(address: Option<IpAddr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}
