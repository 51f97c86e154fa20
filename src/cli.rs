//! The command line: argument types only.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 it did not work; 2 bad usage or bad configuration; 75 another run holds the lock.";

/// Keeps a Linux router on the Internet when its main WAN line dies.
///
/// A timer starts `wanfo check` every few seconds. It pings the targets of every link, decides which link should carry
/// the traffic, brings the kernel's routes to that, and exits. The other commands are for the admin.
#[derive(Debug, Parser)]
#[command(name = "wanfo", version, max_term_width = 100, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// The configuration file
    #[arg(
        short,
        long,
        global = true,
        env = "WANFO_CONFIG",
        default_value = "/etc/wanfo/wanfo.yaml",
        value_name = "FILE"
    )]
    pub config: PathBuf,

    /// Log every step; `status` also tells where each gateway was found
    #[arg(short, long, global = true, display_order = 900)]
    pub verbose: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do one run: probe, decide, repair or switch the routes
    ///
    /// This is what the timer starts. A run that changes nothing prints nothing, unless it runs in a terminal or with -v.
    Check(Check),

    /// Show what the last run knew; needs no root and never waits
    Status(Status),

    /// Show what happened: switches, links going down and up, scripts, repairs; needs no root
    History(History),

    /// Play the last day again with another configuration, and show which switches would have come
    ///
    /// `probe.record: true` keeps what every run asked and heard. `wanfo replay -c other.yaml` runs it through another
    /// configuration and shows the switches of then and those that would have come, side by side. What was not asked
    /// then is not known: a target counts as it was found the last time before. Needs no root, and changes nothing.
    Replay(Replay),

    /// Switch to a backup now; the primary stays undisturbed
    ///
    /// By itself this ends like any failover: after the backup's delay, when a link before it is up. A backup that goes
    /// down is left all the same.
    ForceFailover(ForceFailover),

    /// Switch to the best link now, delay or hold notwithstanding
    ///
    /// The exit script, where there is one, is asked first and can object.
    Failback(Failback),

    /// Send the mails and webhooks that wait, and run the link script
    ///
    /// wanfo-deliver.path starts this when there is something to send; under cron, run it every minute. A mail that
    /// cannot be sent is tried again after growing pauses for three days; one that the relay refuses for good is set
    /// aside in spool/failed, with its words.
    Deliver(Deliver),

    /// Take every route, rule and address of wanfo's out of the kernel
    ///
    /// Stop wanfo.timer first, or the next check puts them back. It needs no good configuration.
    Down,

    /// Print a configuration proposed from the interfaces, default routes and DHCP leases of this machine
    ///
    /// On a terminal it asks which line is preferred, whether a backup is metered, and whom to mail. Nothing is changed:
    /// `wanfo init > wanfo.yaml` writes it to a file. It ends with 1 where there are no two lines, and says what is missing.
    Init,

    /// Say what on this machine would keep wanfo from working, and the cure
    ///
    /// One line for each check: ok, warning (it may work all the same) or failure. Every target is asked over its own line;
    /// nothing is changed. Run it as root. It ends with 1 where something fails, and tells what it can where the
    /// configuration is broken.
    Doctor,

    /// Run a command whose traffic leaves by one link, whatever is active
    ///
    /// `wanfo exec lte -- curl https://example.com`: the command runs as the link's own user (`routing.uid` and its number),
    /// without supplementary groups, in the caller's environment, and its exit code is handed on (126 and 127: it could not
    /// be run, or found). It is never root's: by the file-system uid of a socket's maker the kernel tells whose a packet is,
    /// and a program that is started has that of its user (execve(2)). It takes root and `pin: link`.
    Exec(Exec),

    /// Prove a backup before it is needed; without --switch nobody is moved
    ///
    /// Its targets and checks are asked over its own line. With --switch the traffic is moved to it for a while, as by
    /// `force-failover`, and what leaves the router as everybody's traffic does has to be answered; then it is moved back.
    /// That cuts calls and downloads twice. Killed meanwhile, it leaves the way back to the next run. What comes of it is
    /// printed, and is in `wanfo history`; `wanfo status` tells how long ago a backup was proven. It ends with 0 where all
    /// is proven, and else with 1.
    Drill(Drill),

    /// Check the configuration, or print it with every default filled in
    ///
    /// Also whether it will work on this machine: scripts, the files that mail needs, addresses of this router as
    /// targets. It ends with 2 where the file is wrong and with 1 where something that it names will not work.
    Config(Config),

    /// Print a configuration made of the settings of AstLinux or of mwan3
    ///
    /// The files are read as data, and nothing in them is executed. Every line says where it came from; what has no
    /// equal is named below, and on stderr. Nothing on this machine is changed.
    Import(Import),

    /// Print what makes a shell complete wanfo's words
    ///
    /// For bash: `wanfo completions bash > /etc/bash_completion.d/wanfo`. The Debian package has them.
    Completions(Completions),

    /// Print a page of the manual, for man(1): `wanfo man | man -l -`
    Man(Man),
}

impl Command {
    /// Whether it waits for a run that is under way.
    pub fn needs_the_lock(&self) -> bool {
        matches!(
            self,
            Command::Check(_)
                | Command::ForceFailover(_)
                | Command::Failback(_)
                | Command::Down
                | Command::Drill(_)
        )
    }
}

