//! Lines of every kind: how their interfaces and gateways are found, and what is tied to them.

use std::io::ErrorKind;
use std::net::IpAddr;

use crate::lab::{self, Line, SERVICE, SERVICE6, gateway, router_address, target, transit};
use crate::story::{PIN_BY_TARGET, PROBE, Story, assert_same, config, link, two_links};

/// Failover and failback of the IPv4 traffic, and the kernel as before.
#[track_caller]
fn assert_fails_over_and_back(story: &Story) {
    story.check();
    let calm = story.kernel();
    assert_eq!(story.problems(), "");
    story.assert_served_over(1, SERVICE);
    story.fails_over_and_back();
    assert_same(&calm, &story.kernel());
}

/// Both providers are 203.0.113.1 to the router, each on its own wire. Left to itself the kernel looks for
/// that address on wan2, which got its own first.
fn give_both_lines_the_same_gateway(story: &Story) {
    for line in [2, 1] {
        let own = format!("203.0.113.{}", 1 + line);
        let (wan, metric) = (format!("wan{line}"), 100 * line);
        story.provider(line).ip("-4 address flush dev customer");
        story.provider(line).ip("address add 203.0.113.1/28 dev customer");
        story.provider(line).ip(&format!("route add {} via {own}", lab::LAN));
        story.internet.ip(&format!("route add {own} via {} dev line{line}", transit(line, 1)));
        story.router.ip(&format!("-4 address flush dev {wan}"));
        story.router.ip(&format!("address add {own}/28 dev {wan}"));
        story.router.ip(&format!("route add default via 203.0.113.1 dev {wan} metric {metric}"));
    }
}

pub fn both_lines_may_have_the_same_gateway_address() {
    let story = Story::of_two_links();
    give_both_lines_the_same_gateway(&story);
    assert_fails_over_and_back(&story);
}

/// The kernel looks for the way back to the modem by the one line that has such a subnet first, and would drop what the
/// other asks.
pub fn two_modems_with_one_address_work_under_strict_reverse_path_filtering() {
    let story = Story::of_two_links();
    give_both_lines_the_same_gateway(&story);
    story.router.sysctl("net.ipv4.conf.all.rp_filter", "1");
    story.check();
    let forget = || [1, 2].map(|line| story.provider(line).ip("neigh flush dev customer"));
    for link in ["primary", "secondary"] {
        forget();
        story.check();
        assert_eq!(story.link(link)["silent_for_ms"], 0, "{link}: {}", story.problems());
    }
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    for _ in 0..2 {
        forget();
        story.assert_served_over(2, SERVICE);
        story.check();
    }
    assert_eq!(story.link("secondary")["silent_for_ms"], 0);
    story.repair(1);
    story.check_until_active("primary");
    story.assert_served_over(1, SERVICE);
}

pub fn a_default_route_of_a_subnet_that_is_gone_does_not_hide_the_right_one() {
    for metric in [100, 50] {
        let story = Story::of_two_links();
        for step in [
            "address add 203.0.113.2/28 dev wan1".to_owned(),
            "route del default dev wan1".to_owned(),
            format!("route append default via 203.0.113.1 dev wan1 metric {metric}"),
            format!("route append default via {} dev wan1 metric 100", gateway(1)),
            "address del 203.0.113.2/28 dev wan1".to_owned(),
        ] {
            story.router.ip(&step);
        }
        assert_fails_over_and_back(&story);
        assert_eq!(story.link("primary")["gateway"], gateway(1).to_string());
    }
}

pub fn what_a_line_s_default_route_carries_is_carried_over_in_a_failover() {
    let story = Story::of_two_links();
    // The provider takes this address only, and the MTU was on the lease.
    let leased = "192.0.2.20";
    story.router.ip(&format!("address add {leased}/28 dev wan2"));
    let (by, by6) = (gateway(2), lab::gateway6(2));
    story.router.ip(&format!(
        "route replace default via {by} dev wan2 src {leased} metric 200 mtu 1400 advmss 1300 initcwnd 20 quickack 1"
    ));
    story.router.ip(&format!("-6 route replace default via {by6} dev wan2 metric 200 mtu 1380 hoplimit 60"));
    story.provider(2).ip(&format!("rule add from {} blackhole", router_address(2)));
    assert_fails_over_and_back(&story);
    story.succeeds(&["force-failover", "--hold"]);
    for (address, traits) in [
        ("203.0.113.250", "src 192.0.2.20"),
        ("203.0.113.250", "mtu 1400 advmss 1300 initcwnd 20 quickack 1"),
        ("2001:db8:ffff::250", "mtu 1380 hoplimit 60"),
    ] {
        let way = story.router.ip(&format!("route get {address}"));
        assert!(way.contains("dev wan2 ") && way.contains(traits), "{way}");
    }
    let calm = story.kernel();
    assert_eq!(story.check().stderr, "");
    assert_same(&calm, &story.kernel());
}

