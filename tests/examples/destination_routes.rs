//! Destinations that always use one line, and a line that carries nothing else.

use std::net::IpAddr;

use crate::lab::{SERVICE, SERVICE6};
use crate::site::{Site, strip};

/// The interface by which the router sends to an address.
fn way_to(site: &Site, address: &str) -> String {
    let shown = site.router.ip(&format!("route get {address}"));
    let mut words = shown.split_whitespace().skip_while(|word| *word != "dev");
    words.nth(1).unwrap_or_else(|| panic!("no way to {address}: {shown}")).to_owned()
}

pub fn destinations_keep_to_their_line_whatever_carries_the_rest() {
    let site = Site::of("destination-routes", &["eth0", "eth1", "eth2"]);
    strip(&site.router, "eth2");
    site.load_nft(&site.router, "/etc/nftables.conf");
    let assert_in_place = |rest: &str| {
        for name_server in ["198.51.100.22", "2001:db8:ffff::22"] {
            assert_eq!(way_to(&site, name_server), "eth1");
        }
        site.assert_served_over(3, SERVICE);
        site.assert_served_over(3, SERVICE6);
        assert_eq!(way_to(&site, "198.51.100.99"), rest);
        assert_eq!(way_to(&site, "2001:db8:fffe::1"), rest);
    };
    site.check();
    assert_eq!(site.problems(), "");
    assert_in_place("eth0");
    site.cut_silently(1);
    site.fail_over("fibre", "lte");
    assert_in_place("eth1");

    // The default traffic never goes to the last line that works, by itself or by hand.
    site.cut_silently(2);
    site.check_until("a backup that is down", |status| status["links"][1]["up"] == false);
    assert_eq!((site.active().as_str(), site.link("voice")["up"].as_bool()), ("lte", Some(true)));
    assert!(site.problems().contains("no link is up"), "{}", site.problems());
    assert_eq!(site.wanfo(&["force-failover", "--to", "voice"]).code, 1);
    assert_in_place("eth1");
    site.repair(1);
    site.check_until_active("fibre");
    assert_in_place("eth0");

    // And its own never go astray, over the others.
    site.pull_cable(3);
    site.check();
    for service in [IpAddr::from(SERVICE), SERVICE6.into()] {
        site.ask(service).expect_err("the line is gone");
    }
    assert_eq!(way_to(&site, "198.51.100.99"), "eth0");
    site.plug_in(3);
    site.check();
    assert_in_place("eth0");
}
