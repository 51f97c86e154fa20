//! A router with real lines: what wanfo does to routes, and what that does to packets.
//!
//! Every story builds a lab of its own (see lab/mod.rs) and runs the real program in it.

mod lab;

mod router {
    pub mod outages;
    pub mod pins;
    pub mod story;
    pub mod wiretap;
}

use libtest_mimic::{Arguments, Trial};
use router::{outages, pins};

/// A trial for each story, with its name.
macro_rules! stories {
    ($($module:ident :: { $($story:ident),* $(,)? }),* $(,)?) => {
        vec![$($(Trial::test(stringify!($story), || {
            $module::$story();
            Ok(())
        }),)*)*]
    };
}

fn main() {
    lab::enter_or_skip();
    let trials = stories![
        outages::{
            a_silent_outage_fails_over_after_threshold_rounds_and_back_after_the_delay,
            the_same_with_pins_by_route,
            a_pulled_cable_is_left_at_once_and_taken_back_after_it_is_plugged_in,
            an_interface_that_was_down_gets_its_routes_back_though_nobody_else_restores_them,
            three_outages_in_a_row_end_where_it_began,
            of_three_links_the_first_that_works_is_taken_and_delays_are_waited_for,
            with_all_links_down_it_stays_says_so_once_and_takes_whichever_comes_first,
        },
        pins::{
            no_echo_request_leaves_by_the_wrong_line,
            failover_and_failback_work_without_reverse_path_filtering,
            failover_and_failback_work_with_strict_reverse_path_filtering,
            failover_and_failback_work_with_loose_reverse_path_filtering,
            others_reach_the_target_of_a_dead_primary_over_the_backup,
        },
    ];
    let mut arguments = Arguments::from_args();
    // Stories mostly wait for pings that nobody answers, so more of them than processors may run at a time.
    arguments.test_threads.get_or_insert(6);
    libtest_mimic::run(&arguments, trials).exit();
}
