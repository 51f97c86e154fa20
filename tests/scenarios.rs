//! Stories of failovers, one in each `tests/scenarios/NAME.yaml`: a configuration, what the lines are like from when
//! on, what somebody does, and which switches must come of it. A new story needs no Rust.
//!
//! A story runs `wanfo check` at 0s and every `beat` from then on, up to and including `until`; a run that stays is followed
//! by the next at once. Times are compared in tenths of a second. Its keys:
//!
//! - `timeline`: what happens, in force from the run at that time on. `{at: 10s, primary: silent}` with the name of a
//!   link and `good`, `silent`, `{silent: [ADDRESS]}`, `{late: 3s}`, `{late: 3s, of: [ADDRESS]}`, `{loss: 30}` (percent), `{fails: [ADDRESS]}` (pings are answered,
//!   checks at these servers are not), `unusable` (no carrier), `gone`
//!   (no interface), `no-gateway` or `void` (a fault of our own), also in the midst of a run that stays; `{at: 10s, run: force-failover, to: LINK, for: 5m, hold: true}` and
//!   `{at: 10s, run: failback}` are runs by hand, `by: NAME` says whose; further `reboot: true`, `lose_state: true`, `state_file: {key: value}`
//!   (somebody edits it), `flush: true` (somebody takes away all routes of ours) and `config: TEXT`; `config_is_broken: WHY` (the runs go on by the last good one) and
//!   `config_is_mended: true`; `action_script: OUTCOME` and `exit_script: OUTCOME` with an exit code, `hangs`, `missing` or `cannot-start`;
//!   `disk: read-only` or `writable` (`paths.state`); `ip: refused` (every change is) or `obeyed`;
//!   `stops: 5s` (the process is stopped for so long, where it waits just then);
//!   `stray_pings: LINK` (from then on a rule of somebody's leads every echo request out of it) and `stray_pings: nowhere`.
//! - `switches`: all that must come out, each with `at`, `to`, `reason`, and `forced: true` where it was by hand; `cause` may be told.
//! - `refused`: all runs by hand that must be refused, each with `at` and `why`.
//! - `events`: all that must be said (switches and routes apart), each with `at` and `says`. Without the key, anything may.
//! - `scripts`, `mails`, `history`: all calls of scripts (their arguments), mails (their subjects; what is for the link script has its arguments) and records (as the log
//!   says them), each with `at` and `says`, of a mail also a line that it `tells`, of a link that went down or came up `since 6s before`. Without the key, any may.
//! - `failed`: all runs that must end with exit code 1. Without the key, any may.
//! - `checked`: how many checks were sent over each link, all told. Without the key, any number may.
//! - `runs`: a closer look at single runs, the last one that began by then: `at`, and any of `active`, `why` (it stayed), `pinged` (links), `checked` (links, once for each check),
//!   `silent_for` and `relapses` (by link), `down` (links), `next_switch_in`, `forced`, `problems` (their codes); `says`, `warns` and `details`: the first
//!   line of all that is said, of what is said as a warning or an error, and of what `-v` tells besides.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use wanfo::core::config::Config;
use wanfo::core::decide;
use wanfo::core::health::Verdict;
use wanfo::core::hold::Hold;
use wanfo::core::record::{Event, Record};
use wanfo::core::recording::Recording;
use wanfo::core::replay::{Played, fit};
use wanfo::core::script::Ending;
use wanfo::core::switch::{Cause, Request};

use model_router::{Condition, Router, Run};

#[path = "fixtures/model_kernel.rs"]
mod model_kernel;
#[allow(dead_code, reason = "a scenario forgets nothing")]
#[path = "fixtures/model_router.rs"]
mod model_router;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    story: String,
    beat: Time,
    until: Time,
    config: String,
    timeline: Vec<Happening>,
    switches: Vec<Switched>,
    #[serde(default)]
    refused: Vec<Refused>,
    events: Option<Vec<Said>>,
    scripts: Option<Vec<Said>>,
    mails: Option<Vec<Said>>,
    history: Option<Vec<Said>>,
    failed: Option<Vec<Time>>,
    checked: Option<BTreeMap<String, usize>>,
    #[serde(default)]
    runs: Vec<Look>,
}

