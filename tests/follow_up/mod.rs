//! What follows a switch, end to end: scripts, vetoes, mail, history, flows, bytes. The real program on a real router,
//! nothing mocked.

mod action;
pub mod every_call;
mod exit;
mod flows;
mod history;
mod killed;
mod link;
mod mail;
mod relay;
mod tracing;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::lab;
use crate::story::Story;

pub fn trials() -> Vec<Trial> {
    trials![
        killed::{
            killed_between_any_two_steps_of_a_switch,
            killed_between_any_two_steps_of_a_switch_without_a_script,
            killed_at_any_moment_of_a_switch,
            killed_by_its_own_action_script,
        },
        every_call::{
            killed_at_any_call_of_a_switch_by_hand,
            any_call_of_a_switch_by_hand_fails_in_any_way,
            killed_or_failing_at_any_call_of_a_switch_by_itself,
            killed_or_failing_at_any_call_of_a_changed_config,
            killed_or_failing_at_any_call_of_down,
        },
        exit::{
            the_exit_script_keeps_the_backup_until_it_says_yes,
            an_exit_script_that_cannot_be_asked_is_a_no,
            nobody_is_asked_before_a_failover_nor_when_the_backup_is_dead,
        },
        action::{
            an_astlinux_script_is_called_once_for_every_switch,
            with_three_links_secondary_is_the_backup_that_is_entered_or_left,
            whatever_the_script_does_the_switch_stands,
            of_the_sandbox_the_unit_and_its_drop_in_tell,
            a_process_that_the_script_leaves_behind_holds_up_nothing,
        },
        link::{
            the_link_script_hears_of_every_change_once,
            a_slow_link_script_holds_up_nobody_and_hears_the_newest,
            a_mail_that_hangs_holds_up_no_redial_and_a_redial_no_mail,
            the_guards_of_the_link_script_are_those_of_the_others,
            what_is_no_news_is_told_to_no_link_script,
            of_the_sandbox_the_delivery_tells,
        },
        mail::{
            every_switch_is_one_mail_with_the_evidence,
            only_the_events_that_are_wanted_are_mailed,
            without_notify_there_is_no_spool,
            a_link_name_may_have_every_letter_that_the_config_allows,
            a_host_name_adds_no_header,
            delivery_is_called_for_only_when_a_mail_is_due,
        },
        relay::{
            a_relay_that_hangs_costs_no_beat_and_no_switch,
        },
        history::{
            the_history_tells_what_happened_and_nothing_else,
            the_history_outlives_a_reboot,
            a_repair_that_comes_back_is_recorded_once,
            with_the_state_read_only_the_switch_stands_and_is_told_later,
            with_the_disk_full_the_switch_stands_and_is_told_later,
            what_is_to_be_told_outlives_a_change_of_the_config,
        },
        flows::{
            a_sip_like_flow_moves_with_the_switch,
            a_link_that_gets_another_name_keeps_its_flows,
            flows_that_end_while_others_are_deleted_keep_none_of_them,
            without_flush_conntrack_the_flow_stays_where_it_was,
            the_bytes_over_the_backup_are_counted_over_a_new_interface,
            without_conntrack_there_is_a_problem_and_nothing_else,
        },
    ]
}

/// Who is told by mail, as a section of the config; nobody takes the mails out of the spool but the test.
const NOTIFY: &str = "notify: {to: [noc@example.com], from: wanfo@example.com, sendmail: /usr/sbin/sendmail}";

/// Writes a shell script into the lab's directory. `HERE` in it is that directory.
fn script(story: &Story, name: &str, body: &str) -> PathBuf {
    let path = story.path(name);
    let here = story.path("").display().to_string();
    let here = here.trim_end_matches('/');
    fs::write(&path, format!("#!/bin/sh\n{}\n", body.replace("HERE", here))).expect("the lab takes a file");
    chmod(&path, 0o755);
    path
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("the file is ours");
}

/// The lines of a file; none where there is no file.
fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The messages in the spool, oldest first.
fn spool(story: &Story) -> Vec<Value> {
    let Ok(entries) = fs::read_dir(story.path("state/spool")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("a directory that can be read").path());
    let mut mails: Vec<Value> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| serde_json::from_slice(&fs::read(path).expect("a message")).expect("JSON"))
        .collect();
    mails.sort_by_key(|mail| text(&mail["at"]).to_owned());
    mails
}

fn subjects(story: &Story) -> Vec<String> {
    spool(story).iter().map(|mail| text(&mail["subject"]).to_owned()).collect()
}

/// What `wanfo history` tells.
fn history_of(story: &Story) -> Vec<Value> {
    let run = story.succeeds(&["history", "--format", "json"]);
    assert_eq!(run.stderr, "");
    run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The records of one kind.
fn happened(story: &Story, kind: &str) -> Vec<Value> {
    history_of(story).into_iter().filter(|record| record["event"] == kind).collect()
}

/// From where to where the traffic went, as the history has it.
fn switches(story: &Story) -> Vec<(String, String)> {
    let ends = |record: &Value| (text(&record["from"]).to_owned(), text(&record["to"]).to_owned());
    happened(story, "switched").iter().map(ends).collect()
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

fn state(story: &Story) -> Value {
    serde_json::from_slice(&fs::read(story.path("run/state.json")).expect("a state")).expect("JSON")
}

fn host() -> String {
    nix::unistd::gethostname().expect("this machine has a name").into_string().expect("UTF-8")
}

/// The line out of which the router sends the service's traffic.
#[track_caller]
fn assert_carried_by(story: &Story, line: lab::Line) {
    let route = story.router.ip(&format!("route get {}", lab::SERVICE));
    assert!(route.contains(&format!("dev wan{line}")), "not over wan{line}: {route}");
}
