//! The status for Prometheus, as the node exporter's textfile collector takes it (the text format 0.0.4 of its documentation).

use std::fmt::{Display, Write};

use super::overall::{is_held, is_redundant, is_too_old, is_up, overall};
use crate::core::problem::Code;
use crate::core::proofs::Proofs;
use crate::core::state::{LinkState, State};
use crate::core::time::Moment;

/// Every metric with its help. Times are in seconds, those of the wall clock since 1970.
pub fn render(state: Option<&State>, proofs: &Proofs, now: Moment) -> String {
    let mut page = Page(String::new());
    let code = overall(state, now, false) as u8;
    page.family(
        "wanfo_status",
        "0 on the primary, 1 on a backup or elsewhere, 2 no link up, 3 unknown",
        [(vec![], code)],
    );
    let Some(state) = state else { return page.0 };
    let wall = |at| now.wall_time(at).as_second();
    let links = || state.links.iter().map(|link| (vec![("link", link.name.clone())], link));
    let of_links = |value: fn(&State, &LinkState) -> f64| {
        links().map(move |(labels, link)| (labels, value(state, link)))
    };
    let flag = |value: bool| [(vec![], u8::from(value))];
    page.family(
        "wanfo_last_run_timestamp_seconds",
        "When the last run was made",
        [(vec![], wall(state.checked_at))],
    );
    page.family("wanfo_stale", "1: runs that should have come since did not", flag(is_too_old(state, now)));
    page.family("wanfo_redundant", "1: another link would take the traffic now", flag(is_redundant(state)));
    page.family("wanfo_forced", "1: a person asked for the active link", flag(state.forced));
    page.family("wanfo_held", "1: held by `force-failover --for` or `--hold`", flag(is_held(state, now)));
    let since = state.switched_at.map(|at| (vec![], wall(at)));
    page.family("wanfo_switch_timestamp_seconds", "When the active link became so", since);
    let over_backup = state.usage.map(|usage| (vec![], usage.total));
    page.family("wanfo_backup_bytes", "Bytes, both ways, over the backup that is active", over_backup);
    page.family(
        "wanfo_notifications_pending",
        "Messages that wait to be sent",
        [(vec![], state.outlook.pending)],
    );
    page.family("wanfo_link_up", "1: the link works", of_links(|_, link| u8::from(is_up(link)).into()));
    page.family(
        "wanfo_link_active",
        "1: it carries the default traffic",
        of_links(|state, link| u8::from(link.name == state.active).into()),
    );
    page.family(
        "wanfo_link_probed",
        "0: it has no targets, and counts as up while it has carrier",
        of_links(|_, link| u8::from(link.has_targets).into()),
    );
    page.family(
        "wanfo_link_silence_seconds",
        "How long nothing had been heard of it in the last run",
        of_links(|state, link| link.health.silent_for(link.law, state.checked_at).as_secs_f64()),
    );
    page.family(
        "wanfo_link_relapses",
        "How often in a row it went down soon after it came up",
        of_links(|_, link| link.health.relapses.into()),
    );
    page.family(
        "wanfo_link_proof_timestamp_seconds",
        "When a drill last proved it",
        links().filter_map(|(labels, link)| Some((labels, proofs.of(link)?.as_second()))),
    );
    let targets = || {
        links().flat_map(|(labels, link)| {
            link.targets.iter().map(move |target| {
                (labels.iter().cloned().chain([("target", target.address.to_string())]).collect(), target)
            })
        })
    };
    page.family(
        "wanfo_target_up",
        "1: it answered when it was asked last",
        targets().map(|(labels, target): (Labels, _)| (labels, u8::from(target.error.is_none()))),
    );
    page.family(
        "wanfo_target_rtt_seconds",
        "Round-trip time of its last answer",
        targets().filter_map(|(labels, target)| Some((labels, (target.rtt_ms? * 1e3).round() / 1e6))),
    );
    let checks = || {
        links().flat_map(|(labels, link)| {
            link.services.checks.iter().map(move |check| {
                (labels.iter().cloned().chain([("check", check.check.clone())]).collect(), check)
            })
        })
    };
    page.family(
        "wanfo_check_up",
        "1: the service check passed when it was asked last",
        checks().map(|(labels, check): (Labels, _)| (labels, u8::from(check.error.is_none()))),
    );
    page.family(
        "wanfo_check_seconds",
        "How long it took",
        checks().filter_map(|(labels, check)| Some((labels, (check.took_ms? * 1e3).round() / 1e6))),
    );
    page.problems(state);
    page.0
}

struct Page(String);

type Labels = Vec<(&'static str, String)>;

impl Page {
    /// One metric, all of whose samples stand together.
    fn family<V: Display>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, V)>) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_some() {
            self.line(format_args!("# HELP {name} {help}."));
            self.line(format_args!("# TYPE {name} gauge"));
            samples.for_each(|(labels, value)| self.line(format_args!("{name}{} {value}", told(&labels))));
        }
    }

    fn problems(&mut self, state: &State) {
        let mut counted: Vec<(Code, usize)> = Vec::new();
        for problem in &state.problems {
            match counted.iter_mut().find(|(code, _)| *code == problem.code) {
                Some((_, count)) => *count += 1,
                None => counted.push((problem.code, 1)),
            }
        }
        let samples = counted.iter().map(|(code, count)| (vec![("code", code.to_string())], *count));
        self.family("wanfo_problems", "What an admin should look at, by its code", samples);
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("writing to a string does not fail");
    }
}

fn told(labels: &Labels) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
}
