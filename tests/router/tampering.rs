//! Others who change routes under way.

use crate::lab::{self, SERVICE, SERVICE6, gateway, target};
use crate::site::wait_until;
use crate::story::{PIN_BY_TARGET, PROBE, Story, UID, assert_same, config, link, two_links};

pub fn a_provider_that_takes_another_address_is_followed() {
    let story = Story::of_two_links();
    story.check();
    let gateway_of = |link: &str| story.link(link)["gateway"].as_str().expect("a gateway").to_owned();

    let moved = story.move_gateway(1, 5).to_string();
    story.router.ip(&format!("route replace default via {moved} dev wan1 metric 100"));
    story.check();
    assert_eq!(gateway_of("primary"), moved);
    assert_eq!(story.link("primary")["silent_for_ms"], 0);
    story.assert_lan_is_served_over(1);

    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    let moved = story.move_gateway(2, 6).to_string();
    story.router.ip(&format!("route replace default via {moved} dev wan2 metric 200"));
    story.check();
    assert_eq!(gateway_of("secondary"), moved);
    assert_eq!(story.active(), "secondary");
    assert_eq!(story.link("secondary")["silent_for_ms"], 0);
    story.assert_lan_is_served_over(2);
    let ours = story.ours().join("\n");
    assert!(!ours.contains(&gateway(2).to_string()), "the old gateway is still there: {ours}");
}

pub fn routes_and_rules_that_somebody_deletes_are_put_back_by_the_next_run() {
    let story = Story::of_two_links();
    story.check();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    let failed_over = story.kernel();
    let rule = match lab::has_other_users() {
        true => format!("rule del iif lo uidrange {}-{} lookup 5301", UID + 1, UID + 1),
        false => format!("rule del to {} iif lo ipproto 1 lookup 5301", target(1, 1)),
    };
    let from_rule = format!("rule del to {} from 192.0.2.2 lookup 5301", target(1, 1));
    for tampering in [
        "route del 0.0.0.0/1",
        "route del 128.0.0.0/1",
        "-6 route del 2000::/3",
        "route flush table 5301",
        "route flush table 5302",
        "-6 route flush table 5302",
        "route change 0.0.0.0/1 via 192.0.2.1 dev wan1 proto 119",
        &rule,
        &from_rule,
    ] {
        story.router.ip(tampering);
        assert_ne!(failed_over, story.kernel(), "{tampering}");
        story.check();
        assert_same(&failed_over, &story.kernel());
        assert!(story.ours_in_main().iter().all(|route| route.contains("wan2")));
    }
    story.assert_lan_is_served_over(2);
}

pub fn routes_and_rules_of_others_stay_untouched() {
    let story = Story::of_two_links();
    let router = &story.router;
    let (gateway1, gateway2) = (gateway(1), gateway(2));
    router.ip(&format!("route add 203.0.113.96/28 via {gateway1} dev wan1 proto static"));
    // In a table that wanfo uses.
    router.ip(&format!("route add 198.51.100.200 via {gateway2} dev wan2 table 5301 proto 99"));
    router.ip(&format!("route add default via {gateway2} dev wan2 table 5301 metric 77 proto 99"));
    // Destinations that wanfo uses, with another metric.
    router.ip(&format!("route add 0.0.0.0/1 via {gateway1} dev wan1 metric 50 proto 42"));
    router
        .ip(&format!("-6 route add 2000::/3 via {} dev wan1 metric 2048 proto 42", crate::lab::gateway6(1)));
    router.ip("route add unreachable 203.0.113.112/28 proto 42");
    router.ip("rule add priority 530 from 192.0.2.99 lookup 5301");
    router.ip(&format!("rule add priority 700 to {} lookup 5302 protocol 42", target(1, 1)));
    router.ip("-6 rule add priority 530 from 2001:db8:99::/48 lookup 5302 protocol 42");
    let untouched = story.kernel();

    story.check();
    assert_same(&untouched, &story.foreign());
    let problems = story.problems();
    for sentence in [
        "primary: its table 5301 holds foreign routes (",
        "198.51.100.200/32 via 192.0.2.17 dev wan2 table 5301 proto 99",
        "set `routing.table` in the config to another number",
        "secondary: foreign rules look up its table 5302 (priority 700 ",
        "foreign rules have wanfo's priority 530 (priority 530 from 192.0.2.99/32 lookup 5301 protocol ",
        "set `routing.rule_priority` in the config to a smaller number",
    ] {
        assert!(problems.contains(sentence), "{sentence:?} is not in: {problems}");
    }
    assert_eq!(story.check().stderr, "", "once is enough");
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    assert_same(&untouched, &story.foreign());
    story.assert_lan_is_served_over(2);
    story.repair(1);
    story.check_until_active("primary");
    assert_same(&untouched, &story.foreign());
    story.assert_lan_is_served_over(1);
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    let run = story.succeeds(&["down"]);
    assert_same(&untouched, &story.kernel());
    assert!(run.stdout.contains("taken out"), "{run:?}");
}

