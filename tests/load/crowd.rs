use std::fmt::Write;
use std::fs;
use std::time::Instant;

use super::*;
use crate::story::Story;

const MANY: usize = 5000;

pub fn a_router_with_thousands_of_interfaces_addresses_and_rules_fails_over_and_back() {
    let story = Story::of_two_links();
    let many = load(MANY);
    let mut batch = String::new();
    // Two ends of a cable are two interfaces.
    for number in 0..many / 2 {
        writeln!(batch, "link add crowd{number}a type veth peer name crowd{number}b").unwrap();
    }
    for number in 0..many {
        // 198.18.0.0/15 is for benchmarks (RFC 2544).
        let [_, second, third, fourth] = ((18 << 16) + number as u32).to_be_bytes();
        writeln!(batch, "address add 198.{second}.{third}.{fourth}/32 dev lan").unwrap();
        writeln!(batch, "rule add from 198.{second}.{third}.{fourth} lookup 99 priority {}", 1000 + number)
            .unwrap();
    }
    let path = story.path("crowd");
    fs::write(&path, batch).expect("the lab takes a file");
    story.router.ip(&format!("-batch {}", path.display()));
    story.check();
    let start = Instant::now();
    assert_eq!(story.check().stderr, "");
    println!(
        "A run on a router with {many} more interfaces, addresses and rules each took {:.0?}.",
        start.elapsed()
    );
    story.fails_over_and_back();
    assert_eq!(story.problems(), "");
    // The kernel takes a while over a namespace with so many, and nobody should wait for that.
    story.router.ip("rule flush");
}
