//! Every example runs as it is shipped: its file in its place, on a router with these very interfaces and addresses, and
//! with the settings of the router and of the far end that its page gives.

mod cron;
mod destination_routes;
mod half_bridge;
mod ipv6_primary;
mod lte_bridge;
mod lte_router;
mod second_router;
mod shelf;
mod static_backup;
mod two_routers;
mod wifi_hotspot;
mod wireguard_lte;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    trials![
        shelf::{
            every_example_is_a_good_config_with_a_page_beside_it,
        },
        cron::{
            cron_itself_starts_it,
            one_start_settles_an_outage,
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
        two_routers::{
            the_lan_leaves_by_the_router_that_is_better_off,
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
            a_modem_whose_plan_is_used_up_is_found_out_and_not_switched_to,
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
    ]
}
