//! A 4G/LTE modem in bridge mode: real DHCP with short leases.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;

use crate::lab::{self, SERVICE};
use crate::site::{Running, Site, strip, talk, wait_until};

const MODEM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 8, 1)), 80);

/// Modem and carrier are one host: provider 2, who has the modem's address too.
fn site() -> Site {
    let site = Site::of("lte-bridge", &["eth0", "wwan0"]);
    strip(&site.router, "wwan0");
    site.provider(2).ip("address add 192.168.8.1/32 dev lo");
    site.load_nft(&site.router, "/etc/nftables.conf");
    site
}

/// The carrier's DHCP server. No lease is shorter than two minutes with dnsmasq; but the client is told to renew it
/// much earlier (options 58 and 59, RFC 2132).
fn dhcp_server(site: &Site, gateway: u8, addresses: [u8; 2]) -> Running {
    let [first, last] = addresses;
    let leases = site.path(&format!("leases-{gateway}"));
    Running::start(
        site.dnsmasq(2)
            .args(["--dhcp-ignore-names", "--dhcp-option=option:T1,4", "--dhcp-option=option:T2,8"])
            .arg(format!("--dhcp-range=192.0.2.{first},192.0.2.{last},255.255.255.240,2m"))
            .arg(format!("--dhcp-option=3,192.0.2.{gateway}"))
            .arg(format!("--dhcp-leasefile={}", leases.display())),
    )
}

/// As ifupdown starts it where `metric 200` is set.
fn dhcp_client(site: &Site) -> Running {
    lab::need(&["dhclient"]);
    site.router.write("/var/lib/dhcp/dhclient.wwan0.leases", "");
    let (pid, leases) = ("/run/dhclient.wwan0.pid", "/var/lib/dhcp/dhclient.wwan0.leases");
    let mut dhclient = site.router.command("dhclient");
    dhclient.args(["-d", "-4", "-pf", pid, "-lf", leases, "wwan0", "-e", "IF_METRIC=200"]);
    Running::start(dhclient.stderr(Stdio::null()))
}

#[track_caller]
fn assert_the_modem_is_reached(site: &Site) {
    talk(&site.client, MODEM, site.provider(2), MODEM).expect("the modem's web page");
}

/// When the lease that this gateway gave ends, and to whom.
fn lease(site: &Site, gateway: u8) -> String {
    fs::read_to_string(site.path(&format!("leases-{gateway}"))).expect("the server's leases")
}

pub fn an_lte_modem_in_bridge_mode_takes_over_whatever_its_leases_bring() {
    let site = site();
    let server = dhcp_server(&site, 17, [20, 22]);
    let _client = dhcp_client(&site);
    let default_route = || site.router.ip("route show default dev wwan0");
    wait_until("a lease", || default_route().contains("via 192.0.2.17 metric 200"));
    site.check();
    assert_eq!(site.problems(), "");
    assert_eq!(site.link("lte")["gateway"], "192.0.2.17");
    site.assert_served_over(1, SERVICE);
    assert_the_modem_is_reached(&site);

    // Renewals that bring nothing new change nothing.
    for _ in 0..2 {
        let before = lease(&site, 17);
        wait_until("a renewal", || lease(&site, 17) != before);
        let run = site.check();
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    }

    // Another address and another gateway.
    drop(server);
    site.move_gateway(2, 14);
    let _server = dhcp_server(&site, 30, [24, 26]);
    wait_until("another gateway", || default_route().contains("via 192.0.2.30 metric 200"));
    site.check();
    assert_eq!(site.link("lte")["gateway"], "192.0.2.30");
    assert_the_modem_is_reached(&site);

    site.cut_silently(1);
    site.fail_over("cable", "lte");
    site.assert_served_over(2, SERVICE);
    site.assert_ipv6_is_refused_at_once();
    assert_the_modem_is_reached(&site);

    // The carrier is out of order; the modem still answers.
    site.cut_silently(2);
    site.check_until("a backup that is down", |status| status["links"][1]["up"] == false);
    assert_the_modem_is_reached(&site);
    site.repair(1);
    site.check_until_active("cable");
    site.assert_served_over(1, SERVICE);
    assert_the_modem_is_reached(&site);

    // Without the modem nobody else is taken for it: a host behind the cable has its address too.
    site.pull_cable(2);
    site.provider(1).ip("address add 192.168.8.1/32 dev lo");
    site.check();
    assert!(talk(&site.client, MODEM, site.provider(1), MODEM).is_err(), "a modem behind the cable");
}
