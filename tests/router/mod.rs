//! A router with real lines: what wanfo does to routes, and what that does to packets.
//!
//! Every story builds a lab of its own (see lab/mod.rs) and runs the real program in it.

mod addresses;
mod commands;
mod drill;
mod elsewhere;
mod exec;
mod inbound;
mod ipv6;
mod lines;
mod loss;
mod outages;
mod pins;
mod replay;
mod stay;
mod tampering;
mod tunnel;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    trials![
        replay::{
            a_failover_that_was_recorded_is_shown_and_a_longer_silence_would_have_had_none,
            a_recording_is_bounded_in_size_and_time_and_one_run_costs_little,
            a_recording_that_cannot_be_kept_holds_up_nothing,
            without_the_key_nothing_is_recorded,
        },
        stay::{
            one_check_settles_a_silent_outage_and_one_its_end,
            a_link_that_is_down_slows_no_check,
            a_dry_run_and_a_run_by_hand_stay_as_well,
            a_fault_of_our_own_is_not_waited_for,
            a_command_gets_its_turn_after_a_run_that_stays,
            a_check_that_looks_again_takes_a_gateway_that_comes_back,
        },
        outages::{
            a_silent_outage_fails_over_after_the_silence_and_back_after_the_delay,
            a_silent_outage_with_pins_by_target_ends_the_same_way,
            a_pulled_cable_is_left_at_once_and_taken_back_after_it_is_plugged_in,
            an_interface_that_was_down_gets_its_routes_back_though_nobody_else_restores_them,
            three_outages_in_a_row_end_where_it_began,
            of_three_links_the_first_that_works_is_taken_and_delays_are_waited_for,
            a_backup_that_does_not_answer_just_now_is_not_moved_to,
            with_all_links_down_it_stays_says_so_once_and_takes_whichever_comes_first,
        },
        loss::{
            a_line_that_an_upload_fills_is_alive_and_left_when_it_is_cut,
            a_gap_shorter_than_the_silence_less_a_beat_moves_nobody,
            a_third_of_all_answers_lost_moves_nobody,
        },
        pins::{
            no_echo_request_leaves_by_the_wrong_line,
            every_link_may_have_the_same_targets,
            a_uid_that_a_user_of_the_machine_has_is_told,
            failover_and_failback_work_without_reverse_path_filtering,
            failover_and_failback_work_with_strict_reverse_path_filtering,
            failover_and_failback_work_with_loose_reverse_path_filtering,
            others_reach_the_target_of_a_dead_primary_over_the_backup,
        },
        tampering::{
            a_provider_that_takes_another_address_is_followed,
            routes_and_rules_that_somebody_deletes_are_put_back_by_the_next_run,
            routes_and_rules_of_others_stay_untouched,
            a_default_route_that_dhcp_sets_does_not_undo_a_failover,
            override_by_default_route_names_a_default_route_that_it_cannot_beat,
            a_destination_that_somebody_else_holds_does_not_hold_up_a_switch,
            another_protocol_number_in_the_config_leaves_nothing_behind,
            another_protocol_number_moves_no_traffic,
            another_protocol_number_leaves_nothing_behind_of_an_active_link_that_went_with_it,
            down_takes_out_what_was_made_under_the_number_before,
            a_target_is_not_asked_where_somebody_else_would_lead_the_request_astray,
            where_one_of_two_targets_is_led_astray_the_other_has_the_say,
            a_rule_of_somebody_else_that_leads_to_the_same_table_does_no_harm,
            a_route_of_somebody_else_in_the_place_of_an_override_is_named_with_its_key,
            a_route_that_somebody_puts_before_ours_is_not_replaced,
        },
        drill::{
            a_backup_that_works_is_proven_and_nobody_is_moved,
            a_dead_backup_is_not_proven_and_the_reason_is_told,
            a_backup_without_services_is_not_proven,
            with_pins_by_target_the_targets_alone_are_asked,
            with_a_switch_the_traffic_moves_and_comes_back,
            a_drill_that_is_killed_ends_by_itself,
            a_backup_that_dies_in_a_drill_is_left,
            a_run_that_leaves_the_backup_in_the_middle_of_a_drill_is_told_as_what_it_is,
            who_takes_the_traffic_in_hand_in_a_drill_keeps_it,
            traffic_that_goes_elsewhere_is_no_proof,
            the_way_back_that_the_exit_script_refuses_is_told,
            nobody_is_moved_in_a_delay_or_while_a_link_is_down,
            what_is_no_drill_is_refused,
        },
        exec::{
            a_command_leaves_by_its_link_whatever_is_active,
            a_command_is_the_link_s_user_and_its_exit_code_is_handed_on,
            a_link_with_ipv6_alone_takes_a_command_and_a_drill,
        },
        inbound::{
            every_line_answers_on_its_own_address,
            beside_a_foreign_route_to_its_target_a_link_is_probed_by_its_own_line,
            a_line_of_a_family_that_is_refused_answers_all_the_same,
            without_inbound_only_the_active_line_answers,
            a_forwarded_port_is_answered_over_the_line_it_came_by,
            what_is_bound_to_an_address_stays_on_its_line_while_that_is_up,
            what_talks_to_a_line_stays_on_it_at_a_switch_and_is_back_when_the_line_is_up_again,
        },
        elsewhere::{
            no_line_is_found_alive_by_way_of_another,
            rules_that_are_not_about_our_echo_requests_do_no_harm,
            the_headline_tells_where_the_default_traffic_goes,
            ipv6_that_is_to_be_refused_and_is_not_is_told,
            a_tunnel_that_takes_everything_is_told,
            a_rule_that_takes_narrow_routes_first_unties_no_probe,
            a_rule_that_ties_the_lan_to_a_dead_line_is_told,
        },
        ipv6::{
            targets_over_ipv6_alone_decide,
            link_local_gateways_work_also_where_both_lines_have_the_same,
            what_is_sent_by_a_line_has_that_line_s_address_where_it_is_deprecated_or_delegated,
            a_primary_that_loses_its_ipv6_refuses_it_and_says_so,
            one_family_that_dies_beyond_the_provider_is_told,
            a_backup_without_ipv4_refuses_it_at_once,
            a_provider_s_nat64_follows_a_failover_and_the_router_s_own_stays,
            a_backup_without_ipv6_refuses_it_at_once,
            somebody_s_route_for_all_of_ipv6_is_beaten_and_told,
            a_backup_without_ipv6_leaves_it_alone_where_the_config_says_so,
        },
        lines::{
            both_lines_may_have_the_same_gateway_address,
            two_modems_with_one_address_work_under_strict_reverse_path_filtering,
            a_default_route_of_a_subnet_that_is_gone_does_not_hide_the_right_one,
            what_a_line_s_default_route_carries_is_carried_over_in_a_failover,
            routes_of_others_that_stay_on_a_dead_line_are_named,
            an_interface_has_its_altname_too,
            a_dead_gateway_is_not_found_behind_the_other_line_that_has_the_same_address,
            the_same_gateway_is_a_target_of_two_links,
            the_same_gateway_as_target_of_two_links_is_reported_where_each_target_is_tied_for_itself,
            a_point_to_point_backup_needs_no_gateway,
            a_point_to_point_primary_needs_no_gateway,
            a_gateway_outside_the_subnet_is_used_on_link,
            an_interface_that_the_config_leaves_out_is_found_by_the_subnet_of_its_gateway,
            destinations_tied_to_a_backup_never_use_the_primary,
            an_active_link_that_gets_another_name_is_a_switch,
            an_interface_that_is_renamed_under_way_is_gone_until_it_has_its_name_back,
            a_name_of_15_characters_with_a_dot_and_an_at_sign_is_a_name_like_any_other,
            the_name_that_ip_prints_of_a_vlan_is_missed_and_the_right_one_is_told,
            a_bridge_is_a_link_that_loses_its_carrier_with_its_last_port,
            destinations_need_no_target_that_answers_and_may_be_networks,
            a_link_for_its_routes_only_never_carries_the_default_traffic,
        },
        addresses::{
            a_static_backup_is_brought_up_takes_over_and_hands_back,
            a_changed_address_takes_the_place_of_wanfos_own_and_of_nothing_else,
            an_address_of_dhcp_in_the_same_subnet_keeps_its_lifetime_when_wanfos_own_goes,
            an_address_of_another_length_names_the_clash,
            an_address_that_was_there_before_stays_when_the_config_drops_it,
            an_address_that_somebody_deletes_comes_back_also_with_a_new_interface,
            down_takes_wanfos_addresses_out_and_leaves_the_others,
            a_link_that_leaves_the_config_takes_its_addresses_along,
        },
        commands::{
            without_permission_to_ping_nobody_is_switched_but_a_pulled_cable_is,
            a_timed_check_makes_way_for_a_run_and_a_command_waits_for_it,
            a_failover_by_hand_ends_by_itself,
            the_mail_that_would_come_is_shown_and_not_sent,
            words_of_other_tools_get_a_tip,
            a_failover_by_hand_goes_to_the_named_link_for_the_time_that_is_said,
            a_held_failover_stays_until_failback,
            failback_does_not_wait_for_the_delay,
            a_failover_to_a_dead_backup_is_refused_with_the_reason,
            status_tells_programs_and_people_what_the_last_run_knew,
            status_needs_no_root,
            a_dry_run_prints_what_it_would_do_and_does_not_do_it,
            a_quiet_run_starts_no_process_prints_nothing_and_wears_no_flash,
            after_a_reboot_nothing_is_known_and_no_delay_runs,
            with_the_state_lost_the_kernel_tells_that_the_backup_is_active,
        },
        tunnel::{
            a_tunnel_that_hangs_up_is_left_at_once_and_taken_again_under_another_index,
        },
    ]
}
