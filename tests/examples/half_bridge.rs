//! A modem in half-bridge mode: the router's address is a host address, and the gateway lies outside of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;

use crate::lab::{self, SERVICE};
use crate::site::{Running, Site, shipped, strip, talk, wait_until};

const MODEM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1)), 80);

/// Modem and provider are one host: provider 1, who has the modem's address too.
fn site() -> Site {
    let site = Site::of("half-bridge", &["eth0", "eth1"]);
    strip(&site.router, "eth0");
    // LTE has no IPv6 either.
    site.router.ip("-6 route flush default dev eth1");
    site.provider(1).ip("address add 192.168.1.1/32 dev lo");
    // Neither line has IPv6.
    site.router.ip("-6 address flush dev eth1 scope global");
    site.router.ip("-6 route flush default dev eth1");
    site.load_nft(&site.router, "/etc/nftables.conf");
    site
}

fn modem_gives_leases(site: &Site) -> Running {
    let leases = site.path("leases");
    Running::start(
        site.dnsmasq(1)
            .arg("--dhcp-range=192.0.2.2,192.0.2.2,255.255.255.240,2m")
            .args([
                "--dhcp-option-force=option:netmask,255.255.255.255",
                "--dhcp-option=option:router,192.0.2.1",
            ])
            .arg(format!("--dhcp-leasefile={}", leases.display())),
    )
}

/// As ifupdown starts it where `metric 50` is set.
fn dhcp_client(site: &Site) -> Running {
    lab::need(&["dhclient"]);
    site.router.write("/var/lib/dhcp/dhclient.eth0.leases", "");
    let files = ["-pf", "/run/dhclient.eth0.pid", "-lf", "/var/lib/dhcp/dhclient.eth0.leases"];
    let mut client = site.router.command("dhclient");
    client.args(["-d", "-4"]).args(files).args(["eth0", "-e", "IF_METRIC=50"]);
    Running::start(client.stderr(Stdio::null()))
}

/// With its page reached all the time.
fn assert_fails_over_and_back(site: &Site) {
    let assert_the_modem_is_reached =
        || drop(talk(&site.client, MODEM, site.provider(1), MODEM).expect("the modem's web page"));
    site.check();
    assert_eq!(site.problems(), "");
    assert_eq!(site.link("dsl")["gateway"], "192.0.2.1");
    let shown = site.router.ip("-4 address show dev eth0");
    assert!(shown.contains("inet 192.0.2.2/32"), "{shown}");
    site.assert_served_over(1, SERVICE);
    assert_the_modem_is_reached();
    site.cut_silently(1);
    site.fail_over("dsl", "lte");
    site.assert_served_over(2, SERVICE);
    assert_the_modem_is_reached();
    site.repair(1);
    site.comes_back("dsl");
    site.assert_served_over(1, SERVICE);
    assert_the_modem_is_reached();
}

pub fn a_modem_in_half_bridge_mode_is_used_by_its_gateway_outside_of_the_lease() {
    let site = site();
    let _server = modem_gives_leases(&site);
    let _client = dhcp_client(&site);
    wait_until("a lease", || site.router.ip("-4 route show default dev eth0").contains("via 192.0.2.1"));
    assert_fails_over_and_back(&site);
}

/// What the config's comment says of an address that never changes.
pub fn a_modem_in_half_bridge_mode_needs_no_dhcp_where_the_config_has_both_addresses() {
    let site = site();
    let config = shipped("half-bridge.yaml").replace(
        "interface: eth0\n",
        "interface: eth0\n    gateway: 192.0.2.1\n    address: [192.0.2.2/32]\n",
    );
    site.router.write("/etc/wanfo/wanfo.yaml", &config);
    assert_fails_over_and_back(&site);
}
