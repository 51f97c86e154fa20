//! A check that stays until every link is either heard or silent for long enough.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::{Lab, gateway};
use crate::story::{Story, WANFO, config, two_links};

fn took<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (what(), start.elapsed())
}

pub fn one_check_settles_a_silent_outage_and_one_its_end() {
    let story = Story::of_two_links();
    story.check();
    story.cut_silently(1);
    let (_, time) = took(|| story.check());
    assert_eq!(story.active(), "secondary");
    assert!(time >= Duration::from_millis(500), "at least three requests, 100 ms apart: {time:?}");
    story.assert_lan_is_served_over(2);
    story.repair(1);
    story.await_answer(1);
    story.check();
    assert_eq!(story.active(), "primary");
    story.assert_lan_is_served_over(1);
}

pub fn a_link_that_is_down_slows_no_check() {
    let story = Story::begin(2, &config(&two_links(["", ""]), &["probe: {silence: 20s}"]));
    story.check();
    story.pull_cable(1);
    story.check();
    story.plug_in(1);
    story.cut_silently(1);
    let (run, time) = took(|| story.check());
    assert!(time < Duration::from_secs(8), "it is down, and waited for a second: {time:?} {run:?}");
    assert_eq!(story.active(), "secondary");
}

pub fn a_dry_run_and_a_run_by_hand_stay_as_well() {
    let story = Story::of_two_links();
    story.check();
    let calm = story.kernel();
    story.cut_silently(1);
    let run = story.succeeds(&["check", "--dry-run"]);
    assert!(run.stdout.contains("would run: ip -4 route add 0.0.0.0/1"), "{run:?}");
    assert!(run.stderr.contains("would say: switched from primary to secondary"), "{run:?}");
    assert!(!run.stderr.contains("ip -4 route"), "each command once: {run:?}");
    assert_eq!((story.active().as_str(), story.kernel()), ("primary", calm));
    story.succeeds(&["failback"]);
    assert_eq!(story.active(), "secondary", "the best link that works");
}

pub fn a_fault_of_our_own_is_not_waited_for() {
    let lab = Lab::closed_to_pings(2, WANFO);
    let story = Story::in_a(lab, &config(&two_links(["", ""]), &["probe: {silence: 40s}"]));
    let (run, time) = took(|| story.wanfo(&["check", "-v"]));
    assert_eq!(run.code, 1, "{run:?}");
    assert!(time < Duration::from_secs(20), "{time:?}");
}

pub fn a_command_gets_its_turn_after_a_run_that_stays() {
    let story = Story::begin(2, &config(&two_links(["", ""]), &["probe: {silence: 3s}"]));
    story.check();
    story.cut_silently(1);
    let mut check = story.wanfo_command(&["check"]).stdout(Stdio::null()).spawn().unwrap();
    sleep(Duration::from_millis(500));
    story.succeeds(&["force-failover", "--hold"]);
    assert_eq!(story.active(), "secondary");
    assert!(check.wait().unwrap().success());
    assert_eq!(story.link("primary")["up"], false);
}

/// A DHCP client at work takes address and gateway away for a moment: the same start of check sees them again.
pub fn a_check_that_looks_again_takes_a_gateway_that_comes_back() {
    let story = Story::begin(2, &config(&two_links(["", ""]), &["probe: {silence: 5s}"]));
    story.check();
    story.router.ip("-4 route del default dev wan1");
    let mut check = story.wanfo_command(&["check"]).stdout(Stdio::null()).spawn().unwrap();
    sleep(Duration::from_millis(1500));
    story.router.ip(&format!("-4 route add default via {} dev wan1 metric 100", gateway(1)));
    assert!(check.wait().unwrap().success());
    assert_eq!((story.active().as_str(), &story.link("primary")["up"]), ("primary", &true.into()));
    assert_eq!(story.problems(), "");
}
