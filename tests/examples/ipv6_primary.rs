//! A primary with IPv6 only by real router advertisements, a backup with IPv4 only.

use crate::lab::{SERVICE, SERVICE6, gateway, router_address};
use crate::site::{Running, Site, strip, wait_until};

/// The lab's LAN, which a provider would delegate.
const LAN6: &str = "2001:db8:f::/64";

fn site() -> Site {
    let site = Site::of("ipv6-primary", &["eth0", "wwan0"]);
    strip(&site.router, "wwan0");
    site.router.sysctl("net.ipv6.conf.wwan0.disable_ipv6", "1");
    site.router.ip(&format!("address add {}/28 dev wwan0", router_address(2)));
    site.router.ip(&format!("route add default via {} dev wwan0 metric 200", gateway(2)));
    strip(&site.router, "eth0");
    site.apply_sysctls(&site.router, "/etc/sysctl.d/90-ipv6-primary.conf");
    site.load_nft(&site.router, "/etc/nftables.conf");
    site
}

/// The provider's router advertisements; a lifetime of 0 says that it is no default router (RFC 4861, section 4.2).
fn advertise(site: &Site, lifetime: u32) -> Running {
    Running::start(
        site.dnsmasq(1)
            .args(["--enable-ra", "--dhcp-range=2001:db8:1::,ra-only,64,10m"])
            .arg(format!("--ra-param=customer,4,{lifetime}")),
    )
}

fn default_route(site: &Site) -> String {
    site.router.ip("-6 route show default dev eth0")
}

/// The provider sends the LAN's packets to the address that the router has made for itself.
fn delegate(site: &Site) {
    let shown = site.router.ip("-6 -o address show dev eth0 scope link");
    let own = shown.split_whitespace().nth(3).and_then(|own| own.split('/').next()).expect("an address");
    site.provider(1).ip(&format!("route replace {LAN6} via {own} dev customer"));
}

pub fn an_ipv6_only_primary_hands_over_to_ipv4_whenever_it_dies_or_is_withdrawn() {
    let site = site();
    let advertising = advertise(&site, 1800);
    wait_until("a router advertisement", || default_route(&site).contains("proto ra"));
    delegate(&site);
    // By its routes the kernel seems to be on the backup, until the first run has looked at the primary.
    site.check();
    site.check();
    assert_eq!(site.problems(), "");
    let fibre = site.link("fibre");
    assert!(fibre["gateway6"].as_str().expect("a gateway").starts_with("fe80::"), "{fibre}");
    assert!(fibre["gateway"].is_null(), "{fibre}");
    site.assert_served_over(1, SERVICE6);
    // Its own default route takes it there.
    site.assert_served_over(2, SERVICE);

    site.cut_silently(1);
    site.fail_over("fibre", "lte");
    site.assert_served_over(2, SERVICE);
    site.assert_ipv6_is_refused_at_once();
    site.repair(1);
    site.comes_back("fibre");
    site.assert_served_over(1, SERVICE6);

    drop(advertising);
    let withdrawing = advertise(&site, 0);
    wait_until("a withdrawal", || default_route(&site).is_empty());
    site.fail_over("fibre", "lte");
    let problems = site.problems();
    assert!(problems.contains("fibre: no IPv6 gateway is known for eth0"), "{problems}");
    assert!(problems.contains("does a router there advertise itself"), "{problems}");
    site.assert_served_over(2, SERVICE);
    site.assert_ipv6_is_refused_at_once();

    drop(withdrawing);
    let _advertising = advertise(&site, 1800);
    wait_until("a router advertisement", || default_route(&site).contains("proto ra"));
    site.comes_back("fibre");
    site.assert_served_over(1, SERVICE6);
    site.assert_served_over(2, SERVICE);
}
