//! Two lines with DHCP, as examples/two-dhcp ships them, with each DHCP client that people have: real ones, and a real
//! server. No client sets a default route on the backup, so only its lease knows the gateway.

mod clients;
mod files;
mod house;
mod leases;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    trials![
        leases::{
            systemd_networkd_s_leases_are_followed,
            networkmanager_s_leases_are_followed,
            dhcpcd_s_leases_are_followed,
            dhclient_s_leases_are_followed,
            udhcpc_s_leases_are_followed_by_its_hook,
            systemd_networkd_s_classless_routes_win,
            networkmanager_s_classless_routes_win,
            dhcpcd_s_classless_routes_win,
            dhclient_s_classless_routes_win,
            udhcpc_s_classless_routes_win_by_its_hook,
        },
        files::{
            a_run_that_reads_a_lease_is_quiet_and_starts_no_process,
            a_lease_file_that_is_no_good_is_ignored_without_harm,
            a_lease_file_that_people_can_write_is_not_obeyed_and_that_is_said,
            status_says_where_each_gateway_is_known_from,
        },
    ]
}