pub fn a_default_route_that_dhcp_sets_does_not_undo_a_failover() {
    let story = Story::of_two_links();
    story.check();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    for line in [1, 2] {
        story.dhcp_sets_default(line, 0);
        // At once, not only after the next run.
        story.assert_served_over(2, SERVICE);
        let run = story.check();
        assert_eq!(run.stderr, "");
        story.assert_served_over(2, SERVICE);
    }
    // The backup's default route now stands before the primary's own: override routes lead back all the same.
    story.repair(1);
    story.check_until_active("primary");
    story.assert_lan_is_served_over(1);
    assert!(story.ours_in_main().iter().any(|route| route.contains("0.0.0.0/1 via 192.0.2.1 dev wan1")));
}

pub fn override_by_default_route_names_a_default_route_that_it_cannot_beat() {
    let sections = [PROBE, "routing: {override: default}"];
    let story = Story::begin(2, &config(&two_links(["", ""]), &sections));
    story.check();
    let calm = story.kernel();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.assert_lan_is_served_over(2);
    let ours = story.ours_in_main();
    assert!(ours.iter().all(|route| route.contains("default via") && route.contains("metric 1")), "{ours:?}");
    assert_eq!(ours.len(), 2, "one in each family: {ours:?}");

    story.dhcp_sets_default(1, 0);
    let run = story.check();
    let route = "default via 192.0.2.1 dev wan1";
    assert!(run.stderr.contains(route), "{run:?}");
    assert!(story.problems().contains(route), "{}", story.problems());
    assert_eq!(story.check().stderr, "", "once is enough");
    story.router.ip("route del default dev wan1 metric 0");
    assert!(story.check().stderr.contains("no longer a problem"));
    story.assert_lan_is_served_over(2);
    story.repair(1);
    story.check_until_active("primary");
    assert_same(&calm, &story.kernel());
}

