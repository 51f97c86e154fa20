//! What goes wrong around wanfo, end to end: the real binary, real files, real routes, nothing mocked.
//!
//! Every story asks three things: does the exit code tell, does a sentence on stderr say what to do, and are the
//! routes, the rules and the state as they were, or better. And nothing on the way may be a panic.

/// Answers that are wrong, late or doubled, and requests that never leave.
mod answers;
/// A machine that slept, and one whose snapshot was restored.
mod clocks;
/// Configurations that are no good, and links that do not match the machine.
mod config;
/// An `ip` that is missing, fails, hangs, babbles or lies.
pub mod iproute;
/// Runs that are killed, and interfaces that vanish under them.
mod killed;
/// A config that somebody breaks while the router is at work.
mod last_good;
/// No permission, and too few of what a process needs.
mod limits;
/// Readers of our output that have gone, or do not read.
mod output;
/// What would fail later, and is told today.
mod standing;
/// The lock and the state file, and the disk below them.
mod store;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::lab::{self, Lab, Run};

/// The program under test, where every user may reach it.
const WANFO: &str = "/run/bin/wanfo";

/// Two links without delay, whose verdicts come soon.
const TWO_LINKS: &str = "
links:
  - {name: fibre, interface: wan1, targets: [198.51.100.11], delay: 0s, stable: 0s}
  - {name: lte, interface: wan2, targets: [198.51.100.21], standby_interval: 0s, delay: 0s, stable: 0s}
probe: {silence: 1s}
";

/// To be called before there is a second thread: a file that is open for writing in a process just forked cannot be run.
pub fn prepare() {
    fs::create_dir("/run/bin").expect("the lab's own /run takes a directory");
    fs::copy(env!("CARGO_BIN_EXE_wanfo"), WANFO).expect("the lab's own /run takes the program");
    iproute::put_stand_ins_in_place();
}

pub fn trials() -> Vec<Trial> {
    trials![
        config::{
            every_problem_of_a_config_is_told_at_once,
            a_config_that_cannot_be_read,
            an_unknown_interface_leaves_the_other_link_serving,
            a_gateway_outside_every_subnet,
        },
        clocks::{
            a_router_that_slept_blames_no_line_for_it,
            a_clock_that_goes_back_stops_nothing,
        },
        last_good::{
            a_broken_config_breaks_no_run,
            a_config_broken_in_another_way_is_told_anew,
            a_config_that_is_gone_or_not_to_be_trusted_breaks_no_run,
            a_config_not_to_be_trusted_leads_to_what_is_kept_of_it_and_nowhere_else,
            down_needs_no_config,
        },
        standing::{
            files_that_are_of_no_use_are_told_before_they_are_needed,
            addresses_of_this_router_are_no_targets_and_no_gateways,
            what_is_doubtful_is_told_and_works,
            a_target_that_is_changed_is_asked_at_once_and_a_typo_is_told,
        },
        limits::{
            a_user_is_told_to_run_it_as_root,
            each_command_does_its_work_with_the_rights_that_it_needs,
            root_without_the_capability_is_told_once,
            without_the_right_to_take_uids_targets_are_tied_one_by_one_and_that_is_said,
            no_ping_group_no_verdict,
            too_few_file_descriptors_are_no_verdict,
            too_few_threads_are_no_verdict,
            sixty_four_silent_targets_cost_one_silence,
        },
        iproute::{
            no_ip_on_the_machine,
            an_ip_that_fails,
            an_ip_that_hangs_is_killed_with_all_it_started,
            an_ip_that_talks_without_end_is_killed,
            an_ip_that_prints_rubbish,
            an_ip_that_lies,
            an_ip_that_fails_while_the_protocol_number_changes,
            an_ip_that_fails_every_other_time,
        },
        store::{
            a_check_by_hand_waits_for_the_lock,
            a_lock_that_another_run_holds,
            a_script_that_calls_wanfo_stalls_no_run,
            a_damaged_state_is_set_aside,
            a_state_of_another_boot_is_quietly_forgotten,
            absurd_values_in_a_state_do_no_harm,
            a_disk_that_is_full_from_the_start,
            a_disk_that_fills_up_before_a_switch,
            nobody_but_root_can_take_the_lock,
            a_directory_that_cannot_be_written,
            whatever_the_umask_the_modes_are_the_same,
            folders_that_are_there_keep_their_modes,
            what_is_no_file_holds_nothing_up,
            whatever_stands_in_the_place_of_our_files_a_dead_line_is_left,
            a_file_that_fills_the_memory,
            no_file_writes_to_the_terminal,
        },
        killed::{
            killed_before_any_of_its_commands,
            killed_at_any_moment,
            terminated_while_it_waits_for_answers,
            stopped_while_it_waits_and_continued_after_the_silence,
            an_interface_that_vanishes_between_runs,
            an_interface_that_vanishes_during_a_run,
        },
        answers::{
            an_answer_from_the_wrong_host_does_not_count,
            a_late_answer_counts,
            an_answer_later_than_the_config_allows_does_not_count,
            a_doubled_answer_counts_once,
            a_firewall_of_our_own_is_no_verdict,
            a_modem_whose_queue_does_not_drain_is_left,
        },
        output::{
            a_reader_that_has_seen_enough_is_no_error,
            output_that_cannot_be_written_is_told,
            closed_descriptors_do_no_harm,
            whoever_does_not_read_holds_up_no_switch,
            what_nobody_has_read_is_counted,
            a_pager_may_take_its_time,
            a_background_job_is_not_stopped_for_its_words,
            only_the_journal_is_told_priorities,
        },
    ]
}