pub fn routes_of_others_that_stay_on_a_dead_line_are_named() {
    let story = Story::of_two_links();
    story.router.ip(&format!("route add 203.0.113.200/32 via {} dev wan1", gateway(1)));
    story.check();
    assert_eq!(story.problems(), "");
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.check();
    let problems = story.problems();
    assert!(problems.starts_with("primary: it is down, and foreign routes"), "{problems}");
    assert!(problems.contains("203.0.113.200/32 via 192.0.2.1 dev wan1"), "{problems}");
    story.repair(1);
    story.check_until_active("primary");
    story.check();
    assert_eq!(story.problems(), "");
}

pub fn an_interface_has_its_altname_too() {
    let name = "the-line-by-the-second-provider";
    let story = Story::begin(2, &config(&two_links(["", &format!("interface: {name}")]), &[PROBE]));
    story.router.ip(&format!("link property add dev wan2 altname {name}"));
    assert_fails_over_and_back(&story);
    assert_eq!(story.link("secondary")["interface"], "wan2");

    // One line is no redundancy, whatever it is called.
    story.router.ip(&format!("link property del dev wan2 altname {name}"));
    story.router.ip(&format!("link property add dev wan1 altname {name}"));
    story.check();
    let problems = story.problems();
    let told = format!("secondary: its interface {name} is that of primary by another name (wan1)");
    assert!(problems.contains(&told), "{problems}");
}

pub fn a_dead_gateway_is_not_found_behind_the_other_line_that_has_the_same_address() {
    let story = Story::begin(2, &config(&two_links(["targets: [gateway]", ""]), &[PROBE]));
    give_both_lines_the_same_gateway(&story);
    story.check();
    assert_eq!(story.link("primary")["targets"][0]["address"], "203.0.113.1");
    story.provider(1).sysctl("net.ipv4.icmp_echo_ignore_all", "1");
    story.fail_over("primary", "secondary");
    story.assert_served_over(2, SERVICE);
    story.provider(1).sysctl("net.ipv4.icmp_echo_ignore_all", "0");
    story.check_until_active("primary");
}

pub fn the_same_gateway_is_a_target_of_two_links() {
    lab::need_users();
    let links = two_links(["targets: [gateway]", "targets: [gateway]"]);
    let story = Story::begin(2, &config(&links, &[PROBE]));
    give_both_lines_the_same_gateway(&story);
    story.check();
    assert_eq!(story.problems(), "");
    story.provider(1).sysctl("net.ipv4.icmp_echo_ignore_all", "1");
    story.fail_over("primary", "secondary");
    story.assert_lan_is_served_over(2);
}

pub fn the_same_gateway_as_target_of_two_links_is_reported_where_each_target_is_tied_for_itself() {
    let links = two_links(["targets: [gateway]", "targets: [gateway]"]);
    let story = Story::begin(2, &config(&links, &[PIN_BY_TARGET]));
    give_both_lines_the_same_gateway(&story);
    story.check();
    let problems = story.problems();
    assert!(
        problems.contains("secondary: primary has 203.0.113.1 as a target"),
        "no such problem: {problems}"
    );
    assert_eq!(story.link("primary")["silent_for_ms"], 0);
    assert_eq!(story.link("secondary")["up"], false, "what the primary hears is no sign of life of its own");
}