#[derive(Deserialize)]
struct Happening {
    at: Time,
    run: Option<Command>,
    to: Option<String>,
    #[serde(rename = "for")]
    time: Option<Time>,
    #[serde(default)]
    hold: bool,
    by: Option<String>,
    #[serde(default)]
    reboot: bool,
    #[serde(default)]
    lose_state: bool,
    #[serde(default)]
    state_file: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    flush: bool,
    config: Option<String>,
    config_is_broken: Option<String>,
    #[serde(default)]
    config_is_mended: bool,
    action_script: Option<Outcome>,
    exit_script: Option<Outcome>,
    disk: Option<Disk>,
    ip: Option<Ip>,
    stray_pings: Option<String>,
    stops: Option<Time>,
    #[serde(flatten)]
    links: BTreeMap<String, Line>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Disk {
    ReadOnly,
    Writable,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Ip {
    Refused,
    Obeyed,
}

/// How a script ends.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Hangs,
    Missing,
    CannotStart,
    #[serde(untagged)]
    Exit(i32),
}

impl From<Outcome> for Ending {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Hangs => Ending::TimeLimit(Duration::from_secs(60)),
            Outcome::Missing => Ending::Refused("the script is not there".to_owned()),
            Outcome::CannotStart => Ending::NotStarted("the script could not be run: no memory".to_owned()),
            Outcome::Exit(code) => Ending::Exit(code),
        }
    }
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Command {
    ForceFailover,
    Failback,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Good,
    Silent,
    Unusable,
    Gone,
    NoGateway,
    Void,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Word(Word),
    Partly {
        silent: Vec<IpAddr>,
    },
    Late {
        late: Time,
        #[serde(default)]
        of: Vec<IpAddr>,
    },
    Loss {
        loss: u32,
    },
    Fails {
        fails: Vec<IpAddr>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switched {
    at: Time,
    to: String,
    reason: String,
    #[serde(default)]
    forced: bool,
    cause: Option<Cause>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    at: Time,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    at: Time,
    says: String,
    tells: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    at: Time,
    active: Option<String>,
    why: Option<String>,
    pinged: Option<Vec<String>>,
    checked: Option<Vec<String>>,
    #[serde(default)]
    silent_for: BTreeMap<String, Time>,
    #[serde(default)]
    relapses: BTreeMap<String, u32>,
    down: Option<Vec<String>>,
    next_switch_in: Option<Time>,
    forced: Option<bool>,
    problems: Option<Vec<String>>,
    says: Option<Vec<String>>,
    warns: Option<Vec<String>>,
    details: Option<Vec<String>>,
}

/// Since the beginning of the story.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Time).map_err(serde::de::Error::custom)
    }
}

/// How long before its record an outage began or ended.
fn told_lag(record: &Record) -> Option<String> {
    let (Event::LinkDown { heard_ms, .. } | Event::LinkUp { heard_ms, .. }) = &record.event else {
        return None;
    };
    let lag = record.boot_ms.since((*heard_ms)?)?;
    Some(format!("since {} before", told_time(lag)))
}

/// In tenths of a second: what a reply and a tick take is left out.
fn told_time(time: Duration) -> String {
    humantime::format_duration(Duration::from_millis(time.as_millis() as u64 / 100 * 100)).to_string()
}

