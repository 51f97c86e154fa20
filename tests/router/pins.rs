//! Echo requests, and the lines they leave by.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use crate::lab::{self, LAN, gateway, target, target6};
use crate::story::{PIN_BY_TARGET, PROBE, Story, config, link, two_links};
use crate::wiretap::Wiretap;

/// Targets 1 and 2 of the line, IPv4 and IPv6.
fn four_targets(line: usize) -> String {
    let addresses = [
        target(line, 1).to_string(),
        target(line, 2).to_string(),
        target6(line, 1).to_string(),
        target6(line, 2).to_string(),
    ];
    format!("targets: {addresses:?}")
}

/// Each target's line, by the lab's plan of addresses.
fn line_of(address: IpAddr) -> usize {
    (1..=2)
        .find(|&line| (1..=3).any(|n| address == target(line, n) || address == target6(line, n)))
        .unwrap_or_else(|| panic!("{address} is no target"))
}

/// What was pinged over each line; panics over a request on the wrong one.
#[track_caller]
fn pinged(wiretap: &Wiretap, phase: &str) -> [usize; 2] {
    let mut counts = [0; 2];
    for (interface, address) in wiretap.echo_requests() {
        let line = line_of(address);
        assert_eq!(interface, format!("wan{line}"), "{phase}: an echo request to {address}");
        counts[line - 1] += 1;
    }
    counts
}

/// `rp_filter` is what the kernel goes by: the larger one of `all` and the interface's own (ip-sysctl.rst).
fn with_rp_filter(value: &str) {
    for probe in [PROBE, PIN_BY_TARGET] {
        for settings in [["all", "default"], ["wan1", "wan2"]] {
            let story = Story::begin(2, &config(&two_links(["", ""]), &[probe]));
            for setting in settings {
                story.router.sysctl(&format!("net.ipv4.conf.{setting}.rp_filter"), value);
            }
            story.check();
            for link in ["primary", "secondary"] {
                assert_eq!(story.link(link)["silent_for_ms"], 0, "{link}, {settings:?}, {probe}");
            }
            story.assert_lan_is_served_over(1);
            story.cut_silently(1);
            story.fail_over("primary", "secondary");
            story.assert_lan_is_served_over(2);
            story.repair(1);
            story.check_until_active("primary");
            story.assert_lan_is_served_over(1);
        }
    }
}

pub fn failover_and_failback_work_without_reverse_path_filtering() {
    with_rp_filter("0");
}

pub fn failover_and_failback_work_with_strict_reverse_path_filtering() {
    with_rp_filter("1");
}

pub fn failover_and_failback_work_with_loose_reverse_path_filtering() {
    with_rp_filter("2");
}

/// Only what wanfo asks itself is tied.
pub fn others_reach_the_target_of_a_dead_primary_over_the_backup() {
    let story = Story::of_two_links();
    story.check();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    let target = target(1, 1);
    assert!(!story.link_pings(1, target), "the line is cut, and the pin holds");

    // The router itself, by anything but ping. Nothing listens there, and the refusal is as good as an
    // answer.
    let socket = story.router.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.connect((target, 53)).unwrap();
    socket.send(b"?").unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused);

    // A LAN user. Addresses of the LAN are routed here, not translated, and line 1 no longer announces them.
    story.internet.ip(&format!("route del {LAN} dev line1"));
    story.client.sysctl("net.ipv4.ping_group_range", "0 0");
    let address = target.into();
    let ping = || ping_rs::send_ping(&address, Duration::from_secs(1), &[0; 8], None);
    let reply = story.client.run(ping).expect("an answer over the backup");
    assert_eq!(reply.address, address);
}

pub fn no_echo_request_leaves_by_the_wrong_line() {
    for probe in [PROBE, PIN_BY_TARGET] {
        let story = Story::begin(2, &config(&two_links([&four_targets(1), &four_targets(2)]), &[probe]));
        let wiretap = Wiretap::on(&story.router);
        story.check();
        assert_eq!(pinged(&wiretap, "all is well"), [4, 4]);

        story.cut_silently(1);
        story.fail_over("primary", "secondary");
        let [primary, secondary] = pinged(&wiretap, "failover");
        assert!(primary >= 12 && secondary >= 4, "each target again and again: {primary} and {secondary}");
        story.check();
        assert_eq!(pinged(&wiretap, "failed over"), [4, 4]);

        story.router.ip("-4 route flush table all proto 119");
        story.router.ip("-6 route flush table all proto 119");
        story.check();
        assert_eq!(pinged(&wiretap, "tables flushed"), [4, 4]);

        story.router.ip("link set wan1 down");
        // Before wanfo can do anything about it: the backstop alone keeps these back.
        for number in [1, 2] {
            assert!(!story.link_pings(1, target(1, number)));
            assert!(!story.link_pings(1, target6(1, number)));
        }
        story.check();
        story.check();
        assert_eq!(pinged(&wiretap, "primary administratively down"), [0, 8]);

        story.router.ip("link set wan1 up");
        story.router.ip(&format!("route add default via {} dev wan1 metric 100", gateway(1)));
        story.repair(1);
        story.check_until_active("primary");
        pinged(&wiretap, "failback");
        story.router.ip("route del default dev wan2");
        story.router.ip("-6 route del default dev wan2");
        story.check();
        story.check();
        assert!(!story.link_pings(2, target(2, 1)));
        assert!(!story.link_pings(2, target6(2, 1)));
        assert_eq!(pinged(&wiretap, "backup without a gateway")[1], 0);
    }
}

/// Two targets of one operator, on every line; each line is judged by what comes back over it.
pub fn every_link_may_have_the_same_targets() {
    lab::need_users();
    const LINES: usize = 8;
    for address in [target(1, 1).to_string(), format!("\"{}\"", target6(1, 1))] {
        let links: Vec<String> = (1..=LINES)
            .map(|line| link(line, &format!("line{line}"), &format!("targets: [{address}]")))
            .collect();
        let story = Story::begin(LINES, &config(&links, &[PROBE]));
        for setting in ["all", "default"] {
            story.router.sysctl(&format!("net.ipv4.conf.{setting}.rp_filter"), "1");
        }
        let wiretap = Wiretap::on(&story.router);
        story.check();
        let mut asked: Vec<String> =
            wiretap.echo_requests().into_iter().map(|(interface, _)| interface).collect();
        asked.sort();
        assert_eq!(asked, (1..=LINES).map(|line| format!("wan{line}")).collect::<Vec<_>>());
        assert_eq!(story.problems(), "");
        for line in 1..LINES {
            story.cut_silently(line);
            story.fail_over(&format!("line{line}"), &format!("line{}", line + 1));
        }
        let up: Vec<bool> =
            (1..=LINES).map(|line| story.link(&format!("line{line}"))["up"] == true).collect();
        assert_eq!(up.iter().filter(|up| **up).count(), 1, "{up:?}");
        assert!(up[LINES - 1]);
    }
}

/// Users 2 and 3 are there on every system.
pub fn a_uid_that_a_user_of_the_machine_has_is_told() {
    lab::need_users();
    let story = Story::begin(2, &config(&two_links(["", ""]), &[PROBE, "routing: {uid: 1}"]));
    story.check();
    let problems = story.problems();
    for uid in [2, 3] {
        assert!(problems.contains(&format!("has the uid {uid}, which is that of a link")), "{problems}");
    }
    story.configure(&config(&two_links(["", ""]), &[PROBE]));
    story.check();
    assert_eq!(story.problems(), "");
}
