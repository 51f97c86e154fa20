//! What a lease brings, changes and takes away.

use std::path::Path;

use super::clients::Client;
use super::house::{House, Service};
use crate::site::wait_until;

pub fn systemd_networkd_s_leases_are_followed() {
    follow(Client::Networkd)
}

pub fn networkmanager_s_leases_are_followed() {
    follow(Client::NetworkManager)
}

pub fn dhcpcd_s_leases_are_followed() {
    follow(Client::Dhcpcd)
}

pub fn dhclient_s_leases_are_followed() {
    follow(Client::Dhclient)
}

pub fn udhcpc_s_leases_are_followed_by_its_hook() {
    follow(Client::Udhcpc)
}

pub fn systemd_networkd_s_classless_routes_win() {
    prefer_classless_routes(Client::Networkd)
}

pub fn networkmanager_s_classless_routes_win() {
    prefer_classless_routes(Client::NetworkManager)
}

pub fn dhcpcd_s_classless_routes_win() {
    prefer_classless_routes(Client::Dhcpcd)
}

pub fn dhclient_s_classless_routes_win() {
    prefer_classless_routes(Client::Dhclient)
}

pub fn udhcpc_s_classless_routes_win_by_its_hook() {
    prefer_classless_routes(Client::Udhcpc)
}

fn prefer_classless_routes(client: Client) {
    client.need();
    let mut house = House::new();
    // The backup comes first: no default route of the primary keeps the client from setting another.
    house.serve(1, Service::Refuses);
    house.serve(2, Service::Classless("0.0.0.0/0,192.0.2.17"));
    let _clients = client.start(&house);
    let addresses = || house.router.ip("-4 address show dev eth1");
    wait_until("a lease on the backup", || addresses().contains("192.0.2.18/28"));
    house.serve(1, Service::Classless("0.0.0.0/0,192.0.2.1"));
    house.wait_for_leases();
    wait_for_gateway(&house, client, "192.0.2.17");
    // On the primary the client has installed it, and what the kernel has counts.
    assert_eq!(house.link("primary")["gateway"], "192.0.2.1");
    assert_eq!(house.link("primary")["gateway_source"], "default-route");
    house.assert_no_default_route_on_the_backup();
    house.assert_served_over(1);
    house.assert_the_backup_answers();

    // Routes without a default: nobody is the gateway, and least of all the router.
    house.serve(2, Service::Classless("203.0.113.192/28,192.0.2.20"));
    client.renew(&house);
    wait_until("a backup without a gateway", || {
        house.check();
        house.problems().contains("no IPv4 gateway is known for eth1")
    });
    assert!(house.link("secondary")["gateway"].is_null());
    house.assert_no_default_route_on_the_backup();

    house.serve(2, Service::Classless("203.0.113.192/28,192.0.2.20,0.0.0.0/0,192.0.2.17"));
    wait_for_gateway(&house, client, "192.0.2.17");
    house.assert_the_backup_answers();

    // No such routes any more: the router counts again.
    house.move_gateway(2, 14);
    wait_for_gateway(&house, client, "192.0.2.30");
    house.assert_the_backup_answers();
    house.assert_no_default_route_on_the_backup();
}

fn follow(client: Client) {
    client.need();
    let mut house = House::new();
    let _clients = client.start(&house);
    house.wait_for_leases();
    wait_for_gateway(&house, client, "192.0.2.17");
    assert_eq!(house.link("primary")["gateway"], "192.0.2.1");
    assert_eq!(house.link("primary")["gateway_source"], "default-route");
    assert_eq!(house.problems(), "");
    house.assert_no_default_route_on_the_backup();
    house.assert_served_over(1);
    house.assert_the_backup_answers();

    // Another gateway, on the primary.
    house.move_gateway(2, 14);
    wait_for_gateway(&house, client, "192.0.2.30");
    let table = house.router.ip("-N route show table 5302");
    assert!(table.contains("default via 192.0.2.30 dev eth1"), "{table}");
    house.assert_the_backup_answers();

    // And another, on the backup.
    house.cut_silently(1);
    house.fail_over("primary", "secondary");
    house.assert_served_over(2);
    house.move_gateway(2, 1);
    wait_for_gateway(&house, client, "192.0.2.17");
    for half in ["0.0.0.0/1", "128.0.0.0/1"] {
        let route = house.router.ip(&format!("route show {half}"));
        assert!(route.contains("via 192.0.2.17 dev eth1"), "{route}");
    }
    house.assert_served_over(2);
    house.check_until("a backup that answers", |status| status["links"][1]["silent_for_ms"] == 0);
    assert_eq!(house.active(), "secondary");
    house.assert_no_default_route_on_the_backup();

    // The lease is lost. That is no pulled cable, and has to be confirmed.
    house.repair(1);
    house.check_until("a primary that answers", |status| status["links"][0]["stable_in_ms"].is_u64());
    assert_eq!(house.active(), "secondary");
    house.serve(2, Service::Refuses);
    client.renew(&house);
    let addresses = || house.router.ip("-4 address show dev eth1");
    let link_local = if client.falls_back_to_link_local() { "169.254." } else { "" };
    wait_until("an address that is gone", || {
        let addresses = addresses();
        !addresses.contains("192.0.2.18") && addresses.contains(link_local)
    });
    let noted = house.router.run(|| Path::new("/run/wanfo/leases/eth1").exists());
    assert!(!noted, "the hook keeps a lease that is lost");
    house.fail_over("secondary", "primary");
    house.assert_served_over(1);
    let link = house.link("secondary");
    assert!(link["gateway"].is_null() && link["gateway_source"].is_null(), "{link}");
    let last_error = link["last_error"].as_str().expect("a reason");
    let said = match client.falls_back_to_link_local() {
        true => "no IPv4 address but a link-local one (169.254.",
        false => "interface eth1 has no IPv4 address",
    };
    assert!(last_error.contains(said), "{last_error}");
    assert!(house.problems().contains("is its DHCP"), "{}", house.problems());

    house.serve(2, Service::Leases(1));
    wait_for_gateway(&house, client, "192.0.2.17");
    house.comes_up("secondary", || ());
    house.assert_no_default_route_on_the_backup();
}

#[track_caller]
fn wait_for_gateway(house: &House, client: Client, gateway: &str) {
    client.renew(house);
    wait_until(&format!("gateway {gateway}"), || {
        house.check();
        let link = house.link("secondary");
        link["gateway"] == gateway && link["gateway_source"] == client.name()
    });
}
