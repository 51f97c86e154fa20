//! The configuration: what the admin wants, with every default filled in.
//!
//! The way of a file: `tree` makes nodes of the text, `read` finds the keys, `value` understands each value,
//! `check` compares the links with each other.

mod check;
mod fields;
/// The text of a configuration file, read.
pub mod read;
mod tree;
mod value;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde::{Serialize, Serializer};

use super::service::Check;

/// The whole configuration file, checked and complete.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// 2 to 8 links in order of preference; the first is the primary.
    pub links: Vec<Link>,
    pub probe: Probe,
    pub routing: Routing,
    /// Run after every switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_script: Option<PathBuf>,
    /// Asked before a failback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_script: Option<PathBuf>,
    /// Told of every link that goes down or comes up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_script: Option<PathBuf>,
    /// The time limit of each script.
    #[serde(serialize_with = "as_written")]
    pub script_timeout: Duration,
    /// After a verified switch delete the flows that still use the old link's address.
    pub flush_conntrack: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    pub paths: Paths,
    pub log_level: LogLevel,
}

/// Who is told, of what, and how it gets there. At least one of `mail` and `webhook` is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notify {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub mail: Option<ByMail>,
    /// At least one.
    pub events: Vec<NotifyEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ByMail {
    /// One or more bare mail addresses, ASCII, with no character that means something to SMTP or a mail header.
    pub to: Vec<String>,
    /// The same, for the sender.
    pub from: String,
    #[serde(flatten)]
    pub relay: Relay,
}

/// Where a POST tells it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Webhook {
    /// A file with the address, and perhaps a token; never the address itself, which is a key to whoever has it.
    pub url_file: PathBuf,
    pub template: Template,
}

/// Whose words it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    Ntfy,
    /// Mattermost's too.
    Slack,
    Telegram,
    HomeAssistant,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyEvent {
    /// Every change of the active link.
    Switch,
    /// A waiting backup went down or came back.
    Standby,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Relay {
    Smtp(Smtp),
    /// A program that takes a mail on its standard input, as sendmail(8) does.
    Sendmail(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Smtp {
    /// A host name or an address, which the relay's certificate must be for.
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    /// None: no AUTH. With it exactly one of `password_file` and `password_credential` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file with the password; never the password itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The name of a systemd credential with the password ($CREDENTIALS_DIRECTORY, systemd.exec(5)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_credential: Option<String>,
    /// A PEM file with the certificate of a private authority, trusted besides the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    None,
    /// Required, not "if the relay has it": whoever sits in between could strike that offer out.
    Starttls,
    /// From the first byte on ("SMTPS").
    Tls,
}

impl Tls {
    /// The port that a relay has it on where nothing else is said (RFC 5321, 6409 and 8314).
    pub fn default_port(self) -> u16 {
        match self {
            Tls::None => 25,
            Tls::Starttls => 587,
            Tls::Tls => 465,
        }
    }
}

/// One WAN line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Link {
    /// Letters, digits, '-' and '_'; unique.
    pub name: String,
    /// Missing only where `gateway` is an address: the interface whose subnet holds it is found on every run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Only ever an IPv4 address.
    pub gateway: Gateway,
    /// Only ever an IPv6 address.
    pub gateway6: Gateway,
    /// Static addresses, each with its prefix length, that wanfo puts on `interface`, which is then there.
    pub address: Vec<IpNetwork>,
    pub targets: Vec<Target>,
    /// How many targets have to show signs of life.
    pub quorum: u32,
    /// What is asked through it to learn whether it is of any use.
    pub checks: Vec<Check>,
    /// The time after a switch to this link in which no automatic switch leaves it.
    #[serde(serialize_with = "as_written")]
    pub delay: Duration,
    /// How long it has to answer, after it was down, before it is up again; doubles with relapses.
    #[serde(serialize_with = "as_written")]
    pub stable: Duration,
    /// How often this link is probed while it waits, healthy, as a backup; zero is every run.
    #[serde(serialize_with = "as_written")]
    pub standby_interval: Duration,
    /// Destinations that use this link all the time.
    pub routes: Vec<IpNetwork>,
    /// It carries these, and never the default traffic. Never true of the first link.
    pub routes_only: bool,
    /// What the router is asked on this link's address it answers by this link, whatever is active.
    pub inbound: bool,
}

/// Where a link's gateway comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Gateway {
    /// What the kernel or the DHCP client knows.
    Auto,
    /// There is none: a point-to-point interface.
    None,
    #[serde(untagged)]
    Address(IpAddr),
}

/// What is pinged to learn whether a link works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The link's own gateway, whichever it is at the time.
    Gateway,
    #[serde(untagged)]
    Address(IpAddr),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// A link of which nothing is heard for so long is down.
    #[serde(serialize_with = "as_written")]
    pub silence: Duration,
    /// An answer later than this is no sign of life; `None`: however late.
    #[serde(serialize_with = "as_written_or_none")]
    pub max_latency: Option<Duration>,
    /// The rounds of the last day are kept for `wanfo replay`.
    pub record: bool,
    pub pin: Pin,
}

