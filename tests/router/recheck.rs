//! `probe.recheck`: one start of `check` that goes on until it knows.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::story::{PROBE, Story, WANFO, config, two_links};
use crate::lab::{Lab, Run};

const RECHECK: &str = "probe: {timeout: 250ms, threshold: 3, recheck: 100ms}";

fn story(probe: &str) -> Story {
    Story::begin(2, &config(&two_links(["", ""]), &[probe]))
}

/// How many rounds a run of `check -v` was made of, by the line that each of them says of this link.
fn rounds(run: &Run, name: &str) -> usize {
    let is_verdict = |line: &&str| line.contains(&format!("{name}: ")) && line.ends_with("failed rounds");
    run.stderr.lines().filter(is_verdict).count()
}

pub fn one_check_settles_a_silent_outage_and_one_its_end() {
    let story = story(RECHECK);
    let run = story.succeeds(&["check", "-v"]);
    assert_eq!(rounds(&run, "primary"), 1, "there is nothing to settle: {run:?}");

    story.cut_silently(1);
    let run = story.succeeds(&["check", "-v"]);
    assert_eq!(rounds(&run, "primary"), 3, "{run:?}");
    assert_eq!(story.active(), "secondary");
    assert_eq!(story.link("primary")["failed_rounds"], 3);
    story.assert_lan_is_served_over(2);
    let run = story.succeeds(&["check", "-v"]);
    assert_eq!(rounds(&run, "primary"), 1, "it is dead, and that is known: {run:?}");

    story.repair(1);
    let run = story.succeeds(&["check", "-v"]);
    assert_eq!(rounds(&run, "primary"), 3, "{run:?}");
    assert_eq!(story.active(), "primary");
    story.assert_lan_is_served_over(1);
}

pub fn without_recheck_one_check_is_one_round() {
    let story = story(PROBE);
    story.check();
    story.cut_silently(1);
    let run = story.succeeds(&["check", "-v"]);
    assert_eq!((rounds(&run, "primary"), &story.link("primary")["failed_rounds"]), (1, &1.into()));
}

pub fn a_dry_run_and_a_run_by_hand_are_one_round() {
    let story = story(RECHECK);
    story.check();
    story.cut_silently(1);
    let run = story.succeeds(&["check", "--dry-run", "-v"]);
    assert_eq!(rounds(&run, "primary"), 1, "{run:?}");
    story.succeeds(&["force-failover"]);
    assert_eq!(story.link("primary")["failed_rounds"], 1);
    let run = story.wanfo(&["failback"]);
    assert_eq!((run.code, &story.link("primary")["failed_rounds"]), (1, &2.into()), "{run:?}");
}

pub fn a_fault_of_our_own_is_not_asked_for_again_in_the_same_run() {
    let lab = Lab::closed_to_pings(2, WANFO);
    let story = Story::in_a(lab, &config(&two_links(["", ""]), &[RECHECK]));
    let run = story.wanfo(&["check", "-v"]);
    assert_eq!((run.code, rounds(&run, "primary")), (1, 1), "{run:?}");
}

pub fn a_command_gets_its_turn_between_the_rounds_of_a_check() {
    let story = story("probe: {timeout: 250ms, threshold: 3, recheck: 5s}");
    story.check();
    story.cut_silently(1);
    let mut check = story.wanfo_command(&["check"]).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(4);
    while story.link("primary")["failed_rounds"] != 1 {
        assert!(Instant::now() < deadline, "the first round was not seen");
        sleep(Duration::from_millis(10));
    }
    story.succeeds(&["force-failover", "--hold"]);
    assert_eq!(story.active(), "secondary");
    assert!(check.try_wait().unwrap().is_none(), "it is still waiting for its second round");
    assert!(check.wait().unwrap().success());
    // Its own rounds came on top of that of the command.
    assert_eq!(story.link("primary")["failed_rounds"], 3);
    assert_eq!(story.active(), "secondary");
}
