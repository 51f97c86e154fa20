//! The stable interface for programs. Fields are only ever added.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::overall::{is_held, is_redundant, is_too_old, is_up};
use crate::core::gateway::Source;
use crate::core::problem::Problem;
use crate::core::proofs::Proofs;
use crate::core::service::CheckState;
use crate::core::state::State;
use crate::core::time::Moment;

#[derive(Serialize)]
struct Status<'a> {
    version: u32,
    active: Option<&'a str>,
    since: Option<Timestamp>,
    reason: &'a str,
    forced: bool,
    hold: bool,
    next_switch_after: Option<Timestamp>,
    last_check: Option<Timestamp>,
    /// Runs that should have come since did not.
    stale: bool,
    /// There is a link to go to if the active one fails now.
    redundant: bool,
    problems: &'a [Problem],
    /// The exit script's answer, when it was no.
    veto: Option<&'a str>,
    notifications_pending: usize,
    links: Vec<Link<'a>>,
}

#[derive(Serialize)]
struct Link<'a> {
    name: &'a str,
    interface: Option<&'a str>,
    gateway: Option<IpAddr>,
    gateway6: Option<IpAddr>,
    gateway_source: Option<Source>,
    gateway6_source: Option<Source>,
    up: bool,
    /// It has targets; else `up` says no more than that its interface has carrier.
    probed: bool,
    active: bool,
    /// How long nothing had been heard of it in the last run.
    silent_for_ms: u64,
    /// How long it has to go on answering until it is up again; `null`: it is up, or does not answer.
    stable_in_ms: Option<u64>,
    /// How often in a row it went down soon after it came up.
    relapses: u32,
    /// It never carries the default traffic.
    routes_only: bool,
    last_probe: Option<Timestamp>,
    /// Why it did not answer when it was asked last.
    last_error: Option<&'a str>,
    /// When a drill last proved it.
    last_proof: Option<Timestamp>,
    targets: Vec<Target<'a>>,
    /// None of its checks passes, though it answers.
    useless: bool,
    last_service_check: Option<Timestamp>,
    checks: Vec<Check<'a>>,
}

#[derive(Serialize)]
struct Target<'a> {
    address: IpAddr,
    ok: bool,
    rtt_ms: Option<f64>,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Check<'a> {
    check: &'a str,
    ok: bool,
    took_ms: Option<f64>,
    error: Option<&'a str>,
}

/// The state as one line of JSON; without one, the same fields with `null` for what is not known.
pub fn render(state: Option<&State>, proofs: &Proofs, now: Moment) -> String {
    let status = match state {
        Some(state) => known(state, proofs, now),
        None => Status {
            version: 2,
            active: None,
            since: None,
            reason: "no run of `wanfo check` since boot, or since `wanfo down`",
            forced: false,
            hold: false,
            next_switch_after: None,
            last_check: None,
            stale: true,
            redundant: false,
            problems: &[],
            veto: None,
            notifications_pending: 0,
            links: Vec::new(),
        },
    };
    serde_json::to_string(&status).expect("strings, numbers and lists always make JSON")
}

fn told_check(check: &CheckState) -> Check<'_> {
    let error = check.error.as_deref();
    Check { check: &check.check, ok: error.is_none(), took_ms: check.took_ms, error }
}

fn known<'a>(state: &'a State, proofs: &Proofs, now: Moment) -> Status<'a> {
    let wall = |at| now.wall_time(at);
    let links = state.links.iter().map(|link| Link {
        name: &link.name,
        interface: link.interface.as_deref(),
        gateway: link.gateway,
        gateway6: link.gateway6,
        gateway_source: link.gateway_source,
        gateway6_source: link.gateway6_source,
        up: is_up(link),
        probed: link.has_targets,
        active: link.name == state.active,
        silent_for_ms: link.health.silent_for(link.law, state.checked_at).as_millis() as u64,
        stable_in_ms: link.health.stable_in(link.law, state.checked_at).map(|left| left.as_millis() as u64),
        relapses: link.health.relapses,
        routes_only: link.routes_only,
        last_probe: link.probed_at.map(wall),
        last_error: link.last_error.as_deref(),
        last_proof: proofs.of(link),
        targets: link
            .targets
            .iter()
            .map(|target| Target {
                address: target.address,
                ok: target.error.is_none(),
                rtt_ms: target.rtt_ms,
                error: target.error.as_deref(),
            })
            .collect(),
        useless: link.services.useless,
        last_service_check: link.services.asked_at.map(wall),
        checks: link.services.checks.iter().map(told_check).collect(),
    });
    Status {
        version: 2,
        active: Some(&state.active),
        since: state.switched_at.map(wall),
        reason: &state.reason,
        forced: state.forced,
        hold: is_held(state, now),
        next_switch_after: state.next_switch_after.filter(|at| *at > now.boot).map(wall),
        last_check: Some(wall(state.checked_at)),
        stale: is_too_old(state, now),
        redundant: is_redundant(state),
        problems: &state.problems,
        veto: state.veto.as_ref().map(|veto| veto.why.as_str()),
        notifications_pending: state.outlook.pending,
        links: links.collect(),
    }
}
