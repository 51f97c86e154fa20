//! The page for people, as somebody reads it at three in the morning: what is so, what is wrong, then each link.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::overall::{
    Detail, elsewhere, is_blind, is_held, is_ready, is_redundant, is_too_old, is_up, no_link_is_up,
};
use super::page::{Line, Tone, clock, exact_clock, lasting, roughly};
use crate::core::health::Health;
use crate::core::hold::Hold;
use crate::core::minutes::Minute;
use crate::core::problem::Code;
use crate::core::proofs::Proofs;
use crate::core::state::{LinkState, State, TargetState};
use crate::core::time::{BootTime, Moment};
use crate::core::units::bytes;

/// Where everything that is said of the router as a whole begins.
const LABEL: usize = 13;

const PROBLEM: &str = "problem: ";

/// The status, with times by the clock of this time zone.
pub fn render(
    state: Option<&State>,
    proofs: &Proofs,
    now: Moment,
    zone: &TimeZone,
    detail: Detail,
) -> Vec<Line> {
    match state {
        Some(state) => Page { state, proofs, now, zone, detail, lines: Vec::new() }.write(),
        None => {
            let text = "Nothing is known: no run of `wanfo check` has ended since boot, or since `wanfo down`. Is wanfo.timer enabled and started?";
            vec![Line::new(Tone::Bad, 0, text)]
        }
    }
}

/// The first line of a config that is no good.
pub fn config_broken(state: &State, now: Moment, zone: &TimeZone) -> Option<Line> {
    state.problems.iter().find(|problem| problem.code == Code::ConfigBroken)?;
    let since = match state.config_broken {
        Some(broken) => since(broken.since, now, zone),
        None => "since the last run".to_owned(),
    };
    Some(Line::new(Tone::Bad, 0, format!("CONFIG BROKEN {since}: the runs go on by the last good one")))
}

struct Page<'a> {
    state: &'a State,
    proofs: &'a Proofs,
    now: Moment,
    zone: &'a TimeZone,
    detail: Detail,
    lines: Vec<Line>,
}

