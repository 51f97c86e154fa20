//! Every example runs as it is shipped: its file in its place, on a router with these very interfaces and addresses, and
//! with the settings of the router and of the far end that its page gives.

mod lab;

#[path = "router/story.rs"]
mod story;

mod examples {
    pub mod cron;
    pub mod destination_routes;
    pub mod half_bridge;
    pub mod ipv6_primary;
    pub mod lte_bridge;
    pub mod lte_router;
    pub mod second_router;
    pub mod shelf;
    pub mod site;
    pub mod static_backup;
    pub mod wifi_hotspot;
    pub mod wireguard_lte;
}

use examples::{
    cron, destination_routes, half_bridge, ipv6_primary, lte_bridge, lte_router, second_router, shelf,
    static_backup, wifi_hotspot, wireguard_lte,
};
use libtest_mimic::{Arguments, Completion, Trial};

/// A trial for each story, with its name; it is skipped where a program that its module needs is not there.
macro_rules! stories {
    ($($module:ident :: { $($story:ident),* $(,)? }),* $(,)?) => {
        vec![$($(Trial::ignorable_test(stringify!($story), || {
            if let Some(program) = lab::missing($module::NEEDS) {
                return Ok(lab::skipped(&format!("there is no {program} on this machine")));
            }
            $module::$story();
            Ok(Completion::Completed)
        }),)*)*]
    };
}

fn main() {
    lab::enter_or_skip();
    let mut trials = stories![
        shelf::{
            every_example_is_a_good_config_with_a_page_beside_it,
        },
        cron::{
            one_start_settles_an_outage_and_its_end,
        },
        static_backup::{
            a_static_backup_needs_nobody_else_and_takes_a_new_address_without_a_reboot,
        },
        destination_routes::{
            destinations_keep_to_their_line_whatever_carries_the_rest,
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
        lte_router::{
            an_lte_modem_in_router_mode_takes_over_and_shows_its_page_all_the_time,
        },
        ipv6_primary::{
            an_ipv6_only_primary_hands_over_to_ipv4_whenever_it_dies_or_is_withdrawn,
        },
        wifi_hotspot::{
            a_hotspot_is_taken_by_the_run_in_which_it_answers_and_never_while_it_is_away,
        },
        wireguard_lte::{
            a_tunnel_over_lte_carries_the_lan_and_bare_lte_is_the_last_resort,
            a_tunnel_that_is_there_before_the_first_run_moves_to_lte_and_goes_by_itself,
        },
    ];
    // The ones that may find the machine without what they need, and say so. First, for this one takes up to a minute.
    trials.insert(0, Trial::ignorable_test("cron_itself_starts_it", || Ok(cron::cron_itself_starts_it())));
    let mut arguments = Arguments::from_args();
    // Stories mostly wait for pings that nobody answers, so more of them than processors may run at a time.
    arguments.test_threads.get_or_insert(6);
    libtest_mimic::run(&arguments, trials).exit();
}
