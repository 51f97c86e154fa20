use std::net::IpAddr;

use super::*;
use crate::forger::{Forger, over_ipv4, over_ipv6};
use crate::lab::{router_address, router_address6, target, target6};
use crate::story::{PROBE, Story, config, link};

pub fn replies_that_nobody_asked_for_keep_no_dead_line_alive_and_no_good_one_from_answering() {
    flooded(over_ipv4, router_address(1).into(), target(1, 1).into());
}

pub fn forged_replies_over_ipv6_do_no_more() {
    flooded(over_ipv6, router_address6(1).into(), target6(1, 1).into());
}

fn flooded(forge: fn(u16) -> Vec<u8>, router: IpAddr, target: IpAddr) {
    let primary = link(1, "primary", &format!("targets: [\"{target}\"]"));
    let story = Story::begin(2, &config(&[primary, link(2, "secondary", "")], &[PROBE]));
    story.check();
    let rounds = load(50);
    let forger = Forger::start(&story, router, forge);
    for _ in 0..rounds {
        story.check();
        assert_eq!(story.active(), "primary");
    }
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    for _ in 0..rounds / 2 {
        story.check();
        assert_eq!((story.active().as_str(), &story.link("primary")["up"]), ("secondary", &false.into()));
    }
    let (sent, a_second) = forger.end();
    println!("{sent} forged replies, {a_second} a second: the dead line was left, and nothing else.");
    assert!(sent > 1000, "{sent}");
}