/// The router's end of a line gets a host address and the provider's as peer, as PPP does it.
fn give_line_a_peer_address(story: &Story, line: Line) {
    let (own, peer) = (router_address(line), gateway(line));
    story.router.ip(&format!("-4 address flush dev wan{line}"));
    story.router.ip(&format!("address add {own} peer {peer}/32 dev wan{line}"));
    // Without a gateway the router asks for every address on the wire itself.
    story.provider(line).sysctl("net.ipv4.conf.customer.proxy_arp", "1");
    story.provider(line).sysctl("net.ipv4.neigh.customer.proxy_delay", "0");
}

pub fn a_point_to_point_backup_needs_no_gateway() {
    let story = Story::begin(2, &config(&two_links(["", "gateway: none"]), &[PROBE]));
    give_line_a_peer_address(&story, 2);
    assert_fails_over_and_back(&story);
    assert_eq!(story.link("secondary")["gateway"], serde_json::Value::Null);
}

pub fn a_point_to_point_primary_needs_no_gateway() {
    let story = Story::begin(2, &config(&two_links(["gateway: none", ""]), &[PROBE]));
    give_line_a_peer_address(&story, 1);
    story.router.ip("route add default dev wan1 metric 100");
    assert_fails_over_and_back(&story);
    assert!(story.ours_in_main().is_empty(), "{:?}", story.ours_in_main());
}

/// A modem in half-bridge mode hands out its public address as a host address, with a gateway outside it.
pub fn a_gateway_outside_the_subnet_is_used_on_link() {
    let backup = format!("gateway: {}", gateway(2));
    let story = Story::begin(2, &config(&two_links(["", &backup]), &[PROBE]));
    for line in [1, 2] {
        story.router.ip(&format!("-4 address flush dev wan{line}"));
        story.router.ip(&format!("address add {}/32 dev wan{line}", router_address(line)));
    }
    // The primary's comes from the kernel, with the flag that somebody gave it; the backup's from the config.
    story.router.ip(&format!("route add default via {} dev wan1 onlink metric 100", gateway(1)));
    assert_fails_over_and_back(&story);
}

pub fn an_interface_that_the_config_leaves_out_is_found_by_the_subnet_of_its_gateway() {
    let link = |line: Line, name: &str| {
        let (gateway, target) = (gateway(line), target(line, 1));
        format!("{{name: {name}, gateway: {gateway}, targets: [{target}], delay: 0s, stable: 0s}}")
    };
    let story = Story::begin(2, &config(&[link(1, "primary"), link(2, "secondary")], &[PROBE]));
    assert_fails_over_and_back(&story);
    assert_eq!(story.link("primary")["interface"], "wan1");
    assert_eq!(story.link("secondary")["interface"], "wan2");
}

pub fn destinations_tied_to_a_backup_never_use_the_primary() {
    let routes = format!("routes: [{SERVICE}, \"{SERVICE6}\"]");
    let story = Story::begin(2, &config(&two_links(["", &routes]), &[PROBE]));
    story.check();
    assert_eq!(story.active(), "primary");
    story.assert_lan_is_served_over(2);
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.assert_lan_is_served_over(2);
    story.repair(1);
    story.check_until_active("primary");
    story.assert_lan_is_served_over(2);

    let error = |service: IpAddr, when: &str| match story.ask(service) {
        Ok(line) => panic!("{service} is served over line {line} {when}"),
        Err(error) => error.kind(),
    };
    let (v4, v6) = (IpAddr::from(SERVICE), IpAddr::from(SERVICE6));
    story.cut_silently(2);
    story.check();
    assert_eq!(story.link("secondary")["up"], false);
    error(v4, "after a silent outage");
    error(v6, "after a silent outage");
    story.repair(2);
    story.pull_cable(2);
    story.check();
    error(v4, "without carrier");
    error(v6, "without carrier");
    story.plug_in(2);
    story.check();
    story.assert_lan_is_served_over(2);

    story.router.ip("link set wan2 down");
    // The backstop is there already. It refuses at once; silence would be WouldBlock.
    assert_ne!(error(v4, "before the next run"), ErrorKind::WouldBlock);
    story.check();
    assert_ne!(error(v4, "administratively down"), ErrorKind::WouldBlock);
    assert_ne!(error(v6, "administratively down"), ErrorKind::WouldBlock);
}

/// A network of each family around the service.
const NETWORKS: &str = "routes: [203.0.113.80/28, \"2001:db8:ffff::80/124\", 192.0.2.17, 192.0.2.24/29]";