impl From<&Line> for Condition {
    fn from(line: &Line) -> Self {
        match line {
            Line::Word(Word::Good) => Condition::Good,
            Line::Word(Word::Silent) => Condition::Silent,
            Line::Word(Word::Unusable) => Condition::Unusable,
            Line::Word(Word::Gone) => Condition::Gone,
            Line::Word(Word::NoGateway) => Condition::NoGateway,
            Line::Word(Word::Void) => Condition::Void,
            Line::Partly { silent } => Condition::SilentTargets(silent.clone()),
            Line::Late { late, of } if of.is_empty() => Condition::Late(late.0),
            Line::Late { late, of } => Condition::LateTargets(late.0, of.clone()),
            Line::Loss { loss } => Condition::Loss(*loss),
            Line::Fails { fails } => Condition::Fails(fails.clone()),
        }
    }
}

fn parse(config: &str) -> Config {
    wanfo::core::config::read::parse(config).unwrap_or_else(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("the config of the story: {}", problems.join("\n"))
    })
}

impl Happening {
    fn request(&self, router: &Router) -> Option<Request> {
        let hold = match self.time {
            Some(Time(time)) => Hold::Until(router.now.plus(time)),
            None if self.hold => Hold::UntilFailback,
            None => Hold::No,
        };
        let place = |name: &String| {
            let mut links = router.config.links.iter();
            links.position(|link| link.name == *name).expect("`to` names a link")
        };
        self.run.map(|command| match command {
            Command::ForceFailover => Request::Failover { to: self.to.as_ref().map(place), hold },
            Command::Failback => Request::Failback { now: false },
        })
    }

    fn befall(&self, router: &mut Router) {
        if self.reboot {
            router.reboot();
        }
        if self.lose_state {
            router.disk.state = None;
        }
        if !self.state_file.is_empty() {
            let text = router.disk.state.as_deref().expect("there was a run before");
            let mut state: serde_json::Value = serde_json::from_str(text).unwrap();
            for (key, value) in &self.state_file {
                state[key] = value.clone();
            }
            router.disk.state = Some(state.to_string());
        }
        if self.flush {
            let protocol = router.config.routing.protocol;
            router.kernel.routes.retain(|route| route.protocol != protocol);
        }
        if let Some(config) = &self.config {
            router.config = parse(config);
        }
        if let Some(why) = &self.config_is_broken {
            router.config_broken = Some(why.clone());
        }
        if self.config_is_mended {
            router.config_broken = None;
        }
        router.user = self.by.clone();
        if let Some(outcome) = self.action_script {
            router.action_script = outcome.into();
        }
        if let Some(outcome) = self.exit_script {
            router.exit_script = outcome.into();
        }
        if let Some(disk) = self.disk {
            router.disk.read_only = matches!(disk, Disk::ReadOnly);
        }
        if let Some(ip) = self.ip {
            router.ip_is_refused = matches!(ip, Ip::Refused);
        }
        let interface = |router: &Router, name: &str| {
            let link = router.config.links.iter().find(|link| link.name == name);
            let link = link.unwrap_or_else(|| panic!("{name} is neither a link nor a word of the timeline"));
            link.interface.clone().expect("in a story, every link names its interface")
        };
        match self.stray_pings.as_deref() {
            Some("nowhere") => router.stray_pings(None),
            Some(name) => router.stray_pings(Some(&interface(router, name))),
            None => {}
        }
    }
}

/// Plays the story; every run with the time of its start.
fn play(scenario: &Scenario) -> Vec<(Duration, Run)> {
    play_on(&mut Router::new(parse(&scenario.config)), scenario)
}

