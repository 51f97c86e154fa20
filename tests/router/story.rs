//! What stories are made of: a configured lab, its steps, and looks at the kernel.

#![allow(dead_code, reason = "several programs compile it for themselves, and none uses all of it")]

use std::fmt::Write;
use std::net::IpAddr;
use std::ops::Deref;
use std::time::{Duration, Instant};

use serde_json::Value;

use wanfo::system::uids;

use crate::lab::{self, Lab, Line, Run, SERVICE, SERVICE6, target};

pub const WANFO: &str = env!("CARGO_BIN_EXE_wanfo");

/// As short as can be: a story waits so long for each line that dies.
pub const PROBE: &str = "probe: {silence: 1s}";
pub const PIN_BY_TARGET: &str = "probe: {silence: 1s, pin: target}";

/// Link number i, from 1, is probed as this user + i.
pub const UID: u32 = 60_900;

/// The longest that a switch is waited for; it only matters where it does not come.
const PATIENCE: Duration = Duration::from_secs(15);

/// How ours are told from the rest by `ip -N`, in routes and rules alike.
const OURS: &str = " proto 119";

/// A link of a config, over `wanI`, with target 1 of its line, probed in every run, without a delay; `more`
/// are further keys, and win over these.
pub fn link(line: Line, name: &str, more: &str) -> String {
    let mut text = format!("{{name: {name}, ");
    for (key, value) in [
        ("interface", format!("wan{line}")),
        ("targets", format!("[{}]", target(line, 1))),
        ("delay", "0s".to_owned()),
        ("standby_interval", "0s".to_owned()),
        ("stable", "0s".to_owned()),
    ] {
        if !more.contains(&format!("{key}:")) {
            write!(text, "{key}: {value}, ").unwrap();
        }
    }
    format!("{text}{more}}}")
}

/// Links `primary` and `secondary` over lines 1 and 2.
pub fn two_links(more: [&str; 2]) -> [String; 2] {
    [link(1, "primary", more[0]), link(2, "secondary", more[1])]
}

/// The config with these links and sections; `links` as `link` makes them.
pub fn config(links: &[String], sections: &[&str]) -> String {
    let links: String = links.iter().map(|link| format!("  - {link}\n")).collect();
    format!("links:\n{links}{}", sections.join("\n"))
}

/// A lab in which wanfo is configured.
pub struct Story {
    lab: Lab,
}

impl Deref for Story {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Story {
    pub fn begin(lines: usize, config: &str) -> Story {
        Story::in_a(Lab::new(lines, WANFO), config)
    }

    pub fn in_a(lab: Lab, config: &str) -> Story {
        lab.configure(config);
        Story { lab }
    }

    /// In a lab whose router has its config already.
    pub fn configured(lab: Lab) -> Story {
        Story { lab }
    }

    /// Two lines, `primary` and `secondary`, with nothing special about them.
    pub fn of_two_links() -> Story {
        Story::begin(2, &config(&two_links(["", ""]), &[PROBE]))
    }

    /// One `wanfo check` that does its work. A child of a killed one's may hold the lock for a moment, until it has become `ip`.
    pub fn check(&self) -> Run {
        let start = Instant::now();
        loop {
            let run = self.wanfo(&["check"]);
            if run.code != 75 || start.elapsed() > Duration::from_secs(5) {
                assert_eq!(run.code, 0, "wanfo check: {run:?}");
                return run;
            }
        }
    }

    /// A command that does its work.
    pub fn succeeds(&self, arguments: &[&str]) -> Run {
        let run = self.wanfo(arguments);
        assert_eq!(run.code, 0, "wanfo {arguments:?}: {run:?}");
        run
    }

    /// Checks until the link is active; the last of them.
    pub fn check_until_active(&self, name: &str) -> Run {
        let start = Instant::now();
        loop {
            let run = self.check();
            if self.active() == name {
                return run;
            }
            assert!(start.elapsed() < PATIENCE, "{name} did not become active: {:#}", self.status());
        }
    }

    /// Checks once or more, until the condition on the status holds.
    pub fn check_until(&self, awaited: &str, condition: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        loop {
            self.check();
            if condition(&self.status()) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{awaited} was not seen: {:#}", self.status());
        }
    }

    /// One check stays until the silence of the active link is long enough, and leaves it.
    #[track_caller]
    pub fn fail_over(&self, from: &str, to: &str) {
        assert_eq!(self.active(), from);
        let run = self.check();
        assert_eq!(self.active(), to, "{run:?}");
    }

    /// Line 1 dies and recovers, and the IPv4 traffic goes over line 2 meanwhile.
    #[track_caller]
    pub fn fails_over_and_back(&self) {
        self.cut_silently(1);
        self.fail_over("primary", "secondary");
        self.assert_served_over(2, SERVICE);
        self.repair(1);
        self.check_until_active("primary");
        self.assert_served_over(1, SERVICE);
    }

    /// The link works again, and gets the traffic when the delay of the active one has passed, not before.
    #[track_caller]
    pub fn comes_back_after(&self, delay: Duration, name: &str) {
        let backup = self.active();
        self.check_until(&format!("{name} that is up"), |_| self.link(name)["up"] == true);
        self.let_pass(delay / 2);
        self.check();
        assert_eq!(self.active(), backup);
        self.let_pass(delay / 2);
        self.check();
        assert_eq!(self.active(), name);
    }

    /// The first target of a line that was repaired answers, so that one check is enough.
    #[track_caller]
    pub fn await_answer(&self, line: Line) {
        let start = Instant::now();
        while !self.link_pings(line, target(line, 1)) {
            assert!(start.elapsed() < PATIENCE, "no answer over line {line}: {:#?}", self.kernel());
        }
    }

    pub fn status(&self) -> Value {
        let run = self.succeeds(&["status", "--format", "json"]);
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error} in {}", run.stdout))
    }

