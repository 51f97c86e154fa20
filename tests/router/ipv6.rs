//! IPv6: targets, gateways, and a backup that has none of it.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::lab::{LAN6, SERVICE, SERVICE6, gateway6, router_address6, target, target6, transit6};
use crate::story::{PROBE, Story, assert_same, config, two_links};

pub fn targets_over_ipv6_alone_decide() {
    let targets = [1, 2].map(|line| format!("targets: [\"{}\"]", target6(line, 1)));
    let story = Story::begin(2, &config(&two_links(targets.each_ref().map(String::as_str)), &[PROBE]));
    story.check();
    let calm = story.kernel();
    assert_eq!(story.link("primary")["targets"][0]["ok"], true);
    story.silence(1, target6(1, 1));
    story.fail_over("primary", "secondary");
    story.assert_lan_is_served_over(2);
    story.end_silence(1, target6(1, 1));
    story.check_until_active("primary");
    story.assert_lan_is_served_over(1);
    assert_same(&calm, &story.kernel());
}

/// As router advertisements make them: link-local gateways, which mean nothing without their interface.
pub fn link_local_gateways_work_also_where_both_lines_have_the_same() {
    let targets = [1, 2].map(|line| format!("targets: [\"{}\"]", target6(line, 1)));
    let story = Story::begin(2, &config(&two_links(targets.each_ref().map(String::as_str)), &[PROBE]));
    for line in [1, 2] {
        story.provider(line).ip("address add fe80::1/64 dev customer");
        story.router.ip(&format!("-6 route del default dev wan{line}"));
        let metric = 1024 * line;
        story.router.ip(&format!("-6 route add default via fe80::1 dev wan{line} proto ra metric {metric}"));
    }
    story.check();
    let calm = story.kernel();
    assert_eq!(story.link("primary")["gateway6"], "fe80::1");
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    assert!(story.ours_in_main().iter().any(|route| route.contains("2000::/3 via fe80::1 dev wan2")));
    story.assert_lan_is_served_over(2);
    story.repair(1);
    story.check_until_active("primary");
    story.assert_lan_is_served_over(1);
    assert_same(&calm, &story.kernel());
}

/// The kernel prefers any address to a deprecated one, and where an interface has none knows of no difference; a provider
/// drops what has another one's (BCP 38).
pub fn what_is_sent_by_a_line_has_that_line_s_address_where_it_is_deprecated_or_delegated() {
    const DELEGATED: &str = "2001:db8:b::/56";
    let targets = [1, 2].map(|line| format!("targets: [\"{}\"]", target6(line, 1)));
    let story = Story::begin(2, &config(&two_links(targets.each_ref().map(String::as_str)), &[PROBE]));
    let router = router_address6(2);
    for foreign in [router_address6(1).to_string(), LAN6.to_owned()] {
        story.provider(2).ip(&format!("-6 rule add priority 10 iif customer from {foreign} blackhole"));
    }
    story.provider(2).ip("address add fe80::1/64 dev customer");
    story.router.ip("address add fe80::2/64 dev wan2");
    story.provider(2).ip(&format!("-6 route add {DELEGATED} via fe80::2 dev customer"));
    story.internet.ip(&format!("-6 route add {DELEGATED} via {} dev line2", transit6(2, 1)));
    story.router.ip(&format!("address change {router}/64 dev wan2 nodad preferred_lft 0"));
    story.check();
    let leaves_with = |own: &str| {
        let way = story.router.ip(&format!("-6 route get {SERVICE6}"));
        assert!(way.contains(&format!("dev wan2 proto 119 src {own} ")), "{way}");
    };
    let (deprecated, delegated) = (router.to_string(), "2001:db8:b:1::1");
    for own in [deprecated.as_str(), delegated] {
        assert_eq!(
            (story.problems().as_str(), &story.link("secondary")["up"]),
            ("", &serde_json::json!(true))
        );
        story.cut_silently(1);
        story.fail_over("primary", "secondary");
        leaves_with(own);
        story.repair(1);
        story.check_until_active("primary");
        // The next one.
        story.router.ip("-6 address flush dev wan2 scope global");
        story.router.ip("-6 route flush default dev wan2");
        story.router.ip(&format!("-6 address replace {delegated}/64 dev lan nodad"));
        story.router.ip(&format!("-6 route replace default from {DELEGATED} via fe80::1 dev wan2"));
        story.check();
    }
    // The LAN has another line's as well.
    story.router.ip(&format!("-6 route del default from {DELEGATED} via fe80::1 dev wan2"));
    story.router.ip("-6 route replace default via fe80::1 dev wan2");
    let told = story.wanfo(&["doctor"]).stdout;
    assert!(told.contains("warning  secondary: wan2 has no IPv6 address of its own"), "{told}");
}

fn backup_without_ipv6(sections: &[&str]) -> Story {
    let story = Story::begin(2, &config(&two_links(["", ""]), sections));
    story.router.ip("-6 address flush dev wan2 scope global");
    // It went with the address on older kernels only.
    story.router.ip("-6 route flush default dev wan2");
    story.check();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.assert_served_over(2, SERVICE);
    story
}

#[track_caller]
fn assert_refused_at_once(story: &Story, service: impl Into<IpAddr>) {
    let start = Instant::now();
    let error = story.ask(service).expect_err("no way");
    assert!(matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable), "{error}");
    assert!(start.elapsed().as_millis() < 500, "an answer at once, not {:?}", start.elapsed());
}