impl Page<'_> {
    fn write(mut self) -> Vec<Line> {
        self.write_headline();
        for problem in self.state.problems.iter().filter(|problem| Some(*problem) != elsewhere(self.state)) {
            let line = Line::new(Tone::Warning, PROBLEM.len(), problem.to_string());
            self.lines.push(Line { head: PROBLEM.to_owned(), ..line });
        }
        for link in &self.state.links {
            self.blank();
            self.write_link(link);
        }
        self.blank();
        self.write_rest();
        self.lines
    }

    fn say(&mut self, tone: Tone, indent: usize, text: impl Into<String>) {
        self.lines.push(Line::new(tone, indent, text));
    }

    fn blank(&mut self) {
        self.say(Tone::Plain, 0, "");
    }

    /// What is said of the router as a whole, in two columns.
    fn tell(&mut self, label: &str, text: impl AsRef<str>) {
        let line = Line::new(Tone::Plain, LABEL, text.as_ref());
        self.lines.push(Line { head: label.to_owned(), ..line });
    }

    fn since(&self, at: BootTime) -> String {
        since(at, self.now, self.zone)
    }

    fn clock(&self, at: BootTime) -> String {
        clock(self.now.wall_time(at), self.now.wall, self.zone)
    }

    fn write_headline(&mut self) {
        let (state, now) = (self.state, self.now);
        if is_too_old(state, now) {
            let age = now.boot.since(state.checked_at).map_or("an unknown time".to_owned(), lasting);
            let text = format!("No run for {age}: is wanfo.timer running? What follows is old.");
            self.say(Tone::Bad, 0, text);
        }
        self.lines.extend(config_broken(state, now, self.zone));
        if let Some(problem) = elsewhere(state) {
            self.say(Tone::Bad, 0, format!("ELSEWHERE: {problem}"));
        }
        let by_hand = match state.hold {
            Hold::UntilFailback => ", held by hand",
            _ if state.forced => ", by hand",
            _ => "",
        };
        let entered = state.switched_at.map(|at| format!(" {}", self.since(at))).unwrap_or_default();
        let (tone, text) = if is_blind(state, now) && !is_too_old(state, now) {
            let probed_at = state.link(&state.active).and_then(|link| link.probed_at);
            let since = probed_at.map(|at| format!(" {}", self.since(at))).unwrap_or_default();
            let text =
                format!("UNKNOWN{since}: no run learns anything of {}, which has the traffic", state.active);
            (Tone::Bad, text)
        } else if no_link_is_up(state) {
            let last =
                state.links.iter().filter(|link| !link.routes_only).filter_map(|link| link.verdict_since);
            let since = last.max().map(|at| format!(" {}", self.since(at))).unwrap_or_default();
            (Tone::Bad, format!("NO LINK IS UP{since}; the traffic is on {}", state.active))
        } else if self.preferred().is_empty() {
            let (tone, spare) = self.told_spare();
            (tone, format!("On {}{entered}{by_hand}; {spare}", state.active))
        } else {
            let why = self.preferred().into_iter().map(|link| self.told_briefly(link));
            let why = why.collect::<Vec<_>>().join(", ");
            (Tone::Warning, format!("On {}{entered}{by_hand}: {why}", state.active))
        };
        self.say(if is_too_old(state, now) { Tone::Plain } else { tone }, 0, text);
    }

    /// The links before the active one, which would carry the traffic by themselves.
    fn preferred(&self) -> Vec<&LinkState> {
        let before = self.state.links.iter().take_while(|link| link.name != self.state.active);
        before.filter(|link| !link.routes_only).collect()
    }

    fn told_briefly(&self, link: &LinkState) -> String {
        let name = &link.name;
        match (is_up(link), self.trusted_in(link)) {
            (true, _) => format!("{name} is up"),
            (false, Some(_)) => format!("{name} answers again"),
            (false, None) => format!("{name} is down"),
        }
    }

    /// How it stands with the links that could be switched to from the primary.
    fn told_spare(&self) -> (Tone, String) {
        let spare =
            || self.state.links.iter().filter(|link| link.name != self.state.active && !link.routes_only);
        let down: Vec<String> = (spare().filter(|link| !is_ready(link)))
            .map(|link| {
                if is_up(link) {
                    return format!("{} was never probed", link.name);
                }
                let at = link.silent_since.or(link.verdict_since);
                let since = at.map(|at| format!(" since {}", self.clock(at))).unwrap_or_default();
                format!("{} is DOWN{since}", link.name)
            })
            .collect();
        match (is_redundant(self.state), down.is_empty()) {
            (true, true) => {
                let ready: Vec<&str> = spare().map(|link| link.name.as_str()).collect();
                (Tone::Good, format!("{} ready", listed(&ready)))
            }
            (true, false) => (Tone::Warning, down.join(", ")),
            (false, _) => (Tone::Warning, format!("{}: no redundancy", down.join(", "))),
        }
    }

    /// How long a link that is down has to answer on; `None`: it does not answer.
    fn trusted_in(&self, link: &LinkState) -> Option<Duration> {
        link.health.stable_in(link.law, self.state.checked_at)
    }

    fn write_link(&mut self, link: &LinkState) {
        let marker = if link.name == self.state.active { '*' } else { ' ' };
        let verdict = match (is_up(link), link.has_targets) {
            (true, true) => "up",
            (true, false) => "not probed",
            (false, _) => "DOWN",
        };
        let interface = link.interface.as_deref().unwrap_or("no interface");
        let via: Vec<String> =
            [link.gateway, link.gateway6].into_iter().flatten().map(|gateway| gateway.to_string()).collect();
        let via = if via.is_empty() { String::new() } else { format!(" via {}", via.join(" and ")) };
        let routes_only = if link.routes_only { "  routes only" } else { "" };
        let tone = if is_up(link) { Tone::Plain } else { Tone::Bad };
        self.say(tone, 0, format!("{marker} {:<12} {verdict:<5} {interface}{via}{routes_only}", link.name));
        if self.detail == Detail::Full {
            let sources = [(link.gateway, link.gateway_source), (link.gateway6, link.gateway6_source)];
            for (gateway, source) in sources {
                if let (Some(gateway), Some(source)) = (gateway, source) {
                    self.say(Tone::Plain, 4, format!("gateway {gateway} is known from {source}"));
                }
            }
        }
        let standing = self.standing(link);
        if let Some(standing) = standing {
            self.say(tone, 4, standing);
        }
        self.write_targets(link);
        self.write_services(link);
        if let (true, Some(at)) = (link.has_targets, link.probed_at) {
            let strip: String = link.minutes.strip(self.now.boot).map(letter).collect();
            self.say(
                Tone::Plain,
                4,
                format!("probed {}; the last hour (= good, X bad, . not asked):", ago(at, self.now)),
            );
            self.say(Tone::Bar, 4, format!("[{strip}]"));
        }
        let mut backups = self.state.links.iter().filter(|link| !link.routes_only).skip(1);
        if backups.any(|backup| backup.name == link.name) {
            self.say(Tone::Plain, 4, self.told_proof(link));
        }
    }

    /// By the wall clock: a drill is remembered over reboots.
    fn told_proof(&self, link: &LinkState) -> String {
        let Some(at) = self.proofs.of(link) else { return "never proven (`wanfo drill`)".to_owned() };
        match Duration::try_from(self.now.wall.duration_since(at)) {
            Ok(age) => format!("proven {} ago", lasting(age)),
            Err(_) => "proven at an unknown time".to_owned(),
        }
    }

    fn write_targets(&mut self, link: &LinkState) {
        // What is wrong with the interface is said once.
        let of_interface = link
            .last_error
            .as_ref()
            .filter(|error| link.targets.iter().all(|target| target.error.as_ref() == Some(*error)));
        if let Some(error) = of_interface {
            if !self.state.problems.iter().any(|problem| problem.link.as_ref() == Some(&link.name)) {
                self.say(Tone::Plain, 4, error.clone());
            }
            return;
        }
        let width = link.targets.iter().map(|target| target.address.to_string().len()).max().unwrap_or(0);
        for target in &link.targets {
            let never =
                if target.heard_at.is_none() && target.error.is_some() { ", never answered" } else { "" };
            let told = format!("{:<width$}  {}{never}", target.address.to_string(), answer(target));
            self.say(Tone::Plain, 4, told);
        }
        // What the targets do not tell.
        let told = link.targets.iter().all(|target| target.error.is_some());
        if let Some(last_error) = link.last_error.as_ref().filter(|_| !told && !link.services.useless) {
            self.say(Tone::Plain, 4, last_error.clone());
        }
    }

    fn write_services(&mut self, link: &LinkState) {
        let services = &link.services;
        if services.useless {
            self.say(Tone::Bad, 4, "it answers ping, but no service:");
        }
        let when = services.asked_at.map(|at| format!(" ({})", ago(at, self.now))).unwrap_or_default();
        for check in &services.checks {
            let told = match (&check.error, check.took_ms) {
                (Some(error), _) => format!(" {error}"),
                (None, Some(took_ms)) => format!(": {took_ms:.1} ms"),
                (None, None) => ": ok".to_owned(),
            };
            self.say(Tone::Plain, 4, format!("{}{told}{when}", check.check));
        }
    }

    /// How the law of silence stands with it, as the last run left it.
    fn standing(&self, link: &LinkState) -> Option<String> {
        let silent = link.health.silent_for(link.law, self.state.checked_at);
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        match (is_up(link), self.trusted_in(link)) {
            (true, _) if silent.is_zero() => None,
            (true, _) => {
                Some(format!("silent for {} (down at {} s)", seconds(silent), link.law.silence.as_secs_f64()))
            }
            (false, Some(left)) => {
                Some(format!("answers again, trusted in {}{}", lasting(left), told_relapses(&link.health)))
            }
            (false, None) => {
                let at = link.silent_since.or(link.verdict_since)?;
                let began = exact_clock(self.now.wall_time(at), self.now.wall, self.zone);
                let lasted = self.now.boot.since(at).map(lasting).unwrap_or_default();
                Some(format!("DOWN since {began} ({lasted}){}", told_relapses(&link.health)))
            }
        }
    }

    /// What else there is to know, and what will happen next.
    fn write_rest(&mut self) {
        let (state, now) = (self.state, self.now);
        if let Some(switching) = &state.switching {
            let text =
                format!("the switch from {} to {}; the next run goes on", switching.from, switching.to);
            self.tell("unfinished", text);
        }
        // Else the headline and the link's own lines tell it.
        if state.forced || self.preferred().is_empty() {
            self.tell("reason", &state.reason);
        }
        // The veto's own line tells what it waits for.
        if let Some(next) = self.next().filter(|_| state.veto.is_none()) {
            self.tell("next", next);
        }
        if let Some(veto) = &state.veto {
            let text = format!(
                "{} ({}); it is asked again, `wanfo failback --now` does not ask",
                veto.why,
                ago(veto.at, now)
            );
            self.tell("veto", text);
        }
        if let Some(usage) = &state.usage {
            self.tell("over backup", format!("{} so far", bytes(usage.total)));
        }
        if state.outlook.pending > 0 {
            let text = match state.outlook.pending {
                1 => "1 message waits to be sent".to_owned(),
                waiting => format!("{waiting} messages wait to be sent"),
            };
            self.tell(
                "mail",
                text + "; `wanfo deliver -v` tells why, wanfo-deliver.path starts it by itself",
            );
        }
        self.tell("last run", ago(state.checked_at, now));
    }

    /// What the coming runs will do, as long as nothing else happens.
    fn next(&self) -> Option<String> {
        let (state, now) = (self.state, self.now);
        let active = &state.active;
        if no_link_is_up(state) {
            return Some("the first link that answers is taken at once".to_owned());
        }
        let until = state.next_switch_after.filter(|at| *at > now.boot);
        match (state.hold, until) {
            (Hold::UntilFailback, _) => return Some(format!("held on {active} until `wanfo failback`")),
            (_, Some(until)) if is_held(state, now) && self.preferred().is_empty() => {
                return Some(format!("held on {active} until {}", self.clock(until)));
            }
            _ => {}
        }
        let ready_at = |link: &LinkState| match is_up(link) {
            true => Some(now.boot),
            false => Some(state.checked_at.plus(self.trusted_in(link)?)),
        };
        let preferred = self.preferred();
        let ready =
            preferred.iter().filter_map(|link| Some((ready_at(link)?, link))).min_by_key(|(at, _)| *at);
        match (ready, preferred.first()) {
            (Some((at, link)), _) => {
                let at = at.max(until.unwrap_or(at));
                let held = if is_held(state, now) { format!("held on {active}; ") } else { String::new() };
                Some(format!("{held}back to {} about {} if it stays up", link.name, self.clock(at)))
            }
            (None, Some(link)) => {
                let stable = lasting(link.health.needed(link.law));
                Some(format!("back to {} once it has answered for {stable}", link.name))
            }
            (None, None) => None,
        }
    }
}

