//! VLANs, for which the kernel of a development machine may have no module.

use crate::lab::{Lab, SERVICE, gateway, gateway6, router_address, router_address6};
use crate::site::wait_until;
use crate::story::{PROBE, Story, WANFO, config, two_links};

/// Line 1 comes as a VLAN over `lower` of the router, which its cable is a part of.
fn tag(story: &Story, lower: &str, vlan: &str) {
    let (_, id) = vlan.split_once('.').expect("a name with a number");
    story.router.ip(&format!("link add link {lower} name {vlan} type vlan id {id}"));
    story.router.ip(&format!("link set {vlan} up"));
    story.provider(1).ip("link set customer down");
    story.provider(1).ip("link set customer name trunk");
    story.provider(1).ip("address flush dev trunk");
    story.provider(1).ip("link set trunk up");
    story.provider(1).ip(&format!("link add link trunk name customer type vlan id {id}"));
    story.plug_in(1);
    story.router.ip(&format!("address add {}/28 dev {vlan}", router_address(1)));
    configure(story, vlan);
    let shown = story.router.ip("-brief link show");
    assert!(shown.contains(&format!("{vlan}@{lower} ")), "{shown}");
}

fn configure(story: &Story, vlan: &str) {
    story.router.ip(&format!("address replace {}/64 dev {vlan}", router_address6(1)));
    story.router.ip(&format!("route replace default via {} dev {vlan} metric 100", gateway(1)));
    story.router.ip(&format!("route replace default via {} dev {vlan} metric 100", gateway6(1)));
}

fn of_vlan(vlan: &str) -> Story {
    let links = two_links([&format!("interface: {vlan}"), ""]);
    let story = Story::in_a(Lab::new(2, WANFO), &config(&links, &[PROBE]));
    story.router.ip("address flush dev wan1");
    story
}

fn assert_fails_over_and_back(story: &Story, vlan: &str) {
    story.check();
    assert_eq!(story.problems(), "");
    assert_eq!(story.link("primary")["interface"], vlan);
    story.assert_served_over(1, SERVICE);
    story.fails_over_and_back();
    // The cable of all VLANs.
    story.provider(1).ip("link set trunk down");
    // A bridge hands on a lost carrier within a second, not at once (net/core/link_watch.c).
    wait_until("the lost carrier", || story.router.ip(&format!("link show {vlan}")).contains("NO-CARRIER"));
    story.check();
    assert_eq!(story.active(), "secondary");
    assert!(story.problems().contains(&format!("interface {vlan} has no carrier")), "{}", story.problems());
    story.provider(1).ip("link set trunk up");
    story.plug_in(1);
    configure(story, vlan);
    story.check_until_active("primary");
    story.assert_served_over(1, SERVICE);
}

pub fn a_vlan_with_a_name_of_15_characters_is_a_link() {
    let (lower, vlan) = ("enp13s0f1np1", "enp13s0f1np1.42");
    assert_eq!(vlan.len(), 15);
    let story = of_vlan(vlan);
    story.router.ip("link set wan1 down");
    story.router.ip(&format!("link set wan1 name {lower}"));
    story.router.ip(&format!("link set {lower} up"));
    tag(&story, lower, vlan);
    assert_fails_over_and_back(&story, vlan);
}

pub fn a_vlan_on_a_bridge_is_a_link() {
    let story = of_vlan("br0.5");
    story.router.ip("link add br0 type bridge");
    story.router.ip("link set wan1 master br0");
    story.router.ip("link set br0 up");
    tag(&story, "br0", "br0.5");
    assert_fails_over_and_back(&story, "br0.5");
}