pub fn destinations_need_no_target_that_answers_and_may_be_networks() {
    let story = Story::begin(2, &config(&two_links(["", NETWORKS]), &[PROBE]));
    story.check();
    story.assert_lan_is_served_over(2);
    // A modem in the line's own subnet, and a part of that: no gateway in between.
    let ours = story.ours_in_main().join("\n");
    for neighbour in ["192.0.2.17 dev wan2", "192.0.2.24/29 dev wan2"] {
        assert!(ours.contains(&format!("{neighbour} proto")), "{neighbour} is not in {ours}");
    }

    // Down as a default, and yet the way to its destinations.
    story.silence(2, target(2, 1));
    story.check();
    assert_eq!(story.link("secondary")["up"], false);
    story.assert_lan_is_served_over(2);
    assert!(story.router_pings(gateway(2)));
    story.check();
    story.assert_lan_is_served_over(2);
    // Nothing answers anywhere: it stays on the primary, and the destinations stay where they are.
    story.cut_silently(1);
    story.check();
    assert!(story.problems().contains("no link is up"), "{}", story.problems());
    story.assert_lan_is_served_over(2);
}

pub fn a_link_for_its_routes_only_never_carries_the_default_traffic() {
    let routes = format!("{NETWORKS}, routes_only: true");
    let links = [link(1, "primary", ""), link(2, "lte", &routes), link(3, "satellite", "")];
    let story = Story::begin(3, &config(&links, &[PROBE]));
    let way_out = |line: Line| {
        for somebody in ["203.0.113.250", "2001:db8:ffff::250"] {
            let way = story.router.ip(&format!("route get {somebody}"));
            assert!(way.contains(&format!("dev wan{line} ")), "{way}");
        }
        story.assert_lan_is_served_over(2);
    };
    story.check();
    way_out(1);
    let lte = story.link("lte");
    assert_eq!(
        (&lte["routes_only"], &lte["up"], &lte["active"]),
        (&true.into(), &true.into(), &false.into())
    );
    assert_eq!(story.link("satellite")["routes_only"], false);
    assert_eq!(story.succeeds(&["status"]).stdout.matches("routes only").count(), 1);

    let before = story.kernel();
    let run = story.wanfo(&["force-failover", "--to", "lte"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("no default traffic goes over lte (`routes_only`)"), "{run:?}");
    assert_same(&before, &story.kernel());
    assert_eq!(story.active(), "primary");

    story.cut_silently(1);
    story.fail_over("primary", "satellite");
    way_out(3);
    story.pull_cable(3);
    story.check();
    // It works, and is of no help.
    assert!(story.problems().contains("no link is up"), "{}", story.problems());
    assert_eq!(story.wanfo(&["status", "--exit-code"]).code, 2);
    story.repair(1);
    story.check_until_active("primary");
    way_out(1);
    story.plug_in(3);
    story.check_until("a satellite that is up", |status| status["links"][2]["up"] == true);
    story.succeeds(&["force-failover", "--hold"]);
    assert_eq!(story.active(), "satellite");
    way_out(3);

    // The active link is made one for its routes only: as if it had been taken out of the config.
    let links = [link(1, "primary", ""), link(2, "lte", ""), link(3, "satellite", &routes)];
    story.configure(&config(&links, &[PROBE]));
    story.check();
    assert_eq!(story.active(), "primary");
    let way = story.router.ip("route get 203.0.113.250");
    assert!(way.contains("dev wan1 "), "{way}");
    story.assert_lan_is_served_over(3);
}

fn rename(story: &Story, from: &str, to: &str) {
    // An interface that is up keeps its name.
    story.router.ip(&format!("link set {from} down"));
    story.router.ip(&format!("link set {from} name {to}"));
    story.router.ip(&format!("link set {to} up"));
}

/// `wanI` is up, and has what it lost on the way there.
fn configure_again(story: &Story, line: Line, interface: &str) {
    story.router.ip(&format!("address replace {}/64 dev {interface}", lab::router_address6(line)));
    for gateway in [IpAddr::from(gateway(line)), lab::gateway6(line).into()] {
        story
            .router
            .ip(&format!("route replace default via {gateway} dev {interface} metric {}", 100 * line));
    }
}

/// The switch is this run's, and no earlier one's.
pub fn an_active_link_that_gets_another_name_is_a_switch() {
    let story = Story::of_two_links();
    story.check();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.configure(&config(&[link(1, "primary", ""), link(2, "lte", "")], &[PROBE]));
    let run = story.check();
    let told: Vec<&str> = run.stderr.lines().filter(|line| line.contains("switch")).collect();
    let expected = "wanfo: switched from secondary to lte: secondary is not in the config any more";
    assert_eq!(told, [expected], "{run:?}");
}

pub fn an_interface_that_is_renamed_under_way_is_gone_until_it_has_its_name_back() {
    let story = Story::of_two_links();
    story.check();
    let calm = story.kernel();
    rename(&story, "wan1", "uplink");
    configure_again(&story, 1, "uplink");
    story.check();
    assert_eq!(story.active(), "secondary");
    story.assert_lan_is_served_over(2);
    assert_eq!(story.link("primary")["up"], false);
    let problems = story.problems();
    assert!(
        problems.contains("primary: interface wan1 does not exist; see `ip link` for the names there are"),
        "{problems}"
    );
    rename(&story, "uplink", "wan1");
    configure_again(&story, 1, "wan1");
    story.check_until_active("primary");
    assert_eq!(story.problems(), "");
    story.assert_lan_is_served_over(1);
    assert_same(&calm, &story.kernel());

    // The waiting one: nobody is switched.
    rename(&story, "wan2", "spare");
    configure_again(&story, 2, "spare");
    story.check();
    assert_eq!((story.active().as_str(), story.link("secondary")["up"].clone()), ("primary", false.into()));
    story.assert_lan_is_served_over(1);
    rename(&story, "spare", "wan2");
    configure_again(&story, 2, "wan2");
    story.check_until("a backup that is up", |status| status["links"][1]["up"] == true);
    assert_same(&calm, &story.kernel());
}

pub fn a_name_of_15_characters_with_a_dot_and_an_at_sign_is_a_name_like_any_other() {
    let name = "enp13s0f1.4@abc";
    assert_eq!(name.len(), 15);
    let more = format!("interface: \"{name}\", routes: [203.0.113.99, \"2001:db8:5::/48\"]");
    let links = two_links(["", &more]);
    for pin in ["link", "target"] {
        let story = Story::begin(2, &config(&links, &[&format!("probe: {{silence: 1s, pin: {pin}}}")]));
        rename(&story, "wan2", name);
        configure_again(&story, 2, name);
        assert_fails_over_and_back(&story);
        assert_eq!(story.link("secondary")["interface"], name);
        story.succeeds(&["down"]);
        assert!(story.ours().is_empty(), "{:?}", story.ours());
    }
}

pub fn the_name_that_ip_prints_of_a_vlan_is_missed_and_the_right_one_is_told() {
    let story = Story::begin(2, &config(&two_links(["", "interface: \"wan2@if5\""]), &[PROBE]));
    story.check();
    let problems = story.problems();
    assert!(problems.contains("secondary: interface wan2@if5 does not exist"), "{problems}");
    assert!(problems.contains("for eth0.5@eth0 write `interface: eth0.5`"), "{problems}");
}

/// The line's cable goes into a bridge of the router's.
pub fn a_bridge_is_a_link_that_loses_its_carrier_with_its_last_port() {
    let story = Story::begin(2, &config(&two_links(["interface: br-wan", ""]), &[PROBE]));
    story.router.ip("link add br-wan type bridge");
    story.router.ip("-4 address flush dev wan1");
    story.router.ip("-6 address flush dev wan1 scope global");
    story.router.ip("link set wan1 master br-wan");
    story.router.ip("link set br-wan up");
    story.router.ip(&format!("address add {}/28 dev br-wan", router_address(1)));
    configure_again(&story, 1, "br-wan");
    assert_fails_over_and_back(&story);
    story.pull_cable(1);
    story.check();
    assert_eq!(story.active(), "secondary");
    assert!(story.problems().contains("interface br-wan has no carrier"), "{}", story.problems());
    story.plug_in(1);
    story.check_until_active("primary");
    story.assert_served_over(1, SERVICE);
}