fn listed(names: &[&str]) -> String {
    match names {
        [name] => format!("{name} is"),
        names => format!("{} are", names.join(", ")),
    }
}

fn told_relapses(health: &Health) -> String {
    match health.relapses {
        _ if health.is_fickle => " (down three times within an hour)".to_owned(),
        0 => String::new(),
        1 => " (1 relapse)".to_owned(),
        more => format!(" ({more} relapses)"),
    }
}

fn letter(minute: Minute) -> char {
    match minute {
        Minute::Good => '=',
        Minute::Bad => 'X',
        Minute::Unknown => '.',
    }
}

fn answer(target: &TargetState) -> String {
    match (&target.error, target.rtt_ms) {
        (Some(error), _) => error.clone(),
        (None, Some(rtt_ms)) => format!("{rtt_ms:.1} ms"),
        (None, None) => "ok".to_owned(),
    }
}

fn since(at: BootTime, now: Moment, zone: &TimeZone) -> String {
    let lasted = now.boot.since(at).map_or("at an unknown time".to_owned(), roughly);
    format!("since {} ({lasted})", clock(now.wall_time(at), now.wall, zone))
}

fn ago(at: BootTime, now: Moment) -> String {
    match now.boot.since(at) {
        Some(elapsed) if elapsed < Duration::from_secs(1) => "just now".to_owned(),
        Some(elapsed) => format!("{} ago", lasting(elapsed)),
        None => "at an unknown time".to_owned(),
    }
}
