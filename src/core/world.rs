//! Everything outside that one run of wanfo touches.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use jiff::ZonedDateTime;
use jiff::tz::TimeZone;

use super::change::Change;
use super::config::Config;
use super::facts::Facts;
use super::flow::{Flow, RouteAnswer};
use super::health::{EchoRequest, Reply};
use super::record::Record;
use super::script::{Call, Ending};
use super::service::{Check, CheckError};
use super::spool::{Message, Outlook};
use super::state::{Loaded, State};
use super::switch::Request;
use super::time::Moment;

/// What a run is given at its start and never changes under way.
pub struct Order<'a> {
    pub config: &'a Config,
    /// Why the config file is no good, in one line; `config` is the last one that was.
    pub config_broken: Option<&'a str>,
    pub machine: &'a Machine,
    pub request: Request,
    /// Who asks for that, as far as it is known.
    pub user: Option<&'a str>,
    /// For how long the run may stay while a link is undecided.
    pub stay: Duration,
}

/// What tells this machine from others.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The kernel's random name for this boot (random(4)).
    pub boot_id: String,
    /// What it calls itself.
    pub host: String,
    pub zone: TimeZone,
}

impl Machine {
    /// A moment as people on this machine are told it.
    pub fn local(&self, moment: Moment) -> ZonedDateTime {
        moment.wall.to_zoned_datetime(self.zone.clone())
    }
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// What comes back in a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Reply(Reply),
    Checked { link: usize, check: Check, result: Result<Duration, CheckError> },
}

/// The router that a run works on. There are four: the real one, the dry run, the one of a recording, and the tests' model.
///
/// An error of `now`, `load` and `look` ends the run before anything was decided; one of `save` ends it before its effect.
/// All else that fails is said, kept as a problem, and holds nothing up.
pub trait World {
    fn now(&mut self) -> Result<Moment>;

    /// What the last run left under `paths.run`.
    fn load(&mut self) -> Result<Loaded>;

    /// Replaces it whole. Killed before this returns, the next run finds the old one or the new one.
    fn save(&mut self, state: &State) -> Result<()>;

    /// The kernel, and the DHCP clients' leases.
    fn look(&mut self, config: &Config) -> Result<Facts>;

    /// Makes the changes in their order. Returns what went wrong, as sentences; whether it worked the next look tells.
    fn apply(&mut self, changes: &[Change]) -> Vec<String>;

    /// Which way the kernel would send this now, by all its rules and routes.
    fn way(&mut self, flow: &Flow) -> Result<RouteAnswer>;

    /// Sends the echo requests. Each stays open until the run ends; what comes of it `listen` tells. The last one may be
    /// waited for here, for up to `patience`.
    fn ping(&mut self, requests: &[EchoRequest], patience: Duration);

    /// Asks this under the uid of the link. What comes of it `listen` tells, some seconds later at most.
    fn check(&mut self, link: usize, uid: Option<u32>, check: &Check);

    /// Waits until something comes back, for up to `limit`, and returns all that has.
    fn listen(&mut self, limit: Duration) -> Vec<Heard>;

    /// Runs the exit script, which may object.
    fn ask(&mut self, script: &Path, call: &Call, limit: Duration) -> Ending;

    /// Runs the action script.
    fn run(&mut self, script: &Path, call: &Call, limit: Duration) -> Ending;

    /// Deletes the tracked flows that use one of these addresses; how many there were, or why it failed.
    fn flush(&mut self, addresses: &[IpAddr]) -> Result<u32, String>;

    /// Bytes, both ways, by the interface's own counter.
    fn bytes(&mut self, interface: &str) -> Option<u64>;

    /// Hands a mail on; one that was handed on before is not doubled.
    fn spool(&mut self, mail: &Message) -> Result<()>;

    /// Has a mail that is due sent, and brings up to date what is known of the spool.
    fn wake(&mut self, outlook: &mut Outlook) -> Result<()>;

    /// Adds to the history. One that stands there already is told apart when it is read.
    fn record(&mut self, records: &[Record]) -> Result<()>;

    /// The link of a `force-failover --hold`, which outlives a reboot.
    fn load_hold(&mut self) -> Result<Option<String>>;

    fn save_hold(&mut self, link: Option<&str>) -> Result<()>;

    /// Keeps what this run asked and heard, for `wanfo replay`; the state is the one that it leaves.
    fn keep_round(&mut self, order: &Order, state: &State) -> Result<()>;

    /// A log line.
    fn say(&mut self, level: Level, line: &str);
}
