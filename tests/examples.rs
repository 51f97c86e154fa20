//! Every example runs as it is shipped: its file in its place, on a router with these very interfaces and addresses, and
//! with the settings of the router and of the far end that its page gives.

mod lab;

#[allow(dead_code)]
#[path = "router/story.rs"]
mod story;

mod examples {
    pub mod half_bridge;
    pub mod lte_bridge;
    pub mod second_router;
    pub mod shelf;
    pub mod site;
}

use examples::{half_bridge, lte_bridge, second_router, shelf};
use libtest_mimic::{Arguments, Trial};

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
        shelf::{
            every_example_is_a_good_config_with_a_page_beside_it,
        },
        second_router::{
            a_second_router_in_the_lan_takes_over_and_gives_back,
            a_gateway_in_no_subnet_is_a_problem_that_heals_by_itself,
        },
        half_bridge::{
            a_modem_in_half_bridge_mode_is_used_by_its_gateway_outside_of_the_lease,
            a_modem_in_half_bridge_mode_needs_no_dhcp_where_the_config_has_both_addresses,
        },
        lte_bridge::{
            an_lte_modem_in_bridge_mode_takes_over_whatever_its_leases_bring,
        },
    ];
    let mut arguments = Arguments::from_args();
    // Stories mostly wait for pings that nobody answers, so more of them than processors may run at a time.
    arguments.test_threads.get_or_insert(6);
    libtest_mimic::run(&arguments, trials).exit();
}