fn play_on(router: &mut Router, scenario: &Scenario) -> Vec<(Duration, Run)> {
    router.schedule = weather(scenario);
    let stops = scenario.timeline.iter().filter_map(|happening| Some((happening.at.0, happening.stops?.0)));
    router.stops = stops.collect();
    let (Time(beat), Time(until)) = (scenario.beat, scenario.until);
    let mut left = scenario.timeline.iter().peekable();
    let mut runs = Vec::new();
    let mut next_beat = Duration::ZERO;
    loop {
        // A command that comes while a run is under way waits for it, and so does the next beat.
        let command = left.clone().find(|happening| happening.run.is_some()).map(|happening| happening.at.0);
        let at = next_beat.min(command.unwrap_or(Duration::MAX));
        let start = at.max(router.elapsed);
        if start > until {
            break;
        }
        router.wait(start - router.elapsed);
        if at == next_beat {
            next_beat = start + beat;
        }
        let mut request = Request::Nothing;
        while let Some(happening) = left.next_if(|happening| happening.at.0 <= start) {
            happening.befall(router);
            request = happening.request(router).unwrap_or(request);
        }
        let made = match request {
            Request::Nothing => router.check(),
            request => vec![router.run(request)],
        };
        for run in made {
            if let Some(before) = &run.before {
                let moved = before.active != run.after.active;
                let is_told = switches(&run).count() > 0 || router.ip_is_refused;
                assert!(!moved || is_told, "a silent switch in the run at {at:?}");
            }
            runs.push((run.elapsed, run));
        }
        carries_its_traffic(router, &runs.last().expect("a run was made").1);
    }
    assert!(left.next().is_none(), "the timeline must be in order, and end by `until`");
    runs
}

/// What the lines are like from when on, by the config that is in force at the time.
fn weather(scenario: &Scenario) -> Vec<(Duration, String, Condition)> {
    let mut config = parse(&scenario.config);
    let mut weather = Vec::new();
    for happening in &scenario.timeline {
        if let Some(text) = &happening.config {
            config = parse(text);
        }
        for (name, line) in &happening.links {
            let link = config.links.iter().find(|link| link.name == *name);
            let link = link.unwrap_or_else(|| panic!("{name} is neither a link nor a word of the timeline"));
            let interface = link.interface.clone().expect("in a story, every link names its interface");
            weather.push((happening.at.0, interface, line.into()));
        }
    }
    weather
}

/// The switches that a run made, or found made.
fn switches(run: &Run) -> impl Iterator<Item = (&Record, &Event)> {
    let records = run.records.iter().chain(&run.after.pending.records);
    let known = run.before.as_ref().map(|before| &before.pending.records[..]).unwrap_or_default();
    let events = records.filter(|record| !known.contains(record)).map(|record| (record, &record.event));
    events.filter(|(_, event)| matches!(event, Event::Switched { .. }))
}

/// The rest of the world is reached by the active link.
fn carries_its_traffic(router: &Router, run: &Run) {
    let active = router.config.links.iter().find(|link| link.name == run.after.active).unwrap();
    let interface = active.interface.as_deref().unwrap();
    let has_a_way = router
        .kernel
        .routes
        .iter()
        .any(|route| route.protocol == 16 && route.to_string().contains(interface));
    for somebody in ["100.64.0.1", "203.0.113.250"] {
        let way = router.kernel.way_out(somebody.parse().unwrap());
        let is_right = !has_a_way || way == Some(interface) || router.ip_is_refused;
        assert!(is_right, "{somebody} is reached by {way:?}, not {interface}");
    }
}

/// Run by run; what repeats itself is told once.
fn log(runs: &[(Duration, Run)]) -> String {
    let mut log = String::new();
    let mut last = String::new();
    for (at, run) in runs {
        let told_of = tell(run);
        if told_of == last {
            continue;
        }
        writeln!(log, "{:>7}  {told_of}", told_time(*at)).unwrap();
        last = told_of;
    }
    log + "         ... and so on\n"
}

