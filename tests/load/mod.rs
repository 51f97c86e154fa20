//! More of everything than a router should ever have: flows, forged replies, interfaces, addresses, rules.
//!
//! `cargo test` tries a tenth. `WANFO_LOAD=1 cargo test --test stories load:: -- --nocapture` tries it all, and prints how much that was.

/// Thousands of interfaces, addresses and rules of others.
mod crowd;
/// A LAN at work while the traffic moves.
mod flows;
/// Replies that nobody asked for.
mod forged;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    trials![
        flows::{
            flows_of_the_lan_are_refused_nothing_while_the_traffic_moves,
        },
        forged::{
            replies_that_nobody_asked_for_keep_no_dead_line_alive_and_no_good_one_from_answering,
            forged_replies_over_ipv6_do_no_more,
        },
        crowd::{
            a_router_with_thousands_of_interfaces_addresses_and_rules_fails_over_and_back,
        },
    ]
}

/// So much of it, or the tenth that is the sample.
fn load(whole: usize) -> usize {
    if std::env::var_os("WANFO_LOAD").is_some() { whole } else { whole / 10 }
}
