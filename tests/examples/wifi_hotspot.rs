//! A phone's hotspot that comes and goes. There is no radio in the lab: wlan0 is a cable to the phone, whose carrier is
//! there while wlan0 is associated.

use crate::lab::{Namespace, SERVICE};
use crate::site::{Site, end, host, masquerade};

/// A site and a phone that is off.
fn site() -> (Site, Namespace) {
    let phone = host("phone");
    let site = Site::with_more_ends("wifi-hotspot", &["eth0"], &[end(&phone, "air")]);
    site.router.ip(&format!("link add wlan0 type veth peer name hotspot netns {}", phone.path()));
    masquerade(&phone, "air");
    site.load_nft(&site.router, "/etc/nftables.conf");
    (site, phone)
}

fn associate(phone: &Namespace) {
    phone.ip("link set hotspot up");
}

fn answer(phone: &Namespace) {
    phone.ip("address add 192.168.43.1/24 dev hotspot");
}

fn leave(phone: &Namespace) {
    phone.ip("address flush dev hotspot");
    phone.ip("link set hotspot down");
}

/// By the run in which it answers, which need not be the first: the kernel may have its address to find out still.
#[track_caller]
fn assert_taken_at_once(site: &Site) {
    assert_eq!(site.active(), "cable");
    site.check_until("a hotspot that is up", |status| status["links"][1]["up"] == true);
    assert_eq!(site.active(), "hotspot");
    site.assert_served_over(2, SERVICE);
    site.assert_ipv6_is_refused_at_once();
}

#[track_caller]
fn assert_nothing_is_taken(site: &Site) {
    for _ in 0..2 {
        site.check();
        assert_eq!(site.active(), "cable");
    }
    assert!(site.problems().contains("no link is up"), "{}", site.problems());
}

pub fn a_hotspot_is_taken_by_the_run_in_which_it_answers_and_never_while_it_is_away() {
    let (site, phone) = site();
    site.check();
    assert_eq!(site.link("hotspot")["up"], false);
    assert!(site.problems().contains("hotspot: interface wlan0 has no carrier"), "{}", site.problems());
    site.assert_lan_is_served_over(1);

    site.cut_silently(1);
    assert_nothing_is_taken(&site);
    associate(&phone);
    assert_nothing_is_taken(&site);
    answer(&phone);
    assert_taken_at_once(&site);

    // It goes, and the cable is there again: no delay holds on to a hotspot that is away.
    leave(&phone);
    site.check();
    assert_eq!(site.active(), "hotspot");
    site.repair(1);
    site.check();
    assert_eq!(site.active(), "cable");
    site.assert_lan_is_served_over(1);

    // From no carrier to an answer between two runs.
    site.cut_silently(1);
    assert_nothing_is_taken(&site);
    associate(&phone);
    answer(&phone);
    assert_taken_at_once(&site);

    // With the phone still there the delay is waited for.
    site.repair(1);
    site.comes_back("cable");
    site.assert_lan_is_served_over(1);
}