fn tell(run: &Run) -> String {
    let links = run.after.links.iter().zip(&run.results).map(|(link, result)| {
        let star = if link.name == run.after.active { "*" } else { "" };
        let silent = told_time(link.health.silent_for(link.law, run.after.checked_at));
        format!("{star}{} {} silent {silent} {:?}", link.name, link.health.verdict, result.probed)
    });
    let mut lines = vec![links.collect::<Vec<_>>().join(" | ")];
    if run.request != Request::Nothing {
        lines.push(format!("by hand: {:?}", run.request));
    }
    match &run.outcome {
        decide::Outcome::Stay { why, .. } | decide::Outcome::Vetoed { why } => lines.push(why.clone()),
        decide::Outcome::Refuse { why, .. } => lines.push(format!("refused: {why}")),
        decide::Outcome::Switch(_) => {}
    }
    lines.extend(run.said.iter().map(|said| format!("> {said}")));
    lines.join("\n         ")
}

fn compare(what: &str, expected: &[String], found: &[String], complaints: &mut String) {
    if expected == found {
        return;
    }
    writeln!(complaints, "{what} (- expected, + came out):").unwrap();
    for line in expected.iter().filter(|line| !found.contains(line)) {
        writeln!(complaints, "  - {line}").unwrap();
    }
    for line in found.iter().filter(|line| !expected.contains(line)) {
        writeln!(complaints, "  + {line}").unwrap();
    }
    if expected.len() == found.len() && expected.iter().all(|line| found.contains(line)) {
        writeln!(complaints, "  the same lines in another order").unwrap();
    }
}

/// What the story says other than what came out; empty where it is true.
fn complaints(scenario: &Scenario, runs: &[(Duration, Run)]) -> String {
    let mut complaints = String::new();
    let by_hand = |forced: bool| if forced { " (by hand)" } else { "" };
    let line = |at: Duration, text: &str| format!("{}: {text}", told_time(at));

    let expected = scenario.switches.iter();
    let expected = expected.map(|s| line(s.at.0, &format!("{}: {}{}", s.to, s.reason, by_hand(s.forced))));
    let found = runs.iter().flat_map(|(at, run)| {
        switches(run).filter_map(|(record, event)| match event {
            Event::Switched { to, reason, forced, .. } => {
                let at = *at + record.boot_ms.since(run.at).unwrap_or_default();
                Some(line(at, &format!("{to}: {reason}{}", by_hand(*forced))))
            }
            _ => None,
        })
    });
    compare("switches", &expected.collect::<Vec<_>>(), &found.collect::<Vec<_>>(), &mut complaints);

    let caused = runs.iter().flat_map(|(_, run)| switches(run)).filter_map(|(_, event)| match event {
        Event::Switched { cause, .. } => Some(*cause),
        _ => None,
    });
    for (switched, cause) in scenario.switches.iter().zip(caused) {
        if let Some(expected) = switched.cause {
            let [expected, cause] = [expected, cause].map(|cause| line(switched.at.0, &format!("{cause:?}")));
            compare("causes", &[expected], &[cause], &mut complaints);
        }
    }

    let expected = scenario.refused.iter().map(|refused| line(refused.at.0, &refused.why));
    let found = runs.iter().filter_map(|(at, run)| match &run.outcome {
        decide::Outcome::Refuse { why, .. } => Some(line(*at, why)),
        _ => None,
    });
    compare("refused", &expected.collect::<Vec<_>>(), &found.collect::<Vec<_>>(), &mut complaints);

    type Lines = fn(&Run) -> Vec<String>;
    let told: [(&str, &Option<Vec<Said>>, Lines); 4] = [
        ("events", &scenario.events, |run| {
            let of_routes = |said: &&String| {
                said.starts_with("switched from") || said.starts_with("brought the kernel's routes")
            };
            run.said.iter().filter(|said| !of_routes(said)).cloned().collect()
        }),
        ("scripts", &scenario.scripts, |run| run.calls.clone()),
        ("mails", &scenario.mails, |run| run.mails.iter().map(|mail| mail.subject.clone()).collect()),
        ("history", &scenario.history, |run| {
            let first_lines = run.records.iter().map(|record| record.event.to_string());
            first_lines.map(|text| text.lines().next().unwrap_or_default().to_owned()).collect()
        }),
    ];
    for (what, expected, found) in told {
        let Some(expected) = expected else { continue };
        for Said { at, says, tells } in expected {
            let Some(told) = tells else { continue };
            let texts: Vec<String> = match what {
                "history" => {
                    let records = runs.iter().flat_map(|(_, run)| &run.records);
                    records.filter(|record| record.event.to_string() == *says).filter_map(told_lag).collect()
                }
                _ => {
                    let mails = runs.iter().flat_map(|(_, run)| &run.mails);
                    mails.filter(|mail| mail.subject == *says).map(|mail| mail.text.clone()).collect()
                }
            };
            if !texts.iter().any(|text| text.lines().any(|line| line == told)) {
                writeln!(
                    complaints,
                    "in {what} no `{says}` tells `{told}`, for {}: {texts:?}",
                    told_time(at.0)
                )
                .unwrap();
            }
        }
        let expected: Vec<String> = expected.iter().map(|said| line(said.at.0, &said.says)).collect();
        let found: Vec<String> =
            runs.iter().flat_map(|(at, run)| found(run).into_iter().map(|text| line(*at, &text))).collect();
        compare(what, &expected, &found, &mut complaints);
    }
    if let Some(expected) = &scenario.failed {
        let expected: Vec<String> = expected.iter().map(|at| told_time(at.0)).collect();
        let found = runs.iter().filter(|(_, run)| run.failed).map(|(at, _)| told_time(*at));
        compare("failed", &expected, &found.collect::<Vec<_>>(), &mut complaints);
    }
    if let Some(expected) = &scenario.checked {
        let told = |(link, count): (&String, &usize)| format!("{link}: {count}");
        let count =
            |link: &String| runs.iter().flat_map(|(_, run)| &run.checked).filter(|it| *it == link).count();
        let found: BTreeMap<_, _> = expected.keys().map(|link| (link.clone(), count(link))).collect();
        let [expected, found] = [expected, &found].map(|counts| counts.iter().map(told).collect::<Vec<_>>());
        compare("checked", &expected, &found, &mut complaints);
    }
    for look in &scenario.runs {
        match runs.iter().rfind(|(at, _)| *at <= look.at.0) {
            Some((at, run)) => {
                look.compare(&format!("in the run at {}", told_time(*at)), run, &mut complaints)
            }
            None => writeln!(complaints, "there is no run at {}", told_time(look.at.0)).unwrap(),
        }
    }
    complaints
}

