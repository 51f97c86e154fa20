//! What one run leaves to the next: the file `state.json` under `paths.run`.
//!
//! It is a contract between versions of wanfo and has types of its own. Times are those of CLOCK_BOOTTIME and mean
//! nothing without the boot id; the wall clock is never stored.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::Config;
use super::facts::Assignment;
use super::gateway::Source;
use super::health::{Health, Law};
use super::hold::{Hold, Stay};
use super::minutes::Minutes;
use super::problem::Problem;
use super::record::Record;
use super::service::Services;
use super::spool::{Message, Outlook};
use super::switch::{Cause, Switch, Switching};
use super::time::BootTime;
use super::usage::Usage;

/// Raised when older readers would misunderstand the file. A file of another version is set aside, not guessed at.
pub const VERSION: u32 = 2;

/// How long the exit script's no stands before it is asked again.
const VETO_STANDS: Duration = Duration::from_secs(10);

/// One that hangs is asked again after pauses that double up to this: while it hangs nobody looks at the lines.
const LONGEST_VETO: Duration = Duration::from_secs(600);

/// One of three runs may be out of step: a check by hand, or a run that stayed.
const BEATS: usize = 3;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub version: u32,
    /// /proc/sys/kernel/random/boot_id of the boot that the times belong to.
    pub boot_id: String,
    /// `routing.protocol` of the run that wrote this; `None`: it did not say yet.
    pub protocol: Option<u8>,
    /// What wanfo has put on interfaces.
    pub own_addresses: Vec<Assignment>,
    /// The name of the link that carries the default traffic.
    pub active: String,
    /// When the active link became so; `None`: it was so when wanfo first looked.
    pub switched_at: Option<BootTime>,
    pub reason: String,
    /// Whether a person asked for the switch.
    pub forced: bool,
    pub hold: Hold,
    /// The link that was held when the machine went down, until it carries the traffic again.
    pub held_before: Option<String>,
    /// The link that is held, as the file under `paths.state` has it.
    pub hold_on_disk: Option<String>,
    /// A switch that was begun and not yet seen to be in the kernel.
    pub switching: Option<Switching>,
    /// Until then no automatic switch leaves the active link; `None`: nothing keeps it, or it is held until failback.
    pub next_switch_after: Option<BootTime>,
    /// The exit script's answer, when it was no.
    pub veto: Option<Veto>,
    /// Since when the exit script is not there to be asked, while a failback waits for it.
    pub exit_script_missed_since: Option<BootTime>,
    /// The config file is no good, and the runs go on by the last one that was.
    pub config_broken: Option<ConfigBroken>,
    /// The bytes over the backup that is active.
    pub usage: Option<Usage>,
    /// What is to be told and written down, and was not seen to be done yet.
    pub pending: Pending,
    /// What is known of the mails in the spool.
    pub outlook: Outlook,
    /// When a repair was last written into the history.
    pub repair_recorded_at: Option<BootTime>,
    /// When anything was.
    #[serde(default)]
    pub recorded_at: Option<BootTime>,
    pub checked_at: BootTime,
    /// How far apart the latest runs were.
    #[serde(default)]
    pub beats: [Option<Duration>; BEATS],
    /// The last run that learnt something of the active link.
    pub watched_at: BootTime,
    pub problems: Vec<Problem>,
    /// In the config's order.
    pub links: Vec<LinkState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veto {
    pub at: BootTime,
    /// How often in a row the script was killed at its time limit.
    pub hangs: u32,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigBroken {
    pub since: BootTime,
    pub is_mailed: bool,
}

/// Told only after it is on disk here, and struck out only after it is where it belongs: killed in between, the next run
/// does it again, and what is there already is not doubled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    pub mails: Vec<Message>,
    pub records: Vec<Record>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkState {
    pub name: String,
    pub interface: Option<String>,
    pub gateway: Option<IpAddr>,
    pub gateway6: Option<IpAddr>,
    pub gateway_source: Option<Source>,
    pub gateway6_source: Option<Source>,
    /// Its own addresses; the last known ones while it has none.
    pub addresses: Vec<IpAddr>,
    #[serde(flatten)]
    pub health: Health,
    /// Whether it has answered since boot.
    pub ever_good: bool,
    /// Since when the verdict stands; `None`: since before the first run.
    pub verdict_since: Option<BootTime>,
    /// How long the latest outage was that has ended.
    pub outage_ms: Option<u64>,
    /// The last sign of life before it went down, while it is.
    pub silent_since: Option<BootTime>,
    /// How patient the config is with it. What is missing in a file of 0.1.0 from before the law of silence has a default.
    #[serde(default)]
    pub law: Law,
    pub routes_only: bool,
    #[serde(default)]
    pub minutes: Minutes,
    /// The config names targets for it.
    #[serde(default)]
    pub has_targets: bool,
    pub probed_at: Option<BootTime>,
    /// Why it did not answer when it was asked last.
    pub last_error: Option<String>,
    pub targets: Vec<TargetState>,
    /// What is missing in a file from before the checks has a default.
    #[serde(default)]
    pub services: Services,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetState {
    pub address: IpAddr,
    /// Its last answer.
    pub heard_at: Option<BootTime>,
    /// It has fallen silent over every link, and so says nothing of a line.
    #[serde(default)]
    pub at_fault: bool,
    /// In how many runs it was asked and did not answer, since it is a target here.
    #[serde(default)]
    pub asked_in_vain: u32,
    pub rtt_ms: Option<f64>,
    pub error: Option<String>,
}

/// What can be made of the state file.
#[derive(Debug, Clone, PartialEq)]
pub enum Loaded {
    Known(Box<State>),
    /// No file, or one from before the last boot: nothing is known, and nothing is wrong.
    Nothing,
    /// It cannot be used; the reason.
    Damaged(String),
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl State {
    /// Reads the text of a state file that was found under this boot.
    pub fn load(text: &str, boot_id: &str) -> Loaded {
        // The blanks behind it only keep room on the disk.
        let text = text.trim_ascii_end();
        let version = match serde_json::from_str::<Versioned>(text) {
            Ok(Versioned { version }) => version,
            Err(_) if text.is_empty() => return Loaded::Damaged("it is empty".to_owned()),
            Err(error) => return Loaded::Damaged(format!("it is no state of wanfo's: {error}")),
        };
        if version != VERSION {
            return Loaded::Damaged(format!("it has version {version}, this wanfo writes {VERSION}"));
        }
        match serde_json::from_str::<State>(text) {
            Ok(state) if state.boot_id != boot_id => Loaded::Nothing,
            Ok(state) => Loaded::Known(Box::new(state)),
            Err(error) => Loaded::Damaged(error.to_string()),
        }
    }

    /// Under which boot a state file was written, whatever else is in it.
    pub fn boot_of(text: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Written {
            boot_id: String,
        }
        serde_json::from_str(text.trim_ascii_end()).ok().map(|Written { boot_id }| boot_id)
    }

    /// The state at the first run after a boot: nothing is known, no delay is running, and the kernel's own routes
    /// have told which link is active.
    pub fn fresh(boot_id: &str, active: &str, now: BootTime) -> State {
        State {
            version: VERSION,
            boot_id: boot_id.to_owned(),
            protocol: None,
            own_addresses: Vec::new(),
            active: active.to_owned(),
            switched_at: None,
            reason: "found so at the first run".to_owned(),
            forced: false,
            hold: Hold::No,
            held_before: None,
            hold_on_disk: None,
            switching: None,
            next_switch_after: None,
            veto: None,
            exit_script_missed_since: None,
            config_broken: None,
            usage: None,
            pending: Pending::default(),
            outlook: Outlook::default(),
            repair_recorded_at: None,
            recorded_at: None,
            checked_at: now,
            beats: [None; BEATS],
            watched_at: now,
            problems: Vec::new(),
            links: Vec::new(),
        }
    }

    /// At boot a backup may carry the traffic from the start, its lease being there first. The scripts and the mails are
    /// told as if it had been switched to; no delay follows from it.
    pub fn find_on_a_backup(&mut self, config: &Config) {
        let from = &config.links[0].name;
        if self.active != *from {
            let (from, to, cause) = (from.clone(), self.active.clone(), Cause::Found);
            let (outage_ms, backup_bytes) = (None, None);
            self.switching =
                Some(Switching { from, to, cause, outage_ms, backup_bytes, script: None, script_starts: 0 });
        }
    }

    /// Puts the intent of a switch into words, before anything is done about it. `counter` is what the byte counter of
    /// the link that is entered shows.
    pub fn begin_switch(&mut self, switch: &Switch, config: &Config, counter: Option<u64>, now: BootTime) {
        let to = config.links[switch.to].name.clone();
        let from = std::mem::replace(&mut self.active, to.clone());
        let outage_ms = self.link(&to).and_then(|link| match (link.verdict_since, self.switched_at) {
            (Some(up_again), Some(left)) if up_again >= left => link.outage_ms,
            _ => None,
        });
        let backup_bytes = self.usage.map(|usage| usage.total);
        self.usage = counter.filter(|_| switch.to > 0).map(Usage::start);
        self.switching = Some(Switching {
            from,
            to,
            cause: switch.cause,
            outage_ms,
            backup_bytes,
            script: None,
            script_starts: 0,
        });
        self.switched_at = Some(now);
        self.reason = switch.reason.clone();
        self.forced = matches!(switch.cause, Cause::Forced | Cause::Hold);
        self.hold = switch.hold;
        // At boot the first line to come up is taken at once; that the preferred one is a second later is no reason to
        // wait out a delay.
        let left = self.switching.as_ref().and_then(|switching| self.link(&switching.from));
        if !self.forced && left.is_some_and(|link| !link.ever_good) {
            self.hold = Hold::Until(now);
        }
        (self.veto, self.exit_script_missed_since) = (None, None);
        if matches!(switch.cause, Cause::Forced | Cause::Failback | Cause::Hold) {
            self.held_before = None;
        }
    }

    /// A run has ended, whose links are not in here yet.
    pub fn note_run(&mut self, now: BootTime) {
        let is_first = self.links.is_empty();
        if let Some(beat) = now.since(self.checked_at).filter(|beat| !beat.is_zero() && !is_first) {
            self.beats.rotate_right(1);
            self.beats[0] = Some(beat);
        }
        self.checked_at = now;
    }

    /// How far apart the runs are, as far as that is known.
    pub fn beat(&self) -> Option<Duration> {
        let mut beats: Vec<Duration> = self.beats.into_iter().flatten().collect();
        beats.sort_unstable();
        beats.get(beats.len() / 2).copied()
    }

    /// The link that the admin wants held, over a reboot as well.
    pub fn held(&self) -> Option<&str> {
        match self.hold {
            Hold::UntilFailback => Some(&self.active),
            Hold::No | Hold::Until(_) => self.held_before.as_deref(),
        }
    }

    /// A name for what happens in this run: no other run of any boot has the same.
    pub fn id_of_now(&self, what: &str) -> String {
        self.id_at(self.checked_at, what)
    }

    /// A name for the switch that is under way; one run may make two.
    pub fn id_of_switch(&self) -> String {
        self.id_at(self.switched_at.unwrap_or(self.checked_at), "switch")
    }

    fn id_at(&self, at: BootTime, what: &str) -> String {
        let boot = self.boot_id.split('-').next().unwrap_or_default();
        format!("{boot}-{}-{what}", at.0)
    }

    /// When the next automatic switch may leave the active link.
    pub fn schedule(&mut self, config: &Config, now: BootTime) {
        let delay = self.active_in(config).map_or(Duration::ZERO, |active| config.links[active].delay);
        self.next_switch_after = match self.stay(delay, now) {
            Stay::For(left) => Some(now.plus(left)),
            Stay::Free | Stay::UntilFailback => None,
        };
    }

    /// The exit script's no, as long as it is not to be asked again.
    pub fn standing_veto(&self, now: BootTime) -> Option<&Veto> {
        let stands = |veto: &Veto| {
            let doubled = 1u32.checked_shl(veto.hangs).and_then(|times| VETO_STANDS.checked_mul(times));
            doubled.unwrap_or(LONGEST_VETO).min(LONGEST_VETO)
        };
        self.veto.as_ref().filter(|veto| now.since(veto.at).is_some_and(|time| time < stands(veto)))
    }

    pub fn link(&self, name: &str) -> Option<&LinkState> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The index of the active link in the config, unless the config has lost it, or lets it carry the default traffic
    /// no longer.
    pub fn active_in(&self, config: &Config) -> Option<usize> {
        config.links.iter().position(|link| link.name == self.active && !link.routes_only)
    }

    /// Whether it was left by a run with the same links in the same order.
    pub fn knows_all_of(&self, config: &Config) -> bool {
        let names = config.links.iter().map(|link| &link.name);
        self.active_in(config).is_some() && self.links.iter().map(|link| &link.name).eq(names)
    }

    /// What keeps an automatic switch from leaving the active link, whose delay is given.
    pub fn stay(&self, delay: Duration, now: BootTime) -> Stay {
        let until = match self.hold {
            Hold::UntilFailback => return Stay::UntilFailback,
            Hold::Until(until) => until,
            Hold::No => match self.switched_at {
                Some(at) if at <= now => at.plus(delay),
                // Unknown is not "just now", and a time that lies ahead is not to be believed.
                _ => return Stay::Free,
            },
        };
        match until.since(now) {
            Some(left) if !left.is_zero() => Stay::For(left),
            _ => Stay::Free,
        }
    }
}
