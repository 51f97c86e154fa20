//! Links, targets and checks by what they answer, and by what keeps us from asking.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::core::config::Config;
use crate::core::facts::{Family, other_than};
use crate::core::health::{LinkResult, ProbeError, Probed, Verdict};
use crate::core::pin;
use crate::core::problem::{Code, Problem, list};
use crate::core::round::RunInput;
use crate::core::service::{Check, CheckError, CheckState};
use crate::core::state::{LinkState, State, TargetState};

/// So often a target is asked in vain before that is told.
const ASKED_IN_VAIN: u32 = 5;
/// A family of the active link is silent for so long, and for so many runs, before that is told: a lost packet is no news.
const FAMILY_SILENT: Duration = Duration::from_secs(30);
const FAMILY_BEATS: u32 = 3;
/// So often in a row a check fails before that is told.
const FAILED_TOLD: u32 = 2;

/// What the answers of all runs so far say of the targets.
pub fn of_targets(state: &State) -> Vec<Problem> {
    let mut problems = never_answered(&state.links);
    problems.extend(silent_over_every_link(&state.links));
    problems.extend(silent_family(state));
    problems
}

/// Targets that have not answered once since they are in the config, or since boot.
fn never_answered(links: &[LinkState]) -> Vec<Problem> {
    let of_link = |link: &LinkState| {
        let never = |it: &&TargetState| it.heard_at.is_none() && it.asked_in_vain >= ASKED_IN_VAIN;
        let never = link.targets.iter().filter(never).map(|target| target.address);
        let text = format!(
            "{} has never answered since it is a target here, or since boot; is it a typo, or an address that answers no \
             ping?",
            list(never)?
        );
        Some(Problem::new(Code::TargetNeverAnswered, Some(&link.name), text))
    };
    links.iter().filter_map(of_link).collect()
}

/// Whether a target was not heard for longer than this while its link was.
fn is_silent_for(target: &TargetState, link: &LinkState, patience: Duration) -> bool {
    let since_heard = target.heard_at.and_then(|at| link.health.heard_at?.since(at));
    since_heard.is_some_and(|time| time > patience)
}

/// Targets of several links that have fallen silent over each, though the links are heard.
fn silent_over_every_link(links: &[LinkState]) -> Vec<Problem> {
    let mut silent: Vec<(IpAddr, usize, bool)> = Vec::new();
    for link in links {
        let is_modem = |it: &TargetState| [link.gateway, link.gateway6].contains(&Some(it.address));
        for target in link.targets.iter().filter(|target| !is_modem(target)) {
            // Longer than a link may be silent: one lost packet says nothing.
            let is_silent = target.at_fault
                || link.health.verdict == Verdict::Up && is_silent_for(target, link, link.law.silence);
            match silent.iter_mut().find(|(address, ..)| *address == target.address) {
                Some((_, count, all)) => (*count, *all) = (*count + 1, *all && is_silent),
                None => silent.push((target.address, 1, is_silent)),
            }
        }
    }
    let silent = silent.into_iter().filter(|(_, count, all)| *count > 1 && *all);
    silent
        .map(|(address, count, _)| {
            let text = format!(
                "{address} is silent over all {count} links that have it as a target, while others answer: it says nothing \
                 of a line any more; take another"
            );
            Problem::new(Code::TargetSilentEverywhere, None, text)
        })
        .collect()
}

/// A family of which no target of the active link answers any more, while those of the other do: the link is up, and half of
/// what people do is not.
fn silent_family(state: &State) -> Option<Problem> {
    let link = state.link(&state.active).filter(|link| link.health.verdict == Verdict::Up)?;
    let patience = FAMILY_SILENT.max(state.beat().unwrap_or_default() * FAMILY_BEATS);
    let problem = |family: Family| {
        // What is silent over every link says nothing of this one.
        let counts = |target: &&TargetState| Family::from(target.address) == family && !target.at_fault;
        let targets: Vec<&TargetState> = link.targets.iter().filter(counts).collect();
        if !targets.iter().all(|target| is_silent_for(target, link, patience)) {
            return None;
        }
        let text = format!(
            "no {family} target of it answers any more ({}), while {} does: what the LAN sends by {family} may be lost on its way; the \
             link is left for that where `quorum` asks for both families",
            list(targets.iter().map(|target| target.address))?,
            other_than(family)
        );
        Some(Problem::new(Code::FamilySilent, Some(&link.name), text))
    };
    [Family::V4, Family::V6].into_iter().find_map(problem)
}