impl Look {
    fn compare(&self, when: &str, run: &Run, complaints: &mut String) {
        let mut same = |what: &str, expected: &[String], found: &[String]| {
            compare(&format!("{what} {when}"), expected, found, complaints);
        };
        if let Some(active) = &self.active {
            same("active", std::slice::from_ref(active), std::slice::from_ref(&run.after.active));
        }
        if let Some(expected) = &self.why {
            let found = match &run.outcome {
                decide::Outcome::Stay { why, .. } => why.clone(),
                other => format!("{other:?}"),
            };
            same("why it stays", std::slice::from_ref(expected), &[found]);
        }
        if let Some(pinged) = &self.pinged {
            same("pinged", pinged, &run.pinged);
        }
        if let Some(checked) = &self.checked {
            same("checked", checked, &run.checked);
        }
        for (name, Time(silent)) in &self.silent_for {
            let found =
                run.after.link(name).map(|link| link.health.silent_for(link.law, run.after.checked_at));
            same(
                &format!("silence of {name}"),
                &[told_time(*silent)],
                &[found.map(told_time).unwrap_or_default()],
            );
        }
        for (name, relapses) in &self.relapses {
            let found = run.after.link(name).map(|link| link.health.relapses.to_string());
            same(&format!("relapses of {name}"), &[relapses.to_string()], &[found.unwrap_or_default()]);
        }
        if let Some(down) = &self.down {
            let is_down = run.after.links.iter().filter(|link| link.health.verdict == Verdict::Down);
            same("down", down, &is_down.map(|link| link.name.clone()).collect::<Vec<_>>());
        }
        if let Some(Time(time)) = self.next_switch_in {
            let found = run.after.next_switch_after.and_then(|at| at.since(run.at));
            same("next switch in", &[told_time(time)], &[found.map(told_time).unwrap_or_default()]);
        }
        if let Some(forced) = self.forced {
            same("forced", &[forced.to_string()], &[run.after.forced.to_string()]);
        }
        if let Some(expected) = &self.problems {
            let found = run.after.problems.iter().map(|problem| problem.code.to_string());
            same("problems", expected, &found.collect::<Vec<_>>());
        }
        let told = [
            ("said", &self.says, &run.said),
            ("warned", &self.warns, &run.warned),
            ("told besides", &self.details, &run.details),
        ];
        for (what, expected, found) in told {
            let first_line = |text: &String| text.lines().next().unwrap_or_default().to_owned();
            if let Some(expected) = expected {
                same(what, expected, &found.iter().map(first_line).collect::<Vec<_>>());
            }
        }
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {}", folder.display());
    files
}

#[test]
fn every_story_comes_out_as_it_is_told() {
    let mut failed = Vec::new();
    for file in files() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let scenario: Scenario =
            serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        // A panic speaks for itself, but not of which story it was.
        println!("{name}: {}", scenario.story);
        let runs = play(&scenario);
        let complaints = complaints(&scenario, &runs);
        if !complaints.is_empty() {
            println!("{complaints}run by run:\n{}", log(&runs));
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "stories that came out differently: {}", failed.join(", "));
}

/// The story, recorded, and played again by another config.
fn replay(scenario: &Scenario, config: &Config) -> Played {
    let mut router = Router::new(parse(&scenario.config));
    router.config.probe.record = true;
    play_on(&mut router, scenario);
    let mut recording = Recording::default();
    recording.add("the recording", router.recording.as_bytes());
    assert_eq!(recording.left_out, [""; 0]);
    let (config, left_out) = fit(config, &recording).unwrap();
    assert_eq!(left_out, [""; 0]);
    wanfo::core::replay::play(&recording, &config).unwrap()
}

#[test]
fn every_story_comes_out_the_same_when_its_recording_is_played() {
    let (mut failed, mut switches) = (Vec::new(), 0);
    for file in files() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let scenario: Scenario = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        // One config is in force all the time, nobody writes into the state file behind wanfo's back, and `ip` does what it
        // is told. Who sat at the keyboard, and that the process was stopped, is not recorded.
        let is_beyond_it = |what: &Happening| {
            what.config.is_some()
                || !what.state_file.is_empty()
                || what.ip.is_some()
                || what.by.is_some()
                || what.stops.is_some()
        };
        if scenario.timeline.iter().any(is_beyond_it) {
            continue;
        }
        println!("{name}");
        let played = replay(&scenario, &parse(&scenario.config));
        let tell = |record: &Record| match &record.event {
            // How much traffic there was is not recorded.
            Event::Switched { cause, forced, .. } => {
                format!("{} {} {cause:?} {forced}", record.at, record.event)
            }
            other => panic!("no switch: {other}"),
        };
        let [came, again] =
            [&played.came, &played.would_come].map(|all| all.iter().map(tell).collect::<Vec<_>>());
        let mut complaints = String::new();
        compare("switches in the replay", &came, &again, &mut complaints);
        if !complaints.is_empty() || played.guessed > 0 {
            println!("{} guessed of {}; {complaints}", played.guessed, played.requests);
            failed.push(name);
        }
        switches += came.len();
    }
    assert!(failed.is_empty(), "stories that are played differently: {}", failed.join(", "));
    assert!(switches > 80, "only {switches} switches in all");
}