/// A lab with two lines, and wanfo configured for both. Nothing has run yet.
fn two_links() -> Lab {
    let lab = Lab::new(2, WANFO);
    // For other users than root too.
    fs::set_permissions(lab.path("."), PermissionsExt::from_mode(0o755)).expect("the directory is ours");
    lab.configure(TWO_LINKS);
    lab
}

/// The same after a first good run.
fn at_work() -> Lab {
    let lab = two_links();
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    assert_eq!(active(&lab), "fibre");
    lab
}

fn ended(command: &mut Command) -> Run {
    command.output().unwrap_or_else(|error| panic!("{command:?} did not start: {error}")).into()
}

/// The exit code is `code`, and stderr has all these words.
#[track_caller]
fn assert_ends(run: &Run, code: i32, words: &[&str]) {
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    assert_eq!(run.code, code, "stderr: {}\nstdout: {}", run.stderr, run.stdout);
    for words in words {
        assert!(run.stderr.contains(words), "stderr lacks {words:?}:\n{}", run.stderr);
    }
}

/// Every route and rule of the router, ours and others', in a fixed order.
fn kernel(lab: &Lab) -> Vec<String> {
    let shows = ["route show table all", "-6 route show table all", "rule show", "-6 rule show"];
    let mut lines: Vec<String> = shows
        .iter()
        .flat_map(|show| lab.router.ip(show).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    lines
}

fn status(lab: &Lab) -> Value {
    let run = lab.wanfo(&["status", "--format", "json"]);
    assert_ends(&run, 0, &[]);
    serde_json::from_str(&run.stdout).expect("status prints JSON")
}

fn problems(lab: &Lab) -> Vec<Value> {
    lab::problems(&status(lab))
}

fn active(lab: &Lab) -> String {
    status(lab)["active"].as_str().unwrap_or("nothing").to_owned()
}

/// Of each link, in milliseconds.
fn silent_for(lab: &Lab) -> Vec<u64> {
    let status = status(lab);
    let links = status["links"].as_array().expect("links");
    links.iter().map(|link| link["silent_for_ms"].as_u64().expect("a number")).collect()
}

/// The state file as it lies there.
fn state(lab: &Lab) -> Value {
    let text = fs::read_to_string(lab.path("run/state.json")).expect("a state file");
    serde_json::from_str(&text).expect("the state file is JSON")
}

/// The line out of which the router sends the service's traffic.
#[track_caller]
fn assert_carried_by(lab: &Lab, line: lab::Line) {
    let route = lab.router.ip(&format!("route get {}", lab::SERVICE));
    assert!(route.contains(&format!("dev wan{line}")), "not over wan{line}: {route}");
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