/// What keeps this machine from probing. It says nothing of any line.
pub fn own_faults(config: &Config, results: &[LinkResult]) -> Vec<Problem> {
    let mut faults: Vec<Problem> = Vec::new();
    for (link, result) in config.links.iter().zip(results) {
        // Most often all targets of a link go the same wrong way.
        let mut diverted: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
        for target in result.targets.iter().flatten() {
            match &target.result {
                Err(ProbeError::OwnFault(fault) | ProbeError::Refused(fault)) => {
                    let fault = Problem::new(Code::CannotProbe, None, fault);
                    if !faults.contains(&fault) {
                        faults.push(fault);
                    }
                }
                Err(ProbeError::Diverted(how)) => diverted.entry(how).or_default().push(target.address),
                _ => {}
            }
        }
        for check in &result.checks {
            if let Err(CheckError::OwnFault(why) | CheckError::NotAsked(why)) = &check.result {
                let text = format!("{} {why}", check.check);
                faults.push(Problem::new(Code::CannotCheck, Some(&link.name), text));
            }
        }
        faults.extend(diverted.into_iter().filter_map(|(how, targets)| {
            let text = format!(
                "echo request to {}: {how}; if a rule or route of somebody else's does that, move it, or set \
                 `routing.rule_priority` in the config below the number of that rule (`ip rule` lists them)",
                list(targets)?
            );
            Some(Problem::new(Code::ProbeDiverted, Some(&link.name), text))
        }));
    }
    faults
}

pub fn no_link_up(input: &RunInput, results: &[LinkResult]) -> Option<Problem> {
    let mut carriers = input.config.links.iter().zip(results).filter(|(link, _)| !link.routes_only);
    let none = carriers.all(|(_, result)| result.health.verdict == Verdict::Down);
    let text = || {
        let common = match have_the_same_targets(input, results) {
            true => {
                "; all are silent with the same targets: it may be these, or this router (its firewall, its rules)"
            }
            false => "",
        };
        format!("no link is up; staying on {} until one is{common}", input.name(input.active()))
    };
    none.then(|| Problem::new(Code::NoLinkUp, None, text()))
}

/// Whether all links that carry default traffic are asked by the same targets, and none of them answers.
fn have_the_same_targets(input: &RunInput, results: &[LinkResult]) -> bool {
    let carriers = input.config.links.iter().zip(results).filter(|(link, _)| !link.routes_only);
    let asked: Vec<_> = carriers
        .map(|(link, result)| {
            let targets: BTreeSet<IpAddr> =
                result.targets.iter().flatten().map(|target| target.address).collect();
            let are_silent =
                matches!(result.probed, Probed::Silent(_)) && targets.len() == link.targets.len();
            (are_silent && !targets.is_empty()).then_some(targets)
        })
        .collect();
    asked.len() > 1 && asked[0].is_some() && asked.iter().all(|targets| *targets == asked[0])
}

/// Checks that fail over every link that has them: they say nothing of a line. Where it is the line's fault, the link's own
/// words tell.
pub fn checks_fail(input: &RunInput, results: &[LinkResult]) -> Option<Problem> {
    let fails = |check: &Check| {
        let known = results.iter().filter_map(|result| Some((result, result.services.of_check(check)?)));
        let is_told = |(result, known): (&LinkResult, &CheckState)| {
            known.failed >= FAILED_TOLD && !result.services.useless
        };
        known.clone().all(|(_, known)| known.failed > 0) && known.clone().any(is_told)
    };
    let mut failing: Vec<&Check> = Vec::new();
    for check in input.config.links.iter().flat_map(|link| &link.checks) {
        if !failing.contains(&check) && fails(check) {
            failing.push(check);
        }
    }
    let text = format!(
        "no link passes these checks, so they say nothing of a line, and nothing moves because of them: {}; look whether these \
         servers are well, and whether this router's firewall lets the questions out",
        list(failing)?
    );
    Some(Problem::new(Code::ChecksFail, None, text))
}

/// Links whose checks are not asked, since nothing would tie them to the link.
pub fn checks_untied(input: &RunInput) -> Vec<Problem> {
    let links =
        input.config.links.iter().filter(|link| pin::checks(link, input.pin).len() < link.checks.len());
    let text = "its checks are not asked: only `pin: link` ties them to the link, which needs the right to take another uid \
                (CAP_SETUID)";
    links.map(|link| Problem::new(Code::CannotCheck, Some(&link.name), text)).collect()
}