    pub fn active(&self) -> String {
        self.status()["active"].as_str().expect("a link is active").to_owned()
    }

    /// What the status says of a link.
    pub fn link(&self, name: &str) -> Value {
        let status = self.status();
        let links = status["links"].as_array().expect("links");
        links
            .iter()
            .find(|link| link["name"] == name)
            .unwrap_or_else(|| panic!("no {name}: {status}"))
            .clone()
    }

    /// As `lab::problems`, a line each.
    pub fn problems(&self) -> String {
        let problems = lab::problems(&self.status());
        let told = problems.iter().map(|problem| match problem["link"].as_str() {
            Some(link) => format!("{link}: {}", problem["text"].as_str().expect("text")),
            None => problem["text"].as_str().expect("text").to_owned(),
        });
        told.collect::<Vec<_>>().join("\n")
    }

    /// Every route and rule of the router, sorted: the order of equals is the kernel's own. That a cable is
    /// out is left out: the kernel notes it in its own time.
    pub fn kernel(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (what, command) in [
            ("-4 route", "-N -4 route show table all"),
            ("-6 route", "-N -6 route show table all"),
            ("-4 rule", "-N -4 rule show"),
            ("-6 rule", "-N -6 rule show"),
        ] {
            let shown = self.router.ip(command);
            lines
                .extend(shown.lines().map(|line| format!("{what} {}", line.trim().replace(" linkdown", ""))));
        }
        lines.sort();
        lines
    }

    /// The routes and rules of wanfo's.
    pub fn ours(&self) -> Vec<String> {
        let mut kernel = self.kernel();
        kernel.retain(|line| line.contains(OURS));
        kernel
    }

    /// Everybody else's.
    pub fn foreign(&self) -> Vec<String> {
        let mut kernel = self.kernel();
        kernel.retain(|line| !line.contains(OURS));
        kernel
    }

    /// Ours in the main table: what carries traffic, and not pins by rule.
    pub fn ours_in_main(&self) -> Vec<String> {
        let mut ours = self.ours();
        ours.retain(|line| line.contains(" route ") && !line.contains(" table "));
        ours
    }

    /// LAN users are served over this line in both families.
    #[track_caller]
    pub fn assert_lan_is_served_over(&self, line: Line) {
        self.assert_served_over(line, SERVICE);
        self.assert_served_over(line, SERVICE6);
    }

    #[track_caller]
    pub fn assert_served_over(&self, line: Line, service: impl Into<IpAddr>) {
        let service = service.into();
        match self.ask(service) {
            Ok(over) => assert_eq!(over, line, "{service} is served over another line: {:#?}", self.ours()),
            Err(error) => panic!("{service} is not served ({error}): {:#?}", self.kernel()),
        }
    }

    /// One ping of the router's own, outside any run of wanfo's.
    pub fn router_pings(&self, address: impl Into<IpAddr>) -> bool {
        self.pings_as(None, address.into())
    }

    /// The same as wanfo asks by this link of the config, from 1.
    pub fn link_pings(&self, link: usize, address: impl Into<IpAddr>) -> bool {
        self.pings_as(lab::has_other_users().then_some(UID + link as u32), address.into())
    }

    fn pings_as(&self, uid: Option<u32>, address: IpAddr) -> bool {
        let ping = || ping_rs::send_ping(&address, Duration::from_millis(250), &[0; 8], None).is_ok();
        self.router.run(|| uids::acting_as(uid, ping).expect("a uid that can be taken"))
    }

    /// The DHCP client of a line sets its default route anew.
    pub fn dhcp_sets_default(&self, line: Line, metric: u32) {
        self.router
            .ip(&format!("route replace default via {} dev wan{line} metric {metric}", lab::gateway(line)));
    }
}

/// Does it again and again, for longer than the silence of `PROBE`.
pub fn beyond_the_silence(mut act: impl FnMut()) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        act();
    }
}

/// As `assert_eq` of two looks at the kernel, but tells the difference only.
#[track_caller]
pub fn assert_same(before: &[String], after: &[String]) {
    let lost: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
    let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    assert!(before == after, "lost: {lost:#?}, new: {new:#?}");
}
