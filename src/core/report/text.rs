//! The page for people.

use std::fmt::Write;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::overall::{Detail, elsewhere, is_held, is_too_old, is_up};
use crate::core::hold::Hold;
use crate::core::problem::Code;
use crate::core::state::{LinkState, State, TargetState};
use crate::core::time::{BootTime, Moment};
use crate::core::units::span;

/// The state as a page of text, times as they are told: "3m 20s ago", and by the clock of this time zone.
pub fn render(state: Option<&State>, now: Moment, zone: &TimeZone, detail: Detail) -> String {
    match state {
        Some(state) => page(state, now, zone, detail).expect("writing to a string does not fail"),
        None => "Nothing is known: no run of `wanfo check` since boot. Is wanfo.timer enabled and started?\n"
            .to_owned(),
    }
}

fn page(state: &State, now: Moment, zone: &TimeZone, detail: Detail) -> Result<String, std::fmt::Error> {
    let mut page = config_broken(state, now, zone).unwrap_or_default();
    if is_too_old(state, now) {
        writeln!(
            page,
            "TOO OLD: the last run was {}; is wanfo.timer running?\n",
            ago(state.checked_at, now)
        )?;
    }
    if let Some(problem) = elsewhere(state) {
        writeln!(page, "ELSEWHERE: {problem}\n")?;
    }
    let forced = if state.forced { ", by hand" } else { "" };
    match state.switched_at {
        Some(at) => writeln!(page, "{} is active {}{forced}", state.active, since(at, now, zone))?,
        None => writeln!(page, "{} is active{forced}", state.active)?,
    }
    writeln!(page, "  reason      {}", state.reason)?;
    if let Some(switching) = &state.switching {
        writeln!(
            page,
            "  unfinished  the switch from {} to {}; the next run goes on",
            switching.from, switching.to
        )?;
    }
    match (state.hold, state.next_switch_after.and_then(|at| at.since(now.boot))) {
        (Hold::UntilFailback, _) => writeln!(page, "  held        until `wanfo failback`")?,
        (_, Some(left)) if is_held(state, now) => writeln!(page, "  held        for {} more", span(left))?,
        (_, Some(left)) if !left.is_zero() => writeln!(
            page,
            "  delay       no automatic switch for {} more, unless {} goes down",
            span(left),
            state.active
        )?,
        _ => {}
    }
    if let Some(veto) = &state.veto {
        writeln!(page, "  veto        {} ({})", veto.why, ago(veto.at, now))?;
    }
    match state.outlook.pending {
        0 => {}
        1 => writeln!(page, "  mail        1 message waits to be sent")?,
        waiting => writeln!(page, "  mail        {waiting} messages wait to be sent")?,
    }
    writeln!(page, "  last run    {}", ago(state.checked_at, now))?;
    for link in &state.links {
        write_link(&mut page, link, state, detail)?;
        if let Some(standing) = standing(link, state.checked_at, now, zone) {
            writeln!(page, "    {standing}")?;
        }
        write_targets(&mut page, link, now)?;
    }
    for problem in state.problems.iter().filter(|problem| Some(*problem) != elsewhere(state)) {
        writeln!(page, "\nproblem: {problem}")?;
    }
    Ok(page)
}

/// The headline of a config that is no good.
pub fn config_broken(state: &State, now: Moment, zone: &TimeZone) -> Option<String> {
    state.problems.iter().find(|problem| problem.code == Code::ConfigBroken)?;
    Some(match state.config_broken {
        Some(broken) => {
            format!(
                "CONFIG BROKEN {}: the runs go on by the last good one\n\n",
                since(broken.since, now, zone)
            )
        }
        None => "CONFIG BROKEN since the last run\n\n".to_owned(),
    })
}

fn write_link(page: &mut String, link: &LinkState, state: &State, detail: Detail) -> std::fmt::Result {
    let marker = if link.name == state.active { '*' } else { ' ' };
    let verdict = match (is_up(link), link.has_targets) {
        (true, true) => "up",
        (true, false) => "not probed",
        (false, _) => "DOWN",
    };
    let interface = link.interface.as_deref().unwrap_or("no interface");
    write!(page, "\n{marker} {:<12} {verdict:<5} {interface}", link.name)?;
    match (link.gateway, link.gateway6) {
        (Some(gateway), Some(gateway6)) => write!(page, " via {gateway} and {gateway6}")?,
        (Some(gateway), None) | (None, Some(gateway)) => write!(page, " via {gateway}")?,
        (None, None) => {}
    }
    if link.routes_only {
        write!(page, "  routes only")?;
    }
    writeln!(page)?;
    if detail == Detail::Full {
        for (gateway, source) in [(link.gateway, link.gateway_source), (link.gateway6, link.gateway6_source)]
        {
            if let (Some(gateway), Some(source)) = (gateway, source) {
                writeln!(page, "    gateway {gateway} is known from {source}")?;
            }
        }
    }
    Ok(())
}

fn write_targets(page: &mut String, link: &LinkState, now: Moment) -> std::fmt::Result {
    if let Some(last_error) = &link.last_error {
        writeln!(page, "    {last_error}")?;
    }
    let width = link.targets.iter().map(|target| target.address.to_string().len()).max().unwrap_or(0);
    for target in &link.targets {
        writeln!(page, "    {:<width$}  {}", target.address.to_string(), answer(target))?;
    }
    match link.probed_at {
        Some(at) if !link.targets.is_empty() => writeln!(page, "    probed {}", ago(at, now)),
        _ => Ok(()),
    }
}

/// How the law of silence stands with it, as the last run left it.
fn standing(link: &LinkState, checked_at: BootTime, now: Moment, zone: &TimeZone) -> Option<String> {
    let silent = link.health.silent_for(link.law, checked_at);
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let relapses = match link.health.relapses {
        _ if link.health.is_fickle => " (down three times within an hour)".to_owned(),
        0 => String::new(),
        1 => " (1 relapse)".to_owned(),
        more => format!(" ({more} relapses)"),
    };
    match (is_up(link), link.health.stable_in(link.law, checked_at)) {
        (true, _) if silent.is_zero() => None,
        (true, _) => Some(format!("silent for {} (down at {})", seconds(silent), seconds(link.law.silence))),
        (false, Some(left)) => Some(format!("answers again, trusted in {}{relapses}", span(left))),
        (false, None) => {
            let at = link.silent_since.or(link.verdict_since)?;
            Some(format!("down {}{relapses}", since(at, now, zone)))
        }
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
    let local = now.wall_time(at).to_zoned(zone.clone());
    format!("since {} ({})", local.strftime("%Y-%m-%d %H:%M:%S %Z"), ago(at, now))
}

fn ago(at: BootTime, now: Moment) -> String {
    match now.boot.since(at) {
        Some(elapsed) if elapsed < Duration::from_secs(1) => "just now".to_owned(),
        Some(elapsed) => format!("{} ago", span(elapsed)),
        None => "at an unknown time".to_owned(),
    }
}