/// How a target is tied to its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pin {
    /// By the user that sends: each link has a uid, and a rule by which what that sends takes the link's table.
    Link,
    /// By a rule for each target: echo requests to it take the link's table.
    Target,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Routing {
    /// The route protocol number that marks every route and rule of ours.
    pub protocol: u8,
    /// Link number i, from 1, has table `table` + i.
    pub table: u32,
    pub rule_priority: u32,
    /// Link number i, from 1, is probed as file-system uid `uid` + i.
    pub uid: u32,
    #[serde(rename = "override")]
    pub override_by: Override,
    pub ipv6_without_gateway: Ipv6WithoutGateway,
}

/// How a backup takes the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Override {
    /// 0.0.0.0/1, 128.0.0.0/1 and 2000::/3, which beat a default route of any metric.
    Halves,
    /// One default route with metric 1.
    Default,
}

/// What happens to IPv6 while the active link has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipv6WithoutGateway {
    Unreachable,
    Leave,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Paths {
    pub run: PathBuf,
    pub state: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Info,
    Debug,
}

impl Default for Probe {
    fn default() -> Self {
        Probe { silence: Duration::from_secs(6), max_latency: None, record: false, pin: Pin::Link }
    }
}

impl Default for Routing {
    fn default() -> Self {
        Routing {
            protocol: 119,
            table: 5300,
            rule_priority: 530,
            uid: 60_900,
            override_by: Override::Halves,
            ipv6_without_gateway: Ipv6WithoutGateway::Unreachable,
        }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Paths { run: PathBuf::from("/run/wanfo"), state: PathBuf::from("/var/lib/wanfo") }
    }
}

/// One thing that is wrong in the file, as a sentence that says what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The way to the value or key, as `links[1].routes[0]`; empty where the file as a whole is meant.
    pub path: String,
    /// Counted from 1. Behind a YAML alias, the line where the anchor stands.
    pub line: Option<usize>,
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.as_str(), self.line) {
            ("", None) => f.write_str(&self.text),
            ("", Some(line)) => write!(f, "line {line}: {}", self.text),
            (path, None) => write!(f, "{path}: {}", self.text),
            (path, Some(line)) => write!(f, "{path} (line {line}): {}", self.text),
        }
    }
}

impl Config {
    /// Where nothing is known of any link, as it takes to take out what was made for them.
    pub fn without_links(paths: Paths) -> Config {
        Config {
            links: Vec::new(),
            probe: Probe::default(),
            routing: Routing::default(),
            action_script: None,
            exit_script: None,
            link_script: None,
            script_timeout: Duration::ZERO,
            flush_conntrack: false,
            notify: None,
            paths,
            log_level: LogLevel::Info,
        }
    }

    /// The links' names, in order of preference.
    pub fn names(&self) -> Vec<String> {
        self.links.iter().map(|link| link.name.clone()).collect()
    }

    /// The configuration with every default written out; `parse` reads it back to an equal one.
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self)
            .expect("only a path that is not UTF-8 cannot be written, and parse lets none in")
    }
}

fn as_written<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

fn as_written_or_none<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => as_written(duration, serializer),
        None => serializer.serialize_str("none"),
    }
}