/// What somebody may have meant whose words are none of ours; the words begin behind the program's name.
pub fn tip(words: &[String]) -> Option<String> {
    // What follows an option is its value.
    let is_link = words.get(1).is_some_and(|word| !word.starts_with('-'));
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    Some(match words[..] {
        ["failover" | "switch", ref rest @ ..] => match rest {
            [link, ..] => format!("`wanfo force-failover --to {link}` switches by hand"),
            [] => "`wanfo force-failover` switches to a backup by hand".to_owned(),
        },
        ["force-failover", link, ..] if is_link => format!("a link is named with --to: `wanfo force-failover --to {link}`"),
        ["failback", ..] => "`wanfo failback` takes no link: it switches to the best one".to_owned(),
        ["stop" | "disable", ..] => {
            "wanfo has no daemon: `systemctl disable --now wanfo.timer` stops its runs, then `wanfo down` takes its routes out"
                .to_owned()
        }
        ["start" | "enable" | "run" | "daemon", ..] => {
            "`systemctl enable --now wanfo.timer` starts its runs; `wanfo check` is one of them".to_owned()
        }
        ["config", file, ..] => format!("the file is named with -c: `wanfo config -c {file}`"),
        _ => return None,
    })
}

#[derive(Debug, Args)]
pub struct Check {
    /// Probe, then print what a run would do and why, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Status {
    /// For people; for programs; for the node exporter's textfile collector; a page for a browser
    #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
    pub format: StatusFormat,

    /// Exit with 0 on the primary, 1 on a backup or where the traffic goes elsewhere, 2 with no link up, 3 when unknown or the last run is too old
    #[arg(long)]
    pub exit_code: bool,

    /// The same, and 1 also on a primary without redundancy or with a problem
    #[arg(long)]
    pub strict: bool,

    /// Show it again every second, until Ctrl-C; in a terminal
    #[arg(short, long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub struct History {
    /// For people; or for programs, one record a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Only what came after: 2h, 3d, 2026-11-22, '2026-11-22 14:03' (local time), or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
}

#[derive(Debug, Args)]
pub struct Replay {
    /// Files of a recording, the oldest first; else those of this machine, under `paths.run`
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StatusFormat {
    Text,
    Json,
    Prometheus,
    Html,
}

#[derive(Debug, Args)]
pub struct ForceFailover {
    /// The backup to switch to, by its name; else the first one that works
    #[arg(long, value_name = "LINK")]
    pub to: Option<String>,

    /// Stay so long (such as 30m), in place of the backup's delay
    #[arg(long = "for", value_name = "DURATION", value_parser = stay_time, conflicts_with = "hold")]
    pub stay: Option<Duration>,

    /// Stay until `wanfo failback`
    #[arg(long)]
    pub hold: bool,
}

#[derive(Debug, Args)]
pub struct Failback {
    /// Without asking the exit script
    #[arg(long)]
    pub now: bool,
}

#[derive(Debug, Args)]
pub struct Deliver {
    /// Send one message to every recipient now, by mail and webhook, and say how it went; the spool is left alone
    #[arg(long)]
    pub test: bool,

    /// Print the mail of a switch as it would come now; nothing is sent
    #[arg(long, conflicts_with = "test")]
    pub example: bool,
}

#[derive(Debug, Args)]
pub struct Exec {
    /// The link, by its name
    pub link: String,

    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct Drill {
    /// The link to prove; else each backup that may carry the default traffic, with --switch the first that works
    pub link: Option<String>,

    /// Move the traffic to it, and back
    #[arg(long)]
    pub switch: bool,

    /// For how long: 10s to 1h
    #[arg(
        long = "for",
        value_name = "DURATION",
        value_parser = drill_time,
        default_value = "1m",
        requires = "switch"
    )]
    pub time: Duration,

    /// Switch also while a delay runs or a link is down
    #[arg(long, requires = "switch")]
    pub anyway: bool,

    /// Tell those in `notify` what came of it
    #[arg(long)]
    pub mail: bool,
}

fn stay_time(text: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(365 * 24 * 3600);
    time_within(text, Duration::ZERO..=most, "365d at most; `--hold` stays until `wanfo failback`")
}

fn drill_time(text: &str) -> Result<Duration, String> {
    time_within(text, Duration::from_secs(10)..=Duration::from_secs(3600), "10s to 1h")
}

fn time_within(text: &str, range: RangeInclusive<Duration>, told: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if range.contains(&time) { Ok(time) } else { Err(format!("it has to be {told}")) }
}

#[derive(Debug, Args)]
pub struct Import {
    /// AstLinux: rc.conf, gui.failover.conf, user.conf: a later one overrides those before it; mwan3:
    /// /etc/config/mwan3 and /etc/config/network
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Config {
    /// Print the configuration with every default filled in
    #[arg(long)]
    pub effective: bool,
}

#[derive(Debug, Args)]
pub struct Completions {
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Which one
    #[arg(value_enum, default_value_t = Page::Wanfo)]
    pub page: Page,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Page {
    /// The program, wanfo(1)
    Wanfo,
    /// The configuration, wanfo.yaml(5)
    #[value(name = "wanfo.yaml")]
    Config,
}
