//! Static addresses: wanfo puts them on the interface, and takes away what it has put there and nothing else.

use crate::lab::{SERVICE, SERVICE6, gateway, gateway6, router_address, router_address6};
use crate::story::{PROBE, Story, assert_same, config, two_links};

/// The second link with these addresses.
fn with_addresses(addresses: &[&str]) -> String {
    let addresses: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    let (via, via6) = (gateway(2), gateway6(2));
    let keys = format!("gateway: {via}, gateway6: \"{via6}\", address: [{}]", addresses.join(", "));
    config(&two_links(["", &keys]), &[PROBE])
}

/// A backup that nobody else configures: its interface is as at boot.
fn bare_backup(config: &str) -> Story {
    let story = Story::begin(2, config);
    story.router.ip("address flush dev wan2");
    story.router.ip("link set wan2 down");
    // So it is in a fresh kernel; most systems with systemd have 1.
    story.router.sysctl("net.ipv4.conf.wan2.promote_secondaries", "0");
    story
}

fn own() -> [String; 2] {
    [format!("{}/28", router_address(2)), format!("{}/64", router_address6(2))]
}

/// The global addresses of the backup's interface, in order.
fn on_the_backup(story: &Story) -> Vec<String> {
    let shown = story.router.ip("-o address show dev wan2 scope global");
    let mut addresses: Vec<String> =
        shown.lines().map(|line| line.split_whitespace().nth(3).expect("an address").to_owned()).collect();
    addresses.sort();
    addresses
}

pub fn a_static_backup_is_brought_up_takes_over_and_hands_back() {
    let story = bare_backup(&with_addresses(&own().each_ref().map(String::as_str)));
    let said = story.check().stderr;
    assert!(said.contains("ip link set dev wan2 up"), "{said}");
    assert!(said.contains(&format!("ip -4 address add {}/28 dev wan2", router_address(2))), "{said}");
    assert_eq!(on_the_backup(&story), own());
    assert_eq!(story.problems(), "");
    // The very first run ends with everything in place.
    assert_eq!(story.check().stderr, "");
    let calm = story.kernel();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.assert_served_over(2, SERVICE);
    story.assert_served_over(2, SERVICE6);
    story.repair(1);
    story.check_until_active("primary");
    assert_same(&calm, &story.kernel());
}

pub fn a_changed_address_takes_the_place_of_wanfos_own_and_of_nothing_else() {
    let story = bare_backup(&with_addresses(&own().each_ref().map(String::as_str)));
    story.check();
    // Behind wanfo's in the same subnet, so that the kernel would take it away together with that; and one elsewhere.
    for foreign in ["192.0.2.25/28", "203.0.113.9/29"] {
        story.router.ip(&format!("address add {foreign} dev wan2"));
    }
    // The same subnet, and for IPv6 the same address with another length.
    let [_, own6] = own();
    let other6 = own6.replace("/64", "/56");
    story.configure(&with_addresses(&["192.0.2.21/28", &other6]));
    let run = story.check();
    assert_eq!(
        on_the_backup(&story),
        ["192.0.2.21/28", "192.0.2.25/28", &other6, "203.0.113.9/29"],
        "{run:?}"
    );
    assert_eq!(story.problems(), "");
    assert_eq!(story.check().stderr, "");
    assert_eq!(story.link("secondary")["up"], true);

    story.configure(&config(&two_links(["", &format!("gateway: {}", gateway(2))]), &[PROBE]));
    story.check();
    assert_eq!(on_the_backup(&story), ["192.0.2.25/28", "203.0.113.9/29"]);
}

pub fn an_address_of_dhcp_in_the_same_subnet_keeps_its_lifetime_when_wanfos_own_goes() {
    for promoted in ["0", "1"] {
        let story = bare_backup(&with_addresses(&[&own()[0]]));
        story.router.sysctl("net.ipv4.conf.wan2.promote_secondaries", promoted);
        story.check();
        story.router.ip("address add 192.0.2.25/28 dev wan2 valid_lft 3600 preferred_lft 3600");
        // The same time, another thing that cannot be done: it must not be told as the address's fault.
        story.configure(
            &with_addresses(&[]).replace("interface: wan1", "interface: wan1, routes: [203.0.113.99]"),
        );
        story.router.ip("route add 203.0.113.99 dev lan");
        let run = story.wanfo(&["check"]);
        assert_eq!(on_the_backup(&story), ["192.0.2.25/28"], "{run:?}");
        assert!(!run.stderr.contains("192.0.2.25/28 dev wan2` failed"), "{run:?}");
        let shown = story.router.ip("-o -4 address show dev wan2");
        assert_eq!(shown.contains("valid_lft forever"), promoted == "0", "{shown}");
    }
}

pub fn an_address_of_another_length_names_the_clash() {
    let story = Story::begin(2, &with_addresses(&[&own()[1].replace("/64", "/56")]));
    let run = story.wanfo(&["check"]);
    assert!(run.stderr.contains("another program's address stands in that place: take it out"), "{run:?}");
    assert!(on_the_backup(&story).contains(&own()[1]));
}

pub fn an_address_that_was_there_before_stays_when_the_config_drops_it() {
    let story = Story::begin(2, &with_addresses(&[&own()[0], "203.0.113.9/29"]));
    story.check();
    assert_eq!(on_the_backup(&story), [&own()[0], &own()[1], "203.0.113.9/29"]);
    story.configure(&with_addresses(&[]));
    story.check();
    assert_eq!(on_the_backup(&story), own());
}

pub fn an_address_that_somebody_deletes_comes_back_also_with_a_new_interface() {
    let story = bare_backup(&with_addresses(&own().each_ref().map(String::as_str)));
    story.check();
    story.router.ip(&format!("address del {} dev wan2", own()[0]));
    assert!(story.check().stderr.contains("in line again"));
    assert_eq!(on_the_backup(&story), own());

    story.pull_modem(2);
    story.check();
    assert!(story.problems().contains("interface wan2 does not exist"), "{}", story.problems());
    story.plug_in_modem(2);
    story.router.ip("address flush dev wan2");
    story.router.ip("link set wan2 down");
    story.check();
    assert_eq!(on_the_backup(&story), own());
    assert_eq!(story.problems(), "");
}

pub fn down_takes_wanfos_addresses_out_and_leaves_the_others() {
    let story = bare_backup(&with_addresses(&own().each_ref().map(String::as_str)));
    story.check();
    story.router.ip("address add 203.0.113.9/29 dev wan2");
    let said = story.succeeds(&["down"]).stdout;
    assert!(said.contains("addresses taken out"), "{said}");
    assert_eq!(on_the_backup(&story), ["203.0.113.9/29"]);
    assert!(story.ours().is_empty(), "{:?}", story.ours());
}

pub fn a_link_that_leaves_the_config_takes_its_addresses_along() {
    let three = |last: &str| {
        let [first, second] = two_links(["", ""]);
        let links = format!("links:\n  - {first}\n  - {second}\n{last}{PROBE}");
        links
    };
    let story = Story::begin(3, &three("  - {name: third, interface: wan3, address: [203.0.113.9/29]}\n"));
    story.check();
    assert!(story.router.ip("address show dev wan3").contains("203.0.113.9/29"));
    // Also where it is the active one.
    story.succeeds(&["force-failover", "--to", "third"]);
    story.configure(&three(""));
    story.check();
    assert_eq!(story.active(), "primary");
    assert!(!story.router.ip("address show dev wan3").contains("203.0.113.9"));
}