/// Its router says that it is none any more: the route goes, the addresses stay for a while.
pub fn a_primary_that_loses_its_ipv6_refuses_it_and_says_so() {
    let story = Story::of_two_links();
    story.check();
    let calm = story.kernel();
    story.router.ip("-6 route del default dev wan1");
    story.check();
    assert_eq!(story.active(), "primary");
    assert_refused_at_once(&story, SERVICE6);
    story.assert_served_over(1, SERVICE);
    let problems = story.problems();
    let refused = "primary: IPv6 is refused while this link carries the traffic";
    assert!(problems.contains(refused), "{problems}");
    // The link that carries it after the switch is meant.
    story.succeeds(&["force-failover"]);
    assert_eq!(story.problems(), "");
    story.succeeds(&["failback", "--now"]);
    assert!(story.problems().contains(refused), "{}", story.problems());
    // A tunnel of somebody's that is no link carries it.
    story.router.ip("-6 route add default via 2001:db8:f::2 dev lan metric 50");
    story.check();
    assert_eq!((story.problems().as_str(), story.ours_in_main()), ("", vec![]));
    story.router.ip("-6 route del default dev lan");
    story.check();
    assert_refused_at_once(&story, SERVICE6);
    let (gateway, metric) = (gateway6(1), 100);
    story.router.ip(&format!("-6 route add default via {gateway} dev wan1 metric {metric}"));
    story.check();
    assert_eq!(story.problems(), "");
    assert_same(&calm, &story.kernel());
}

/// The link is up by the other family. Where `quorum` asks for both it would be left.
pub fn one_family_that_dies_beyond_the_provider_is_told() {
    let both = format!("targets: [{}, \"{}\"]", target(1, 1), target6(1, 1));
    let story = Story::begin(2, &config(&two_links([&both, ""]), &[PROBE]));
    // By then it knows how often it runs.
    (0..4).for_each(|_| drop(story.check()));
    for (silent, family) in [(IpAddr::from(target6(1, 1)), "IPv6"), (target(1, 1).into(), "IPv4")] {
        story.silence(1, silent);
        story.check();
        assert_eq!(story.problems(), "", "a lost packet is no news");
        story.let_pass(Duration::from_secs(35));
        story.check();
        let problems = story.problems();
        assert!(
            problems.starts_with(&format!("primary: no {family} target of it answers any more ({silent})")),
            "{problems}"
        );
        assert_eq!((story.active().as_str(), story.check().stderr.as_str()), ("primary", ""));
        story.end_silence(1, silent);
        assert!(story.check().stderr.contains("no longer a problem: primary: family silent"));
        assert_eq!(story.problems(), "");
    }
}

pub fn a_backup_without_ipv4_refuses_it_at_once() {
    let targets = format!("targets: [\"{}\"]", target6(2, 1));
    let story = Story::begin(2, &config(&two_links(["", &targets]), &[PROBE]));
    story.router.ip("-4 address flush dev wan2");
    story.check();
    assert_eq!(story.problems(), "");
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    assert_refused_at_once(&story, SERVICE);
    story.assert_served_over(2, SERVICE6);
    story.check();
    assert!(story.problems().contains("secondary: IPv4 is refused"), "{}", story.problems());
    story.repair(1);
    story.check_until_active("primary");
    story.assert_lan_is_served_over(1);
    assert!(story.ours_in_main().is_empty(), "{:?}", story.ours_in_main());
}

pub fn a_provider_s_nat64_follows_a_failover_and_the_router_s_own_stays() {
    let story = Story::of_two_links();
    let way = |prefix: &str| story.router.ip(&format!("-6 route get {prefix}c633:6450"));
    // In the very place that a NAT64 of the router's own takes by default.
    story.router.ip("-6 route add 64:ff9b:1::/48 dev lan metric 1024");
    story.check();
    assert!(way("64:ff9b::").contains("dev wan1 "));
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    assert!(way("64:ff9b::").contains("dev wan2 "), "{}", way("64:ff9b::"));
    assert!(way("64:ff9b:1::").contains("dev lan "), "{}", way("64:ff9b:1::"));
    story.check();
    assert_eq!(story.problems(), "");
    story.repair(1);
    story.check_until_active("primary");
    assert!(way("64:ff9b::").contains("dev wan1 "));
    assert!(story.ours_in_main().is_empty(), "{:?}", story.ours_in_main());
}

pub fn a_backup_without_ipv6_refuses_it_at_once() {
    let story = backup_without_ipv6(&[PROBE]);
    assert_refused_at_once(&story, SERVICE6);
    story.repair(1);
    story.check_until_active("primary");
    story.assert_lan_is_served_over(1);
    assert!(story.ours_in_main().is_empty(), "{:?}", story.ours_in_main());
}

pub fn a_backup_without_ipv6_leaves_it_alone_where_the_config_says_so() {
    let story = backup_without_ipv6(&[PROBE, "routing: {ipv6_without_gateway: leave}"]);
    assert!(!story.ours_in_main().iter().any(|route| route.starts_with("-6")), "{:?}", story.ours_in_main());
    let error = story.ask(SERVICE6).expect_err("the line is cut");
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "silence: {error}");
}

/// As somebody has it who has no default route, or a program for its own ends: it is beaten, and told.
pub fn somebody_s_route_for_all_of_ipv6_is_beaten_and_told() {
    let story = Story::of_two_links();
    story.check();
    story.router.ip(&format!("-6 route add 2000::/3 via {} dev wan1 metric 1024 proto static", gateway6(1)));
    story.check();
    assert_eq!(story.problems(), "");
    let calm = story.kernel();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.assert_lan_is_served_over(2);
    assert!(story.problems().contains("2000::/3 via "), "{}", story.problems());
    story.repair(1);
    story.check_until_active("primary");
    story.assert_lan_is_served_over(1);
    assert_eq!(story.problems(), "");
    assert_same(&calm, &story.kernel());
}
