//! IPv6: targets, gateways, and a backup that has none of it.

use std::io::ErrorKind;
use std::time::Instant;

use crate::lab::{SERVICE, SERVICE6, target6};
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

pub fn a_backup_without_ipv6_refuses_it_at_once() {
    let story = backup_without_ipv6(&[PROBE]);
    let start = Instant::now();
    let error = story.ask(SERVICE6).expect_err("no IPv6");
    assert!(matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable), "{error}");
    assert!(start.elapsed().as_millis() < 500, "an answer at once, not {:?}", start.elapsed());
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
