//! Lines that die and come back.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::lab;
use crate::story::{PIN_BY_TARGET, PROBE, Story, assert_same, config, link, two_links};

pub fn a_silent_outage_fails_over_after_the_silence_and_back_after_the_delay() {
    silent_outage(PROBE);
}

pub fn a_silent_outage_with_pins_by_target_ends_the_same_way() {
    silent_outage(PIN_BY_TARGET);
}

fn silent_outage(probe: &str) {
    let story = Story::begin(2, &config(&two_links(["", "delay: 10m"]), &[probe]));
    let untouched = story.kernel();
    story.check();
    let calm = story.kernel();
    story.assert_lan_is_served_over(1);

    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    assert!(story.link("primary")["silent_for_ms"].as_u64().unwrap() >= 1000);
    story.assert_lan_is_served_over(2);

    story.repair(1);
    story.check_until("a primary that is up and waited for", |status| {
        status["links"][0]["up"] == true
            && status["active"] == "secondary"
            && status["next_switch_after"].is_string()
    });
    story.assert_lan_is_served_over(2);
    story.comes_back_after(Duration::from_secs(600), "primary");
    story.assert_lan_is_served_over(1);
    assert_same(&calm, &story.kernel());

    story.succeeds(&["down"]);
    assert_same(&untouched, &story.kernel());
}

pub fn a_pulled_cable_is_left_at_once_and_taken_back_after_it_is_plugged_in() {
    let story = Story::begin(2, &config(&two_links(["stable: 1s", ""]), &[PROBE]));
    story.check();
    let calm = story.kernel();
    story.pull_cable(1);
    story.check();
    assert_eq!(story.active(), "secondary");
    assert_eq!(story.link("primary")["up"], false);
    story.assert_lan_is_served_over(2);

    story.plug_in(1);
    story.await_answer(1);
    story.check();
    assert_eq!(story.active(), "secondary", "it has to be stable");
    assert!(story.link("primary")["stable_in_ms"].is_u64());
    story.check_until_active("primary");
    story.assert_lan_is_served_over(1);
    assert_same(&calm, &story.kernel());
}

/// `ip link set down` takes the routes along, and `up` does not bring them back.
pub fn an_interface_that_was_down_gets_its_routes_back_though_nobody_else_restores_them() {
    let gateways =
        [1, 2].map(|line| format!("gateway: {}, gateway6: \"{}\"", lab::gateway(line), lab::gateway6(line)));
    let story = Story::begin(2, &config(&two_links(gateways.each_ref().map(String::as_str)), &[PROBE]));
    // The IPv6 address goes with the interface, and comes back as router advertisements would bring it.
    let bring_up = |line| {
        story.router.ip(&format!("link set wan{line} up"));
        story.router.ip(&format!("address add {}/64 dev wan{line}", lab::router_address6(line)));
    };
    story.check();
    let pins = story.ours();

    story.router.ip("link set wan1 down");
    story.check();
    assert_eq!(story.active(), "secondary", "there is nothing to confirm");
    story.assert_lan_is_served_over(2);
    bring_up(1);
    story.check_until_active("primary");
    for pin in &pins {
        assert!(story.ours().contains(pin), "{pin} is missing: {:#?}", story.ours());
    }
    // The primary has no default route of its own, so it needs override routes like a backup.
    assert!(!story.router.ip("-4 route show default").contains("wan1"));
    story.assert_lan_is_served_over(1);
    story.dhcp_sets_default(1, 100);
    story.router.ip(&format!("route add default via {} dev wan1 metric 100", lab::gateway6(1)));
    story.check();
    assert_same(&pins, &story.ours());
    story.assert_lan_is_served_over(1);

    // The backup, while it waits.
    story.router.ip("link set wan2 down");
    story.check();
    assert_eq!(story.link("secondary")["up"], false);
    assert_eq!(story.active(), "primary");
    bring_up(2);
    story.check_until("a backup that is up", |status| status["links"][1]["up"] == true);
    assert_same(&pins, &story.ours());

    // The backup, while it is needed.
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    let failed_over = story.ours();
    story.router.ip("link set wan2 down");
    story.check();
    assert!(story.problems().contains("no link is up"), "{}", story.problems());
    bring_up(2);
    // A new IPv6 address is tentative for a moment.
    story.check_until("IPv6 on wan2", |status| status["links"][1]["gateway6"].is_string());
    assert_eq!(story.active(), "secondary");
    assert_same(&failed_over, &story.ours());
    story.assert_lan_is_served_over(2);
}

pub fn three_outages_in_a_row_end_where_it_began() {
    let story = Story::of_two_links();
    story.check();
    let calm = story.kernel();
    for _ in 0..3 {
        story.cut_silently(1);
        story.fail_over("primary", "secondary");
        story.repair(1);
        story.check_until_active("primary");
        assert_same(&calm, &story.kernel());
    }
}

pub fn of_three_links_the_first_that_works_is_taken_and_delays_are_waited_for() {
    let delay = Duration::from_secs(600);
    let links =
        [link(1, "primary", ""), link(2, "secondary", "delay: 10m"), link(3, "tertiary", "delay: 10m")];
    let story = Story::begin(3, &config(&links, &[PROBE]));
    story.check();
    let calm = story.kernel();

    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.assert_lan_is_served_over(2);
    // A dead link is left though its delay runs.
    story.cut_silently(2);
    story.fail_over("secondary", "tertiary");
    story.assert_lan_is_served_over(3);

    story.repair(2);
    story.comes_back_after(delay, "secondary");
    story.assert_lan_is_served_over(2);

    story.repair(1);
    story.comes_back_after(delay, "primary");
    story.assert_lan_is_served_over(1);
    assert_same(&calm, &story.kernel());
}

pub fn with_all_links_down_it_stays_says_so_once_and_takes_whichever_comes_first() {
    for (line, name) in [(2, "secondary"), (1, "primary")] {
        let story = Story::of_two_links();
        story.check();
        story.cut_silently(1);
        story.cut_silently(2);
        let run = story.check();
        assert!(run.stderr.contains("no link is up"), "{run:?}");
        for _ in 0..2 {
            let run = story.check();
            assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "said again");
        }
        assert_eq!(story.active(), "primary");
        assert_eq!(story.wanfo(&["status", "--exit-code"]).code, 2);

        story.repair(line);
        story.check_until("a link that is up", |status| status["links"][line - 1]["up"] == true);
        assert_eq!(story.active(), name);
        story.assert_lan_is_served_over(line);
    }
}

pub fn a_backup_that_does_not_answer_just_now_is_not_moved_to() {
    let story = Story::begin(2, &config(&two_links(["", ""]), &["probe: {silence: 3s}"]));
    story.check();
    story.cut_silently(1);
    let mut check = story.wanfo_command(&["check"]).stdout(Stdio::null()).spawn().unwrap();
    // The backup answers for some time while the primary is silent.
    sleep(Duration::from_millis(1200));
    story.cut_silently(2);
    sleep(Duration::from_millis(2300));
    assert!(story.ours_in_main().is_empty(), "the primary is down, and the backup nowhere near its silence");
    story.repair(2);
    assert!(check.wait().unwrap().success());
    story.check_until_active("secondary");
    story.assert_lan_is_served_over(2);
}