pub fn a_destination_that_somebody_else_holds_does_not_hold_up_a_switch() {
    let routes = "routes: [203.0.113.99]";
    let story = Story::begin(2, &config(&two_links(["", routes]), &[PROBE]));
    story.router.ip("route add 203.0.113.99/32 dev lan");
    let run = story.wanfo(&["check"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("another program's route"), "{}", run.stderr);
    story.cut_silently(1);
    let run = story.wanfo(&["check"]);
    assert!(run.stderr.contains("switched from primary to"), "{run:?}");
    assert_eq!(story.active(), "secondary");
    story.assert_lan_is_served_over(2);
    assert!(story.wanfo(&["history"]).stdout.contains("switch primary -> secondary"));
    assert!(story.router.ip("route show 203.0.113.99").contains("dev lan"));
}

pub fn another_protocol_number_in_the_config_leaves_nothing_behind() {
    let story = Story::of_two_links();
    story.check();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.assert_lan_is_served_over(2);
    story.configure(&config(&two_links(["", ""]), &[PROBE, "routing: {protocol: 120}"]));
    story.check();
    let old =
        ["-4", "-6"].map(|family| story.router.ip(&format!("{family} -N route show table all proto 119")));
    assert_eq!(old.concat().trim(), "");
    assert!(!story.router.ip("-N rule show").contains("proto 119"));
    assert!(story.router.ip("-N route show proto 120").contains("0.0.0.0/1"));
    assert_eq!(story.active(), "secondary");
    story.assert_lan_is_served_over(2);
}

pub fn another_protocol_number_moves_no_traffic() {
    let story = Story::of_two_links();
    story.check();
    story.succeeds(&["force-failover", "--hold"]);
    // Both lines work: a moment without our routes would be seen on the first one.
    let meters = [story.meter(SERVICE), story.meter(SERVICE6)];
    wait_until("both answers", || meters.iter().all(|meter| meter.last_answer().is_some()));
    for protocol in 120..135 {
        let routing = format!("routing: {{protocol: {protocol}}}");
        story.configure(&config(&two_links(["", ""]), &[PROBE, &routing]));
        story.check();
        assert_eq!(story.problems(), "");
    }
    for meter in meters {
        assert_eq!(meter.lines(), [2]);
    }
}

/// What is in the kernel under the default number.
fn under_119(story: &Story) -> String {
    let commands = ["-4 route show table all", "-6 route show table all", "-4 rule show", "-6 rule show"];
    let shown = commands.map(|command| story.router.ip(&format!("-N {command}")));
    shown.concat().lines().filter(|line| line.contains("proto 119")).collect()
}

pub fn another_protocol_number_leaves_nothing_behind_of_an_active_link_that_went_with_it() {
    let [first, second] = two_links(["", ""]);
    let story = Story::begin(3, &config(&[first.clone(), second.clone(), link(3, "third", "")], &[PROBE]));
    story.check();
    story.succeeds(&["force-failover", "--to", "third"]);
    story.configure(&config(&[first, second], &[PROBE, "routing: {protocol: 120}"]));
    story.check();
    assert_eq!(under_119(&story), "");
    assert_eq!(story.active(), "primary");
    story.assert_lan_is_served_over(1);
}

pub fn down_takes_out_what_was_made_under_the_number_before() {
    let story = Story::of_two_links();
    let before = story.kernel();
    story.check();
    story.succeeds(&["force-failover"]);
    story.configure(&config(&two_links(["", ""]), &[PROBE, "routing: {protocol: 120}"]));
    story.succeeds(&["down"]);
    assert_same(&before, &story.kernel());
}

/// What somebody made before wanfo came, in the numbers that it takes, and the section of the config that gives way.
fn strays() -> [(String, &'static str, &'static str); 5] {
    let (gateway, target) = (gateway(2), target(1, 1));
    let (table, rule) = ("routing: {table: 6300}", "routing: {rule_priority: 529}");
    [
        // In the very place of ours.
        (format!("route add default via {gateway} dev wan2 table 5301 proto static"), table, "routing.table"),
        // Before ours, because it is narrower.
        (
            format!("route add {target} via {gateway} dev wan2 table 5301 proto static"),
            table,
            "routing.table",
        ),
        (format!("route add blackhole {target} table 5301 proto static"), table, "routing.table"),
        (format!("rule add priority 530 to {target} lookup 5302"), rule, "routing.rule_priority"),
        ("rule add priority 530 iif lo lookup 5302".to_owned(), rule, "routing.rule_priority"),
    ]
}

pub fn a_target_is_not_asked_where_somebody_else_would_lead_the_request_astray() {
    for (stray, way_out, key) in strays() {
        let story = Story::of_two_links();
        story.router.ip(&stray);
        let foreign = story.kernel();
        // Whether it lives or is dead: it is not known, so nobody is switched.
        for _ in 0..2 {
            let run = story.wanfo(&["check"]);
            assert_eq!(run.code, 1, "{stray}: {run:?}");
            let primary = story.link("primary");
            let known = (&primary["up"], &primary["relapses"], &primary["last_probe"]);
            assert_eq!(known, (&true.into(), &0.into(), &serde_json::Value::Null), "{stray}: {run:?}");
            assert_eq!(story.active(), "primary");
            assert!(story.problems().contains(key), "{stray}: {}", story.problems());
            assert_same(&foreign, &story.foreign());
            story.cut_silently(1);
        }
        story.repair(1);
        story.configure(&config(&two_links(["", ""]), &[PROBE, way_out]));
        story.check();
        assert_same(&foreign, &story.foreign());
        assert!(!story.problems().contains("echo request"), "{stray}: {}", story.problems());
        story.cut_silently(1);
        story.fail_over("primary", "secondary");
        story.assert_lan_is_served_over(2);
    }
}

/// A line that is dead to all that are asked is not kept for one that cannot be.
pub fn where_one_of_two_targets_is_led_astray_the_other_has_the_say() {
    let both = format!("targets: [{}, {}]", target(1, 1), target(1, 2));
    for quorum in [1, 2] {
        let links = two_links([&format!("{both}, quorum: {quorum}"), ""]);
        let story = Story::begin(2, &config(&links, &[PROBE]));
        story.router.ip(&format!("rule add priority 100 to {} lookup 5302", target(1, 1)));
        let check = || {
            let run = story.wanfo(&["check"]);
            assert_eq!(run.code, 1, "the target that cannot be asked is told: {run:?}");
        };
        check();
        assert_eq!(story.link("primary")["up"], true);
        story.cut_silently(1);
        for _ in 0..4 {
            check();
        }
        assert_eq!(story.active(), "secondary", "{:#}", story.status());
        story.repair(1);
        for _ in 0..4 {
            check();
        }
        assert_eq!(story.active(), "primary", "{:#}", story.status());
    }
}

pub fn a_rule_of_somebody_else_that_leads_to_the_same_table_does_no_harm() {
    let story = Story::begin(2, &config(&two_links(["", ""]), &[PIN_BY_TARGET]));
    let [first, second] = [1, 2].map(|line| target(line, 1));
    // The very same, which keeps ours out and serves; and a wider one.
    story.router.ip(&format!("rule add priority 530 to {first} iif lo ipproto 1 lookup 5301"));
    story.router.ip(&format!("rule add priority 530 to {second} lookup 5302"));
    story.check();
    for link in ["primary", "secondary"] {
        assert_eq!(story.link(link)["targets"][0]["ok"], true);
    }
    // One that is for marked packets alone is another matter.
    story.router.ip("rule add priority 530 fwmark 7 lookup 5302");
    story.check();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
}

/// As OpenVPN's `redirect-gateway def1` puts one there.
pub fn a_route_of_somebody_else_in_the_place_of_an_override_is_named_with_its_key() {
    let story = Story::of_two_links();
    story.router.ip("route add 0.0.0.0/1 dev lan proto static");
    let foreign = story.kernel();
    story.check();
    story.cut_silently(1);
    let run = story.wanfo(&["check"]);
    assert_eq!(run.code, 1, "{run:?}");
    for words in ["0.0.0.0/1 via 192.0.2.17 dev wan2", "holds the default traffic", "`routing.override`"] {
        assert!(story.problems().contains(words), "{words} is not in: {}", story.problems());
    }
    assert_same(&foreign, &story.foreign());
    story.configure(&config(&two_links(["", ""]), &[PROBE, "routing: {override: default}"]));
    story.check();
    assert_eq!(story.active(), "secondary");
    assert_same(&foreign, &story.foreign());
    let way = story.router.ip("route get 203.0.113.250");
    assert!(way.contains("dev wan2 "), "{way}");
}

/// The kernel keeps both, and a replacement would take the first.
pub fn a_route_that_somebody_puts_before_ours_is_not_replaced() {
    let story = Story::of_two_links();
    story.check();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.router.ip(&format!("route prepend 0.0.0.0/1 via {} dev wan1 proto static", gateway(1)));
    let foreign = story.foreign();
    // Ours is no longer right.
    let moved = story.move_gateway(2, 6).to_string();
    story.router.ip(&format!("route replace default via {moved} dev wan2 metric 200"));
    let foreign: Vec<String> = foreign
        .into_iter()
        .map(|line| line.replace("192.0.2.17 dev wan2 metric", &format!("{moved} dev wan2 metric")))
        .collect();
    let run = story.wanfo(&["check"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(story.problems().contains("`routing.override`"), "{}", story.problems());
    assert_same(&foreign, &story.foreign());
    assert!(!story.ours().join("\n").contains("192.0.2.17 "), "{:#?}", story.ours());

    story.router.ip(&format!("route del 0.0.0.0/1 via {} dev wan1 proto static", gateway(1)));
    story.check();
    story.assert_lan_is_served_over(2);
}
