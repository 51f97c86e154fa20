//! What should be in the kernel, and the `ip` commands that bring it there, case by case; further down, what is made
//! of the state file of yesterday.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use wanfo::core::change::{Change, Wanted};
use wanfo::core::config::{Config, Pin};
use wanfo::core::defaults;
use wanfo::core::facts::{
    Address, Facts, Family, Interface, MAIN_TABLE, Only, Preference, Route, RouteTarget, Rule, Traits,
};
use wanfo::core::flow::{self, RouteAnswer};
use wanfo::core::gateway::{self, View};
use wanfo::core::health::{ProbeError, Verdict};
use wanfo::core::hold::Hold;
use wanfo::core::pin;
use wanfo::core::problem::Code;
use wanfo::core::problems;
use wanfo::core::round::RunInput;
use wanfo::core::routing;
use wanfo::core::state::{Loaded, State};
use wanfo::core::switch::{Cause, Request, Switching};
use wanfo::core::time::BootTime;

use model_kernel::ModelKernel;

#[path = "fixtures/model_kernel.rs"]
mod model_kernel;

const OURS: u8 = 119;
/// RTPROT_DHCP.
const DHCP: u8 = 16;
/// RTPROT_RA.
const RA: u8 = 9;

fn config(text: &str) -> Config {
    wanfo::core::config::read::parse(text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// What an admin is told of the config and the kernel.
fn told(config: &Config, facts: &Facts) -> Vec<String> {
    let view = View::of(config, facts.clone());
    problems::of_links(config, &view).iter().map(ToString::to_string).collect()
}

fn address(network: &str) -> Address {
    let network: IpNetwork = network.parse().unwrap();
    let link_local = matches!(network.ip(), IpAddr::V6(address) if address.is_unicast_link_local());
    Address { network, peer: None, global: !link_local, tentative: false, deprecated: false }
}

fn interface(name: &str, addresses: &[&str]) -> Interface {
    Interface {
        name: name.to_owned(),
        altnames: Vec::new(),
        index: 7,
        up: true,
        carrier: true,
        point_to_point: name.starts_with("ppp"),
        addresses: addresses.iter().map(|network| address(network)).collect(),
    }
}

fn route(destination: &str, via: Option<&str>, interface: &str, metric: u32, protocol: u8) -> Route {
    let via = via.map(|via| via.parse().unwrap());
    Route {
        table: MAIN_TABLE,
        destination: destination.parse().unwrap(),
        only: None,
        target: RouteTarget::Out {
            interface: interface.to_owned(),
            via,
            onlink: false,
            traits: Traits::default(),
        },
        metric,
        protocol,
        preference: Preference::default(),
    }
}

/// Two lines with a DHCP client each: eth0 at 198.51.100.0/24, eth1 at 203.0.113.0/25.
fn two_lines() -> Facts {
    Facts {
        interfaces: vec![interface("eth0", &["198.51.100.2/24"]), interface("eth1", &["203.0.113.2/25"])],
        routes: vec![
            route("0.0.0.0/0", Some("198.51.100.1"), "eth0", 100, DHCP),
            route("0.0.0.0/0", Some("203.0.113.1"), "eth1", 200, DHCP),
        ],
        rules: Vec::new(),
        ..Facts::default()
    }
}

const NO_TARGETS: &str = "links: [{name: a, interface: eth0}, {name: b, interface: eth1}]";

fn commands(config: &Config, facts: &Facts, active: usize) -> Vec<String> {
    let lines = gateway::survey(config, facts);
    let wanted = routing::wanted(config, &lines, active, facts);
    let plan = routing::plan(facts, &wanted, config.routing.protocol);
    plan.iter().map(|change| change.to_string()).collect()
}

fn is_rule(command: &str) -> bool {
    command.contains(" rule ")
}

/// What a run knows in which nothing is asked for.
fn at_rest<'a>(config: &'a Config, view: &'a View, state: &'a State) -> RunInput<'a> {
    let (pin, request, now) = (pin::in_force(config, &view.facts), Request::Nothing, BootTime(1));
    RunInput { config, resolved: &view.links, pin, state, request, now }
}

/// The commands, less those for the links' own tables, which are the same in every story.
fn in_main(config: &Config, facts: &Facts, active: usize) -> Vec<String> {
    let commands = commands(config, facts, active).into_iter();
    commands.filter(|command| !command.contains(" table 530") && !is_rule(command)).collect()
}

/// The facts after all commands were run.
fn brought_in_line(config: &Config, mut facts: Facts, active: usize) -> Facts {
    let lines = gateway::survey(config, &facts);
    let wanted = routing::wanted(config, &lines, active, &facts);
    let mut kernel = ModelKernel { routes: facts.routes.clone(), rules: facts.rules.clone() };
    for change in routing::plan(&facts, &wanted, config.routing.protocol) {
        kernel.make(&change).unwrap_or_else(|error| panic!("{change}: {error}"));
    }
    (facts.routes, facts.rules) = (kernel.routes, kernel.rules);
    assert_eq!(commands(config, &facts, active), [""; 0], "a second plan");
    facts
}

#[test]
fn a_target_and_the_gateway_are_tied_to_their_link_by_rules_and_a_table_with_a_backstop() {
    let config =
        config("links: [{name: a, interface: eth0, targets: [192.0.2.53]}, {name: b, interface: eth1}]");
    assert_eq!(
        commands(&config, &two_lines(), 0),
        [
            "ip -4 route add default via 198.51.100.1 dev eth0 table 5301 proto 119",
            "ip -4 route add unreachable default table 5301 metric 4278198272 proto 119",
            "ip -6 route add unreachable default table 5301 metric 4278198272 proto 119",
            "ip -4 route add default via 203.0.113.1 dev eth1 table 5302 proto 119",
            "ip -4 route add unreachable default table 5302 metric 4278198272 proto 119",
            "ip -6 route add unreachable default table 5302 metric 4278198272 proto 119",
            "ip -4 rule add priority 530 from all iif lo uidrange 60901-60901 lookup 5301 protocol 119",
            "ip -4 rule add priority 530 from 198.51.100.2/32 to 192.0.2.53/32 lookup 5301 protocol 119",
            "ip -4 rule add priority 530 from 198.51.100.2/32 to 198.51.100.1/32 lookup 5301 protocol 119",
            "ip -6 rule add priority 530 from all iif lo uidrange 60901-60901 lookup 5301 protocol 119",
            "ip -4 rule add priority 530 from all iif lo uidrange 60902-60902 lookup 5302 protocol 119",
            "ip -4 rule add priority 530 from 203.0.113.2/32 to 203.0.113.1/32 lookup 5302 protocol 119",
            "ip -6 rule add priority 530 from all iif lo uidrange 60902-60902 lookup 5302 protocol 119",
        ]
    );
}

#[test]
fn an_echo_request_leaves_by_its_link_and_the_rest_of_the_world_by_the_active_one() {
    let config =
        config("links: [{name: a, interface: eth0, targets: [192.0.2.53]}, {name: b, interface: eth1}]");
    let facts = brought_in_line(&config, two_lines(), 1);
    let kernel = ModelKernel { routes: facts.routes, rules: facts.rules };
    let target = "192.0.2.53".parse().unwrap();
    let uid = Some(config.uid_of(0));
    assert_eq!((kernel.way_of_ping(target, uid), kernel.way_out(target)), (Some("eth0"), Some("eth1")));
    // The link has lost its route, and nothing goes astray.
    let mut kernel = kernel;
    kernel.routes.retain(|route| route.table != 5301 || route.metric > 0);
    assert_eq!(kernel.way_of_ping(target, uid), None);
}

#[test]
fn where_no_uid_can_be_taken_each_target_is_tied_for_itself_and_that_is_said() {
    let links = "links: [{name: a, interface: eth0, targets: [192.0.2.53]}, {name: b, interface: eth1}]";
    let rootless = Facts { cannot_take_uids: true, ..two_lines() };
    let by_link = config(links);
    let rules: Vec<String> =
        commands(&by_link, &rootless, 0).into_iter().filter(|command| is_rule(command)).collect();
    assert_eq!(
        rules,
        [
            "ip -4 rule add priority 530 from all to 192.0.2.53/32 iif lo ipproto 1 lookup 5301 protocol 119",
            "ip -4 rule add priority 530 from 198.51.100.2/32 to 192.0.2.53/32 lookup 5301 protocol 119",
            "ip -4 rule add priority 530 from 198.51.100.2/32 to 198.51.100.1/32 lookup 5301 protocol 119",
            "ip -4 rule add priority 530 from 203.0.113.2/32 to 203.0.113.1/32 lookup 5302 protocol 119",
        ]
    );
    let by_target = config(&format!("{{{links}, probe: {{pin: target}}}}"));
    assert_eq!(commands(&by_target, &rootless, 0), commands(&by_link, &rootless, 0));
    assert_eq!(commands(&by_target, &two_lines(), 0), commands(&by_link, &rootless, 0));
    let codes = |config: &Config, facts: &Facts| {
        let view = View::of(config, facts.clone());
        let state = State::fresh(BOOT, "a", BootTime(1));
        let problems = problems::find(&at_rest(config, &view, &state), &view, &[]);
        problems.into_iter().map(|problem| problem.code).filter(|code| *code == Code::PinnedByTarget).count()
    };
    // Whoever writes `pin: target` wants it so.
    let told = [(&by_link, &rootless), (&by_link, &two_lines()), (&by_target, &rootless)];
    assert_eq!(told.map(|(config, facts)| codes(config, facts)), [1, 0, 0]);
    // From one to the other and back, nothing is left over.
    let mut facts = brought_in_line(&by_link, two_lines(), 0);
    facts.cannot_take_uids = true;
    let mut facts = brought_in_line(&by_link, facts, 0);
    assert!(facts.rules.iter().all(|rule| rule.uid.is_none()));
    facts.cannot_take_uids = false;
    let facts = brought_in_line(&by_link, facts, 0);
    assert!(facts.rules.iter().all(|rule| rule.ipproto.is_none()));
}

/// "Fewer rules" is a promise: 8 links, each with 8 targets and 3 addresses in the gateway's subnet.
#[test]
fn eight_links_take_fewer_rules_than_one_for_each_target() {
    let links = (0..8).map(|link| {
        let targets: Vec<String> = (1..=8).map(|host| format!("192.0.2.{}", 8 * link + host)).collect();
        format!("{{name: l{link}, interface: eth{link}, targets: [{}]}}", targets.join(", "))
    });
    let links = format!("links: [{}]", links.collect::<Vec<_>>().join(", "));
    let interfaces = (0..8).map(|link| {
        let own = [2, 3, 4].map(|host| format!("198.51.100.{}/27", 32 * link + host));
        interface(&format!("eth{link}"), &own.each_ref().map(String::as_str))
    });
    let routes = (0..8).map(|link| {
        let gateway = format!("198.51.100.{}", 32 * link + 1);
        route("0.0.0.0/0", Some(&gateway), &format!("eth{link}"), 100 + link, DHCP)
    });
    let facts = Facts { interfaces: interfaces.collect(), routes: routes.collect(), ..Facts::default() };
    let count = |probe: &str| {
        let config = config(&format!("{{{links}{probe}}}"));
        commands(&config, &facts, 0).iter().filter(|command| is_rule(command)).count()
    };
    let (by_link, by_target) = (count(""), count(", probe: {pin: target}"));
    println!(
        "rules for 8 links with 8 targets and 3 addresses each: {by_link} with `pin: link`, {by_target} with `pin: target`"
    );
    assert_eq!((by_link, by_target), (8 * (2 + 9), 8 * (8 + 9)));
}

#[test]
fn what_is_asked_on_an_address_is_answered_by_its_link_and_the_lan_by_its_own_route() {
    let config = config("links: [{name: a, interface: eth0}, {name: b, interface: eth1, inbound: true}]");
    let view = View::of(&config, with_ipv6_on_both());
    let rules = |is_up: bool| pin::inbound(&config, &view.links, &Wanted::default(), |_| is_up);
    let commands: Vec<String> =
        rules(true).into_iter().map(|rule| Change::AddRule(rule).to_string()).collect();
    assert_eq!(
        commands,
        [
            "ip -4 rule add priority 529 from 203.0.113.2/32 lookup main suppress_prefixlength 3 protocol 119",
            "ip -4 rule add priority 531 from 203.0.113.2/32 lookup 5302 protocol 119",
            "ip -6 rule add priority 529 from 2001:db8:2::2/128 lookup main suppress_prefixlength 3 protocol 119",
            "ip -6 rule add priority 531 from 2001:db8:2::2/128 lookup 5302 protocol 119",
        ]
    );
    assert_eq!(rules(false), []);
    // Its pins come before, or its probes would take a route of their own as well; and where the main table refuses what has
    // none, it would refuse every answer.
    let pin = Rule { priority: 530, uid: Some(60_902), ..Rule::of_all(Family::V6, 5302, 119) };
    let refusal = Route { target: RouteTarget::Unreachable, ..route("2000::/3", None, "", 1, OURS) };
    let wanted = Wanted { rules: vec![pin.clone()], routes: vec![refusal], ..Wanted::default() };
    let rules_then = pin::inbound(&config, &view.links, &wanted, |_| true);
    let expected = [&[Rule { priority: 528, ..pin }], &rules(true)[..2], &rules(true)[3..]].concat();
    assert_eq!(rules_then, expected);
    // Somebody's own rules of that kind are no alarm; one that would lead others there is.
    let is_alarm = |rule: Rule| {
        let rules = vec![Rule { protocol: 4, priority: 700, ..rule }];
        let view = View::of(&config, Facts { rules, ..two_lines() });
        let state = State::fresh(BOOT, "a", BootTime(1));
        let problems = problems::find(&at_rest(&config, &view, &state), &view, &[]);
        problems.iter().any(|problem| problem.code == Code::ForeignRule)
    };
    let by_link = rules(true)[1].clone();
    let of_all = Rule { from: None, ..by_link.clone() };
    let marked = Rule { narrowed: true, ..of_all.clone() };
    let of_a_user = Rule { uid: Some(1000), ..of_all.clone() };
    assert_eq!([by_link, marked, of_a_user, of_all].map(is_alarm), [false, false, false, true]);
}

#[test]
fn the_same_targets_serve_every_link() {
    let both = "targets: [192.0.2.53, '2001:db8:53::1']";
    let config = config(&format!(
        "links: [{{name: a, interface: eth0, {both}}}, {{name: b, interface: eth1, {both}}}]"
    ));
    let facts = brought_in_line(&config, with_ipv6_on_both(), 1);
    assert_eq!(told(&config, &facts), [""; 0]);
    let kernel = ModelKernel { routes: facts.routes, rules: facts.rules };
    for target in ["192.0.2.53", "2001:db8:53::1"].map(|target| target.parse().unwrap()) {
        let way = |uid| kernel.way_of_ping(target, uid);
        assert_eq!(
            (way(Some(60_901)), way(Some(60_902)), way(None)),
            (Some("eth0"), Some("eth1"), Some("eth1"))
        );
    }
}

#[test]
fn a_target_in_the_link_s_own_subnet_is_reached_without_its_gateway() {
    let text = "links: [{name: a, interface: eth0, targets: [198.51.100.9]}, {name: b, interface: eth1}]";
    let commands = commands(&config(text), &two_lines(), 0);
    assert!(commands.contains(&"ip -4 route add 198.51.100.9/32 dev eth0 table 5301 proto 119".to_owned()));
}

#[test]
fn a_backup_takes_the_traffic_by_two_halves_and_gives_it_back() {
    let config = config(NO_TARGETS);
    assert_eq!(
        in_main(&config, &two_lines(), 1),
        [
            "ip -4 route add 0.0.0.0/1 via 203.0.113.1 dev eth1 proto 119",
            "ip -4 route add 128.0.0.0/1 via 203.0.113.1 dev eth1 proto 119",
        ]
    );
    let failed_over = brought_in_line(&config, two_lines(), 1);
    assert_eq!(
        in_main(&config, &failed_over, 0),
        [
            "ip -4 route del 0.0.0.0/1 via 203.0.113.1 dev eth1 proto 119",
            "ip -4 route del 128.0.0.0/1 via 203.0.113.1 dev eth1 proto 119",
        ]
    );
}

#[test]
fn from_backup_to_backup_the_halves_are_replaced() {
    let config =
        config("links: [{name: a, interface: eth0}, {name: b, interface: eth1}, {name: c, interface: ppp0}]");
    let mut facts = two_lines();
    facts.interfaces.push(interface("ppp0", &["192.0.2.10/32"]));
    let facts = brought_in_line(&config, facts, 1);
    assert_eq!(
        in_main(&config, &facts, 2),
        [
            "ip -4 route replace 0.0.0.0/1 dev ppp0 proto 119",
            "ip -4 route replace 128.0.0.0/1 dev ppp0 proto 119",
        ]
    );
}

#[test]
fn the_same_gateway_on_both_lines_is_told_apart_by_the_interface() {
    let config = config(NO_TARGETS);
    let facts = Facts {
        interfaces: vec![interface("eth0", &["192.0.2.10/24"]), interface("eth1", &["192.0.2.11/24"])],
        routes: vec![
            route("0.0.0.0/0", Some("192.0.2.1"), "eth0", 100, DHCP),
            route("0.0.0.0/0", Some("192.0.2.1"), "eth1", 200, DHCP),
        ],
        rules: Vec::new(),
        ..Facts::default()
    };
    assert_eq!(in_main(&config, &facts, 0), [""; 0]);
    assert_eq!(
        in_main(&config, &facts, 1),
        [
            "ip -4 route add 0.0.0.0/1 via 192.0.2.1 dev eth1 proto 119",
            "ip -4 route add 128.0.0.0/1 via 192.0.2.1 dev eth1 proto 119",
        ]
    );
}

#[test]
fn a_gateway_out_of_every_subnet_is_said_to_be_a_neighbour() {
    let config =
        config("links: [{name: a, interface: eth0}, {name: b, interface: eth1, gateway: 192.0.2.77}]");
    assert_eq!(
        in_main(&config, &two_lines(), 1),
        [
            "ip -4 route add 0.0.0.0/1 via 192.0.2.77 dev eth1 onlink proto 119",
            "ip -4 route add 128.0.0.0/1 via 192.0.2.77 dev eth1 onlink proto 119",
        ]
    );
}

/// eth0 has IPv6 too, by a router advertisement.
fn with_ipv6_on_eth0() -> Facts {
    let mut facts = two_lines();
    facts.interfaces[0].addresses.extend([address("2001:db8:1::2/64"), address("fe80::2/64")]);
    facts.routes.push(route("::/0", Some("fe80::1"), "eth0", 1024, RA));
    facts
}

fn with_ipv6_on_both() -> Facts {
    let mut facts = with_ipv6_on_eth0();
    facts.interfaces[1].addresses.extend([address("2001:db8:2::2/64"), address("fe80::2/64")]);
    facts.routes.push(route("::/0", Some("fe80::1"), "eth1", 1024, RA));
    facts
}

#[test]
fn ipv6_goes_by_a_link_local_gateway() {
    let config = config(
        "links: [{name: a, interface: eth0, gateway6: fe80::1}, \
         {name: b, interface: eth1, gateway6: fe80::1, targets: ['2001:db8:53::1']}]",
    );
    let commands = commands(&config, &with_ipv6_on_both(), 1);
    for expected in [
        "ip -6 route add default via fe80::1 dev eth1 table 5302 metric 1024 proto 119",
        "ip -6 route add unreachable default table 5302 metric 4278198272 proto 119",
        "ip -6 rule add priority 530 from all iif lo uidrange 60902-60902 lookup 5302 protocol 119",
        // Where a firewall asks for the way back.
        "ip -6 rule add priority 530 from 2001:db8:2::2/128 to 2001:db8:53::1/128 lookup 5302 protocol 119",
        "ip -6 route add 2000::/3 via fe80::1 dev eth1 metric 1 proto 119",
    ] {
        assert!(
            commands.iter().any(|command| command == expected),
            "{expected}\nin\n{}",
            commands.join("\n")
        );
    }
}

#[test]
fn an_ipv6_source_is_named_only_where_the_kernel_might_take_another_line_s() {
    let config = config(NO_TARGETS);
    let source = |on_eth1: &[Address], on_lan: &[&str], from: &[&str]| {
        let mut facts = with_ipv6_on_both();
        facts.interfaces[1].addresses.retain(|own| own.network.is_ipv4());
        facts.interfaces[1].addresses.extend([address("fe80::2/64")]);
        facts.interfaces[1].addresses.extend(on_eth1);
        facts.interfaces.push(interface("lan", on_lan));
        let default = facts.routes.iter().rposition(|route| route.is_default(Family::V6)).unwrap();
        let default =
            if from.is_empty() { facts.routes[default].clone() } else { facts.routes.remove(default) };
        let only = |prefix: &&str| Some(Only::From(prefix.parse().unwrap()));
        facts.routes.extend(from.iter().map(|prefix| Route { only: only(prefix), ..default.clone() }));
        let links = gateway::survey(&config, &facts);
        assert_eq!(links[0].v6.as_ref().unwrap().named_source, None, "the other line has what it needs");
        let next_hop = links[1].v6.as_ref().unwrap();
        // It is no address of the line's: no rule and no flow is about it.
        let named = next_hop
            .named_source
            .filter(|named| !next_hop.addresses.iter().any(|own| own.network.ip() == *named));
        assert!(named.is_none_or(|named| !links[1].addresses().contains(&named)));
        // Without IPv6 on the other line there is nothing to mistake.
        facts.routes.retain(|route| {
            !route.is_default(Family::V6)
                || !matches!(&route.target, RouteTarget::Out { interface, .. } if interface == "eth0")
        });
        assert_eq!(gateway::survey(&config, &facts)[1].v6.as_ref().unwrap().named_source, None);
        next_hop.named_source.map(|source| source.to_string())
    };
    let own = address("2001:db8:2::2/64");
    let deprecated = Address { deprecated: true, ..address("2001:db8:2::3/64") };
    let tentative = Address { tentative: true, ..own };
    let (one, other, third) = ("2001:db8:2:10::1/64", "2001:db8:2:11::1/64", "2001:db8:1:10::1/64");
    for (on_eth1, on_lan, from, named) in [
        (&[own][..], &[one, third][..], &[][..], None),
        (&[own, deprecated], &[one], &[], None),
        (&[deprecated], &[one], &[], Some("2001:db8:2::3")),
        (&[deprecated], &[one], &["2001:db8:2::/48"], Some("2001:db8:2:10::1")),
        (&[tentative], &[one], &[], None),
        (&[], &[one], &[], Some("2001:db8:2:10::1")),
        (&[], &["fd00::1/64", one], &[], Some("2001:db8:2:10::1")),
        (&[], &[one, other], &[], Some("2001:db8:2:10::1")),
        (&[], &[one, third], &[], None),
        (&[], &[third, one], &["2001:db8:2::/48"], Some("2001:db8:2:10::1")),
        // Renumbered: both are there for a while.
        (&[], &[third, one], &["2001:db8:7::/48", "2001:db8:2::/48"], Some("2001:db8:2:10::1")),
        (&[], &[third], &["2001:db8:2::/48"], None),
        (&[], &[], &[], None),
    ] {
        assert_eq!(source(on_eth1, on_lan, from).as_deref(), named, "{on_eth1:?} {on_lan:?} {from:?}");
    }
}

#[test]
fn a_kernel_without_ipv6_is_asked_for_none_and_what_needs_it_is_a_problem() {
    let with_ipv6 = |routing: &str| {
        config(&format!(
            "links: [{{name: a, interface: eth0, targets: [198.51.100.53, '2001:db8:53::1'], gateway6: fe80::1}}, \
             {{name: b, interface: eth1, address: ['2001:db8:2::2/64'], routes: ['2001:db8:5::/48']}}]\n{routing}"
        ))
    };
    let facts = Facts { without_ipv6: true, ..two_lines() };
    let config = with_ipv6("");
    for pin in ["link", "target"] {
        let commands = commands(&with_ipv6(&format!("probe: {{pin: {pin}}}")), &facts, 1);
        assert!(commands.len() > 3, "{commands:?}");
        assert!(!commands.iter().any(|command| command.contains(':')), "{commands:?}");
        assert!(!commands.iter().any(|command| command.starts_with("ip -6")), "{commands:?}");
    }
    let problems = told(&config, &facts);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("a: this kernel has no IPv6 for fe80::1;"), "{problems:?}");
    assert!(problems[1].starts_with("b: this kernel has no IPv6 for 2001:db8:2::2/64;"), "{problems:?}");
    let nothing_wished = crate::config(NO_TARGETS);
    assert_eq!(told(&nothing_wished, &facts), [""; 0]);
}

const IPV6_REFUSED: [&str; 3] = [
    "ip -6 route add unreachable 2000::/3 metric 1 proto 119",
    "ip -6 route add unreachable 64:ff9b::/96 metric 4278198271 proto 119",
    "ip -6 route add unreachable 64:ff9b:1::/48 metric 4278198271 proto 119",
];
const IPV4_REFUSED: [&str; 2] =
    ["ip -4 route add unreachable 0.0.0.0/1 proto 119", "ip -4 route add unreachable 128.0.0.0/1 proto 119"];

#[test]
fn ipv6_is_refused_while_the_backup_has_none() {
    let with = |more: &str| config(&format!("{{{NO_TARGETS}, routing: {{{more}}}}}"));
    let refused = |config: &Config, facts: &Facts, active: usize| {
        in_main(config, facts, active).into_iter().filter(|c| c.contains("-6")).collect::<Vec<_>>()
    };
    let facts = with_ipv6_on_eth0();
    assert_eq!(refused(&with(""), &facts, 1), IPV6_REFUSED);
    assert_eq!(
        refused(&with("override: default"), &facts, 1),
        ["ip -6 route add unreachable default metric 1 proto 119"]
    );
    assert_eq!(refused(&with("ipv6_without_gateway: leave"), &facts, 1), [""; 0]);
    assert_eq!(refused(&with(""), &facts, 0), [""; 0], "while the primary is active");
    assert_eq!(refused(&with(""), &two_lines(), 1), [""; 0], "where no link has IPv6 to go astray by");
}

#[test]
fn a_line_whose_default_is_in_parts_is_a_line_like_any_other() {
    let config = config(NO_TARGETS);
    let with_halves = |metric: u32| {
        let mut facts = two_lines();
        let halves = ["0.0.0.0/1", "128.0.0.0/1"];
        let halves = halves.map(|half| route(half, Some("198.51.100.1"), "eth0", metric, DHCP));
        facts.routes.splice(..1, halves);
        facts
    };
    for metric in [0, 100] {
        let facts = with_halves(metric);
        assert_eq!(told(&config, &facts), [""; 0]);
        assert_eq!(routing::active_by_kernel(&config, &gateway::survey(&config, &facts), &facts), 0);
        assert_eq!(in_main(&config, &facts, 0), [""; 0], "the primary's own carry its traffic");
    }
    let overrides = |metric| in_main(&config, &with_halves(metric), 1);
    assert_eq!(
        overrides(100),
        ["0.0.0.0/1", "128.0.0.0/1"]
            .map(|half| format!("ip -4 route add {half} via 203.0.113.1 dev eth1 proto 119"))
    );
    // Nothing beats a metric of 0 but what is narrower.
    assert_eq!(
        overrides(0),
        ["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"]
            .map(|quarter| format!("ip -4 route add {quarter} via 203.0.113.1 dev eth1 proto 119"))
    );
    let facts = brought_in_line(&config, with_halves(0), 1);
    let view = View::of(&config, facts.clone());
    let asked: Vec<_> =
        flow::default_traffic(Family::V4, &config, &facts).iter().map(|(part, _)| *part).collect();
    assert_eq!(asked, ["0.0.0.0/1", "128.0.0.0/1"].map(|half| half.parse().unwrap()), "ours hide nothing");
    assert_eq!(routing::active_by_kernel(&config, &view.links, &facts), 1);
    // A VPN's halves are not ours to beat.
    let mut facts = with_halves(0);
    facts.interfaces.push(interface("tun0", &["10.8.0.2/24"]));
    for route in &mut facts.routes[..2] {
        *route = self::route(&route.destination.to_string(), Some("10.8.0.1"), "tun0", 0, DHCP);
    }
    assert!(in_main(&config, &facts, 1).iter().all(|command| command.contains("/1 ")));
}

#[test]
fn global_ipv6_by_a_route_of_its_own_is_a_default_and_an_override_beats_it() {
    let config = config(NO_TARGETS);
    for metric in [512, 1024, 2048] {
        let mut facts = with_ipv6_on_both();
        facts.routes[2] = route("2000::/3", Some("2001:db8:1::1"), "eth0", metric, DHCP);
        assert_eq!(in_main(&config, &facts, 0), [""; 0]);
        let expected = "ip -6 route add 2000::/3 via fe80::1 dev eth1 metric 1 proto 119".to_owned();
        assert!(in_main(&config, &facts, 1).contains(&expected));
        assert_eq!(defaults::unbeatable(&config, &facts), [&facts.routes[0]; 0]);
        facts.routes[2].metric = 1;
        assert_eq!(defaults::unbeatable(&config, &facts), [&facts.routes[2]]);
    }
}

#[test]
fn ipv6_that_no_link_carries_is_refused_nowhere() {
    let config =
        config("links: [{name: a, interface: eth0}, {name: b, interface: eth1}, {name: c, interface: eth2}]");
    let mut facts = two_lines();
    facts.interfaces.push(interface("eth2", &["192.0.2.2/28", "2001:db8:3::2/64"]));
    facts.routes.push(route("::/0", Some("2001:db8:3::1"), "eth2", 2048, RA));
    assert_eq!(in_main(&config, &facts, 1).len(), 2 + IPV6_REFUSED.len(), "it would go astray by the third");
    // By a tunnel that is no link, which is the better way.
    facts.routes.push(route("::/0", None, "tun6", 100, 4));
    assert_eq!(in_main(&config, &facts, 1).len(), 2);
    assert_eq!(
        defaults::all_needed(&config, &gateway::survey(&config, &facts), &facts),
        [Family::V4, Family::V6]
    );
    facts.routes.pop();
    // By a VPN whose rules come before the main table.
    let narrow =
        Rule { suppress_prefix: Some(0), priority: 32765, ..Rule::of_all(Family::V6, MAIN_TABLE, 0) };
    facts.rules.push(Rule { family: Family::V4, ..narrow.clone() });
    assert_eq!(in_main(&config, &facts, 1).len(), 1 + IPV6_REFUSED.len());
    facts.rules.push(narrow);
    assert_eq!(in_main(&config, &facts, 1).len(), 1);
}

#[test]
fn where_a_rule_takes_narrow_routes_from_the_main_table_a_default_route_takes_the_traffic() {
    let config = config(NO_TARGETS);
    let mut facts = two_lines();
    facts.rules.push(Rule {
        suppress_prefix: Some(0),
        priority: 105,
        ..Rule::of_all(Family::V4, MAIN_TABLE, 0)
    });
    let by_default = ["ip -4 route add default via 203.0.113.1 dev eth1 metric 1 proto 119"];
    assert_eq!(in_main(&config, &facts, 1), by_default);
    assert_eq!(told(&config, &facts), [""; 0]);
    let mut others = facts.clone();
    others.rules[0].suppress_prefix = Some(1);
    assert_eq!(in_main(&config, &others, 1).len(), 2, "it takes none of ours");
    // One for some packets only: they are the LAN's, whose VPN comes behind it.
    let from_the_lan = Rule { iif: Some("lan0".to_owned()), ..facts.rules[0].clone() };
    for rule in [Rule { narrowed: true, ..facts.rules[0].clone() }, from_the_lan] {
        others.rules[0] = rule;
        assert_eq!(in_main(&config, &others, 1), by_default, "{:?}", others.rules);
    }
    // A default route would not win: the traffic moves all the same, and that is said beforehand.
    facts.routes[0].metric = 0;
    assert_eq!(in_main(&config, &facts, 1).len(), 2);
    let view = View::of(&config, facts.clone());
    let state = State::fresh(BOOT, "a", BootTime(1));
    let problems = problems::find(&at_rest(&config, &view, &state), &view, &[]);
    let of_it = problems.iter().filter(|problem| problem.code == Code::ForeignDefault).count();
    assert_eq!(of_it, 1, "{problems:?}");
}

#[test]
fn a_line_s_own_sources_leave_by_it_as_long_as_it_is_up() {
    let config = config(NO_TARGETS);
    let mut facts = with_ipv6_on_both();
    for (route, prefix) in facts.routes[2..].iter_mut().zip(["2001:db8:1::/48", "2001:db8:2::/48"]) {
        route.only = Some(Only::From(prefix.parse().unwrap()));
    }
    assert_eq!(told(&config, &facts), [""; 0], "they do not compete");
    let view = View::of(&config, facts.clone());
    let repeated = |active: usize, is_up: bool| {
        let wanted = routing::wanted(&config, &view.links, active, &facts);
        let routes = routing::own_sources(&config, &view, active, &wanted, |_| is_up).into_iter();
        routes.map(|route| Change::AddRoute(route).to_string()).collect::<Vec<_>>()
    };
    let by = |from: &str, interface: &str| {
        ["2000::/4", "3000::/4"].map(|half| {
            format!("ip -6 route add {half} from {from} via fe80::1 dev {interface} metric 1 proto 119")
        })
    };
    assert_eq!(repeated(0, true), by("2001:db8:2::/48", "eth1"));
    assert_eq!(repeated(1, true), by("2001:db8:1::/48", "eth0"));
    assert_eq!(repeated(1, false), [""; 0]);
}

#[test]
fn override_default_is_one_route_with_metric_1() {
    let config = config(&format!("{{{NO_TARGETS}, routing: {{override: default}}}}"));
    let mut facts = two_lines();
    let expected = ["ip -4 route add default via 203.0.113.1 dev eth1 metric 1 proto 119"];
    assert_eq!(in_main(&config, &facts, 1), expected);
    assert!(defaults::unbeatable(&config, &facts).is_empty());
    facts.routes[0].metric = 0;
    assert_eq!(defaults::unbeatable(&config, &facts), [&facts.routes[0]]);
}

#[test]
fn another_override_is_in_place_before_the_first_one_goes() {
    let by_default = config(&format!("{{{NO_TARGETS}, routing: {{override: default}}}}"));
    let facts = brought_in_line(&config(NO_TARGETS), two_lines(), 1);
    assert_eq!(
        in_main(&by_default, &facts, 1),
        [
            "ip -4 route add default via 203.0.113.1 dev eth1 metric 1 proto 119",
            "ip -4 route del 0.0.0.0/1 via 203.0.113.1 dev eth1 proto 119",
            "ip -4 route del 128.0.0.0/1 via 203.0.113.1 dev eth1 proto 119",
        ]
    );
}

#[test]
fn a_destination_uses_its_link_all_the_time_or_nobody_s() {
    let config = config(
        "links: [{name: a, interface: eth0}, {name: b, interface: eth1, routes: [192.0.2.0/24, '2001:db8:7::/48']}]",
    );
    let mut expected = vec![
        "ip -4 route add 192.0.2.0/24 via 203.0.113.1 dev eth1 proto 119",
        "ip -4 route add unreachable 192.0.2.0/24 metric 4278198272 proto 119",
        // eth1 has no IPv6.
        "ip -6 route add unreachable 2001:db8:7::/48 metric 4278198272 proto 119",
    ];
    assert_eq!(in_main(&config, &two_lines(), 0), expected);
    let mut facts = two_lines();
    facts.routes.remove(1);
    expected.remove(0);
    assert_eq!(in_main(&config, &facts, 0), expected, "with the gateway gone");
}

#[test]
fn a_destination_inside_the_subnet_needs_no_gateway_and_a_wider_one_does() {
    let config = config(
        "links: [{name: a, interface: eth0}, {name: b, interface: eth1, routes: [203.0.113.0/26, 203.0.113.0/24]}]",
    );
    assert_eq!(
        in_main(&config, &two_lines(), 0),
        [
            "ip -4 route add 203.0.113.0/26 dev eth1 proto 119",
            "ip -4 route add unreachable 203.0.113.0/26 metric 4278198272 proto 119",
            "ip -4 route add 203.0.113.0/24 via 203.0.113.1 dev eth1 proto 119",
            "ip -4 route add unreachable 203.0.113.0/24 metric 4278198272 proto 119",
        ]
    );
}

#[test]
fn the_gateway_as_a_target_is_tied_like_any_other() {
    let config = config(
        "{links: [{name: a, interface: eth0, targets: [gateway]}, {name: b, interface: eth1, targets: [gateway]}], \
         probe: {pin: target}}",
    );
    let commands = commands(&config, &two_lines(), 0);
    let rules: Vec<&String> = commands.iter().filter(|command| command.contains(" rule ")).collect();
    assert_eq!(
        rules,
        [
            "ip -4 rule add priority 530 from all to 198.51.100.1/32 iif lo ipproto 1 lookup 5301 protocol 119",
            "ip -4 rule add priority 530 from 198.51.100.2/32 to 198.51.100.1/32 lookup 5301 protocol 119",
            "ip -4 rule add priority 530 from all to 203.0.113.1/32 iif lo ipproto 1 lookup 5302 protocol 119",
            "ip -4 rule add priority 530 from 203.0.113.2/32 to 203.0.113.1/32 lookup 5302 protocol 119",
        ]
    );
}

#[test]
fn with_pins_by_target_one_gateway_address_on_two_lines_is_the_target_of_the_first() {
    let text = "links: [{name: a, interface: eth0, targets: [gateway]}, {name: b, interface: eth1, targets: [gateway]}]";
    let facts = Facts {
        interfaces: vec![interface("eth0", &["192.0.2.10/24"]), interface("eth1", &["192.0.2.11/24"])],
        routes: vec![
            route("0.0.0.0/0", Some("192.0.2.1"), "eth0", 100, DHCP),
            route("0.0.0.0/0", Some("192.0.2.1"), "eth1", 200, DHCP),
        ],
        rules: Vec::new(),
        ..Facts::default()
    };
    let by_target = config(&format!("{{{text}, probe: {{pin: target}}}}"));
    let commands = commands(&by_target, &facts, 0);
    let rules: Vec<&String> =
        commands.iter().filter(|command| is_rule(command) && command.contains("ipproto")).collect();
    assert!(rules.len() == 1 && rules[0].contains("lookup 5301"), "{rules:?}");
    let lines = gateway::survey(&by_target, &facts);
    let shared = |pin| pin::shared_targets(&by_target, pin, &lines);
    assert_eq!(shared(Pin::Target), [(0, 1, "192.0.2.1".parse().unwrap())]);
    assert_eq!(shared(Pin::Link), []);
    assert!(told(&by_target, &facts)[0].starts_with("b: a has 192.0.2.1 as a target as well just now"));
    assert_eq!(told(&config(text), &facts), [""; 0]);
}

#[test]
fn a_primary_whose_default_route_is_best_needs_no_help() {
    assert_eq!(in_main(&config(NO_TARGETS), &two_lines(), 0), [""; 0]);
}

#[test]
fn a_primary_without_a_default_route_or_beaten_by_the_backup_s_is_helped() {
    let config =
        config("links: [{name: a, interface: eth0, gateway: 198.51.100.1}, {name: b, interface: eth1}]");
    let help = [
        "ip -4 route add 0.0.0.0/1 via 198.51.100.1 dev eth0 proto 119",
        "ip -4 route add 128.0.0.0/1 via 198.51.100.1 dev eth0 proto 119",
    ];
    let mut flushed = two_lines();
    flushed.routes.remove(0);
    assert_eq!(in_main(&config, &flushed, 0), help);
    let mut beaten = two_lines();
    beaten.routes[1].metric = 50;
    assert_eq!(in_main(&config, &beaten, 0), help);
    let mut level = two_lines();
    level.routes[1].metric = 100;
    assert_eq!(in_main(&config, &level, 0), help, "on a par, nobody knows which one the kernel takes");
    let mut stale = two_lines();
    stale.routes.push(route("0.0.0.0/0", Some("192.168.100.1"), "eth0", 100, 3));
    assert_eq!(in_main(&config, &stale, 0), help, "nor where one of the two leads nowhere");
}

#[test]
fn a_primary_is_helped_past_a_gateway_of_its_own_that_is_silent() {
    let config = config(NO_TARGETS);
    let mut facts = two_lines();
    facts.routes.push(route("0.0.0.0/0", Some("198.51.100.254"), "eth0", 100, 3));
    assert_eq!(in_main(&config, &facts, 0), [""; 0], "both serve");
    for (silent, living) in [("198.51.100.1", "198.51.100.254"), ("198.51.100.254", "198.51.100.1")] {
        facts.silent_gateways = vec![("eth0".to_owned(), silent.parse().unwrap())];
        let by_the_other = ["0.0.0.0/1", "128.0.0.0/1"]
            .map(|half| format!("ip -4 route add {half} via {living} dev eth0 proto 119"));
        assert_eq!(in_main(&config, &facts, 0), by_the_other);
    }
    // Or past one that the admin did not mean.
    facts.silent_gateways.clear();
    let named = crate::config(
        "links: [{name: a, interface: eth0, gateway: 198.51.100.254}, {name: b, interface: eth1}]",
    );
    assert!(in_main(&named, &facts, 0).iter().all(|command| command.contains("via 198.51.100.254 ")));
    assert_eq!(in_main(&named, &facts, 0).len(), 2);
}

#[test]
fn the_very_route_that_somebody_else_made_serves_and_another_in_its_place_is_not_touched() {
    let config = config(NO_TARGETS);
    let mut facts = two_lines();
    facts.routes.push(route("0.0.0.0/1", Some("203.0.113.1"), "eth1", 0, 4));
    facts.routes.push(route("128.0.0.0/1", Some("192.0.2.9"), "tun0", 0, 4));
    let add = "ip -4 route add 128.0.0.0/1 via 203.0.113.1 dev eth1 proto 119";
    assert_eq!(
        in_main(&config, &facts, 1),
        [add],
        "an addition, which the kernel refuses, never a replacement"
    );
}

#[test]
fn an_active_link_keeps_its_override_while_its_gateway_is_out_of_sight() {
    let config = config(NO_TARGETS);
    let mut facts = brought_in_line(&config, two_lines(), 1);
    facts.routes.retain(|route| !(route.protocol == DHCP && route.metric == 200));
    assert_eq!(in_main(&config, &facts, 1), [""; 0]);
    // Another link has become active: what is left of the old one goes.
    assert_eq!(in_main(&config, &facts, 0).len(), 2);
}

#[test]
fn a_new_gateway_is_taken_up_in_one_run() {
    let config = config(NO_TARGETS);
    let mut facts = brought_in_line(&config, two_lines(), 1);
    let renewed = route("0.0.0.0/0", Some("203.0.113.126"), "eth1", 200, DHCP);
    *facts.routes.iter_mut().find(|route| route.metric == 200).unwrap() = renewed;
    assert_eq!(
        commands(&config, &facts, 1),
        [
            "ip -4 route replace default via 203.0.113.126 dev eth1 table 5302 proto 119",
            "ip -4 route replace 0.0.0.0/1 via 203.0.113.126 dev eth1 proto 119",
            "ip -4 route replace 128.0.0.0/1 via 203.0.113.126 dev eth1 proto 119",
            "ip -4 rule add priority 530 from 203.0.113.2/32 to 203.0.113.126/32 lookup 5302 protocol 119",
            "ip -4 rule del priority 530 from 203.0.113.2/32 to 203.0.113.1/32 lookup 5302 protocol 119",
        ]
    );
}

#[test]
fn of_two_routes_in_one_place_the_right_one_is_left() {
    let config = config(NO_TARGETS);
    for wrong_first in [true, false] {
        let mut facts = brought_in_line(&config, two_lines(), 1);
        let place = facts.routes.iter().position(|route| route.destination.prefix() == 1).unwrap();
        let wrong = route("0.0.0.0/1", Some("203.0.113.99"), "eth1", 0, OURS);
        facts.routes.insert(if wrong_first { place } else { place + 1 }, wrong);
        let commands = in_main(&config, &facts, 1);
        assert_eq!(
            commands,
            [
                "ip -4 route replace 0.0.0.0/1 via 203.0.113.1 dev eth1 proto 119",
                "ip -4 route del 0.0.0.0/1 via 203.0.113.99 dev eth1 proto 119",
            ]
        );
    }
}

#[test]
fn down_takes_out_everything_of_ours_and_nothing_else() {
    let config = config(
        "links: [{name: a, interface: eth0, targets: [192.0.2.53]}, {name: b, interface: eth1, routes: [192.0.2.0/25]}]",
    );
    let mut facts = brought_in_line(&config, two_lines(), 1);
    let plan = routing::plan(&facts, &Wanted::default(), OURS);
    let mut kernel = ModelKernel { routes: facts.routes, rules: facts.rules };
    plan.iter().for_each(|change| kernel.make(change).unwrap());
    (facts.routes, facts.rules) = (kernel.routes, kernel.rules);
    assert_eq!(facts, two_lines());
}

#[test]
fn the_kernel_s_routes_tell_which_link_is_active() {
    let config = config(NO_TARGETS);
    let active = |facts: &Facts| routing::active_by_kernel(&config, &gateway::survey(&config, facts), facts);
    assert_eq!(active(&two_lines()), 0);
    assert_eq!(active(&brought_in_line(&config, two_lines(), 1)), 1, "our override comes first");
    let mut turned = two_lines();
    turned.routes[1].metric = 50;
    assert_eq!(active(&turned), 1, "else the default route with the lowest metric");
    let mut lan = two_lines();
    lan.routes.push(route("0.0.0.0/0", Some("192.0.2.9"), "lan", 1, 3));
    assert_eq!(active(&lan), 0, "a default route over no link's interface tells nothing");
    assert_eq!(active(&Facts::default()), 0);
}

/// `b` carries 203.0.113.160/28 and nothing else.
const ROUTES_ONLY: &str = "links: [{name: a, interface: eth0}, {name: b, interface: eth1, routes_only: true, \
                           routes: [203.0.113.160/28]}]";

#[test]
fn no_route_of_the_kernel_s_makes_a_link_active_that_is_for_its_routes_only() {
    let config = config(ROUTES_ONLY);
    let active = |facts: &Facts| routing::active_by_kernel(&config, &gateway::survey(&config, facts), facts);
    let mut facts = two_lines();
    // Of a time when it could carry everything.
    facts.routes.push(route("0.0.0.0/1", Some("203.0.113.1"), "eth1", 0, OURS));
    facts.routes[1].metric = 50;
    assert_eq!(active(&facts), 0);
}

#[test]
fn the_default_route_of_a_link_for_its_routes_only_is_overridden_in_both_families() {
    let config = config(ROUTES_ONLY);
    let mut facts = two_lines();
    facts.routes[1].metric = 50;
    let overriding = |facts: &Facts| -> Vec<String> {
        let destinations = |command: &String| !command.contains("203.0.113.160/28");
        in_main(&config, facts, 0).into_iter().filter(destinations).collect()
    };
    let by_the_primary = [
        "ip -4 route add 0.0.0.0/1 via 198.51.100.1 dev eth0 proto 119",
        "ip -4 route add 128.0.0.0/1 via 198.51.100.1 dev eth0 proto 119",
    ];
    assert_eq!(overriding(&facts), by_the_primary);
    // The primary has no IPv6 for its traffic.
    let ipv6 = ["2001:db8:2::2/64", "fe80::2/64"].map(address);
    facts.interfaces[1].addresses.extend(ipv6);
    assert_eq!(overriding(&facts), by_the_primary, "there is no default route to go astray by");
    facts.routes.push(route("::/0", Some("fe80::1"), "eth1", 1024, RA));
    assert_eq!(overriding(&facts), [&by_the_primary[..], &IPV6_REFUSED].concat());
    brought_in_line(&config, facts, 0);
}

#[test]
fn a_link_for_its_routes_only_does_not_inherit_the_traffic_of_one_that_lost_its_gateway() {
    let config = config(ROUTES_ONLY);
    let way_out = |facts: &Facts| {
        let facts = brought_in_line(&config, facts.clone(), 0);
        let kernel = ModelKernel { routes: facts.routes, rules: facts.rules };
        kernel.way_out("192.0.2.99".parse().unwrap()).map(str::to_owned)
    };
    let mut facts = two_lines();
    assert_eq!(way_out(&facts).as_deref(), Some("eth0"));
    // Its DHCP client gives up the lease, and the only default route left is the other's.
    let of_the_primary = facts.routes.remove(0);
    facts.interfaces[0].addresses.clear();
    assert_eq!(way_out(&facts), None);
    let mut facts = brought_in_line(&config, facts, 0);
    facts.interfaces = two_lines().interfaces;
    facts.routes.push(of_the_primary);
    assert_eq!(way_out(&facts).as_deref(), Some("eth0"));
}

/// The commands that a backup's failover makes in IPv4, and the primary's own table.
fn way_of_primary(facts: &Facts) -> String {
    let commands = commands(&config(NO_TARGETS), facts, 0);
    commands.into_iter().find(|c| c.contains("add default") && c.contains("table 5301")).unwrap_or_default()
}

#[test]
fn of_several_default_routes_the_first_that_the_kernel_would_take_today_counts() {
    let by = |gateway: &str| format!("ip -4 route add default via {gateway} dev eth0 table 5301 proto 119");
    for metric in [100, 50] {
        let mut facts = two_lines();
        // Of a subnet that the interface has left; the kernel lists it first, or prefers it.
        facts.routes.insert(0, route("0.0.0.0/0", Some("192.168.100.1"), "eth0", metric, 3));
        assert_eq!(way_of_primary(&facts), by("198.51.100.1"), "metric {metric}");
        // A route to the gateway itself makes it a neighbour again.
        facts.routes.push(route("192.168.100.1/32", None, "eth0", 0, 3));
        assert_eq!(way_of_primary(&facts), by("192.168.100.1"), "metric {metric}");
    }
    let mut marked = two_lines();
    let mut stale = route("0.0.0.0/0", Some("192.168.100.1"), "eth0", 50, 3);
    if let RouteTarget::Out { onlink, .. } = &mut stale.target {
        *onlink = true;
    }
    marked.routes.push(stale);
    assert_eq!(way_of_primary(&marked), by("192.168.100.1").replace(" dev eth0", " dev eth0 onlink"));
    // With nothing better the kernel goes on that way, and so does the probe, which then tells the truth.
    let mut alone = two_lines();
    alone.routes[0] = route("0.0.0.0/0", Some("192.168.100.1"), "eth0", 100, 3);
    assert_eq!(way_of_primary(&alone), by("192.168.100.1").replace(" dev eth0", " dev eth0 onlink"));
    let names = |facts: &Facts| -> Vec<String> {
        let needy = gateway::in_need_of_a_lease(&config(NO_TARGETS), facts);
        needy.iter().map(|interface| interface.name.clone()).collect()
    };
    assert_eq!(names(&alone), ["eth0"], "perhaps the DHCP client knows better");
    assert_eq!(names(&two_lines()), [""; 0]);
    brought_in_line(&config(NO_TARGETS), alone, 1);
}

#[test]
fn of_two_routers_on_one_line_the_kernel_s_choice_counts() {
    let config = config(NO_TARGETS);
    let gateway6 =
        |facts: &Facts| gateway::survey(&config, facts)[0].v6.as_ref().unwrap().via.unwrap().to_string();
    let mut facts = with_ipv6_on_eth0();
    assert_eq!(gateway::with_a_choice(&config, &facts), [] as [&Interface; 0]);
    facts
        .routes
        .push(Route { preference: Preference::High, ..route("::/0", Some("fe80::a1"), "eth0", 1024, RA) });
    facts
        .routes
        .push(Route { preference: Preference::Low, ..route("::/0", Some("fe80::b1"), "eth0", 1024, RA) });
    assert_eq!(gateway6(&facts), "fe80::a1");
    assert_eq!(gateway::with_a_choice(&config, &facts), [&facts.interfaces[0]]);
    let silent = |gateway: &str| ("eth0".to_owned(), gateway.parse().unwrap());
    facts.silent_gateways.push(silent("fe80::a1"));
    assert_eq!(gateway6(&facts), "fe80::1", "the next one");
    facts.silent_gateways.push(silent("fe80::1"));
    assert_eq!(gateway6(&facts), "fe80::b1", "whatever it says of itself");
    facts.silent_gateways.push(silent("fe80::b1"));
    assert_eq!(gateway6(&facts), "fe80::a1", "none answers");
    facts.silent_gateways = vec![("eth1".to_owned(), "fe80::a1".parse().unwrap())];
    assert_eq!(gateway6(&facts), "fe80::a1", "the same address on another line is another router");
    // IPv4 as well, across metrics.
    let mut facts = two_lines();
    facts.routes.push(route("0.0.0.0/0", Some("198.51.100.9"), "eth0", 300, DHCP));
    facts.silent_gateways.push(silent("198.51.100.1"));
    assert!(way_of_primary(&facts).contains("via 198.51.100.9 "), "{}", way_of_primary(&facts));
}

#[test]
fn what_the_link_s_own_default_route_carries_all_its_routes_carry() {
    let links = |gateway: &str| {
        config(&format!(
            "links: [{{name: a, interface: eth0}}, {{name: b, interface: eth1, gateway: {gateway}, \
             targets: [192.0.2.53, 203.0.113.9], routes: [192.0.2.128/25, 203.0.113.64/26]}}]"
        ))
    };
    let mut facts = two_lines();
    facts.interfaces[1].addresses.push(address("203.0.113.77/25"));
    let RouteTarget::Out { traits, .. } = &mut facts.routes[1].target else { unreachable!() };
    traits.source = Some("203.0.113.77".parse().unwrap());
    traits.words = vec!["mtu lock 1400".to_owned(), "initcwnd 20".to_owned()];
    let carried = " dev eth1 src 203.0.113.77 mtu lock 1400 initcwnd 20";
    for gateway in ["auto", "203.0.113.1"] {
        let commands = commands(&links(gateway), &facts, 1);
        let by_it: Vec<_> = commands.iter().filter(|command| command.contains(" dev eth1")).collect();
        // The table, a target beside the gateway, two destinations, two halves.
        assert_eq!(by_it.len(), 6, "{by_it:#?}");
        assert!(by_it.iter().all(|command| command.contains(carried)), "{by_it:#?}");
        // The probes' answers come to that address, and to no other.
        let rules = commands.iter().filter(|command| command.contains(" from 203"));
        assert!(
            rules.clone().count() == 3 && rules.clone().all(|rule| rule.contains("from 203.0.113.77/32 "))
        );
        brought_in_line(&links(gateway), facts.clone(), 1);
    }
    // Another gateway is another way.
    assert!(!commands(&links("203.0.113.5"), &facts, 1).iter().any(|command| command.contains("mtu")));
}

#[test]
fn what_the_default_route_carries_is_taken_up_and_given_up_with_it() {
    let config = config(NO_TARGETS);
    let mut facts = brought_in_line(&config, two_lines(), 1);
    let place = facts.routes.iter().position(|route| route.metric == 200).unwrap();
    let plain = facts.routes[place].clone();
    let RouteTarget::Out { traits, .. } = &mut facts.routes[place].target else { unreachable!() };
    traits.words.push("mtu 1400".to_owned());
    assert_eq!(
        in_main(&config, &facts, 1),
        [
            "ip -4 route replace 0.0.0.0/1 via 203.0.113.1 dev eth1 mtu 1400 proto 119",
            "ip -4 route replace 128.0.0.0/1 via 203.0.113.1 dev eth1 mtu 1400 proto 119",
        ]
    );
    let mut facts = brought_in_line(&config, facts, 1);
    facts.routes[place] = plain;
    assert_eq!(in_main(&config, &facts, 1).len(), 2);
    brought_in_line(&config, facts, 1);
}

#[test]
fn a_default_route_for_some_packets_names_the_gateway_and_is_nobody_else_s_default() {
    let config = config(NO_TARGETS);
    let mut facts = with_ipv6_on_both();
    let narrowed = |of: &Route, only| Route { only: Some(only), ..of.clone() };
    facts.routes[2] = narrowed(&facts.routes[2], Only::From("2001:db8:1::/56".parse().unwrap()));
    let by_eth0 = ["2000::/3 via fe80::1", "64:ff9b::/96 via fe80::1", "64:ff9b:1::/48 via fe80::1"];
    let commands = in_main(&config, &facts, 0);
    assert_eq!(commands.len(), 3, "{commands:?}");
    for (command, expected) in commands.iter().zip(by_eth0) {
        assert!(command.contains(&format!("add {expected} dev eth0 ")), "{command}");
    }
    // The kernel's one default route for everybody is the other's.
    facts.routes.retain(|route| route.family() == wanfo::core::facts::Family::V6);
    assert_eq!(routing::active_by_kernel(&config, &gateway::survey(&config, &facts), &facts), 1);
    // IPv4 knows no source, and has a type of service instead.
    let mut facts = two_lines();
    facts.routes[0] = narrowed(&facts.routes[0], Only::Tos(0x10));
    assert_eq!(in_main(&config, &facts, 0).len(), 2);
    // No metric beats it.
    let by_default = crate::config(&format!("{{{NO_TARGETS}, routing: {{override: default}}}}"));
    assert_eq!(defaults::unbeatable(&by_default, &facts), [&facts.routes[0]]);
    // On a backup without IPv6 the LAN's packets from the primary's prefix must not go on into it.
    let mut facts = with_ipv6_on_eth0();
    facts.routes[2] = narrowed(&facts.routes[2], Only::From("2001:db8:1::/56".parse().unwrap()));
    assert!(IPV6_REFUSED.iter().all(|refused| in_main(&config, &facts, 1).contains(&(*refused).to_owned())));
}

#[test]
fn a_family_that_the_active_link_has_lost_is_refused_where_it_would_go_out_of_another_link() {
    let config =
        config("links: [{name: a, interface: eth0}, {name: b, interface: eth1}, {name: c, interface: eth2}]");
    let of_family = |facts: &Facts, active: usize, flag: &str| -> Vec<String> {
        in_main(&config, facts, active).into_iter().filter(|command| command.contains(flag)).collect()
    };
    let said = |facts: &Facts, active: usize| {
        routing::refused(&config, &gateway::survey(&config, facts), active, facts).len()
    };
    // The primary's router withdraws IPv6; its addresses stay for a while.
    let mut facts = with_ipv6_on_both();
    facts.routes.remove(2);
    assert_eq!(of_family(&facts, 0, "-6"), IPV6_REFUSED);
    assert_eq!((said(&facts, 0), said(&facts, 1), said(&facts, 2)), (1, 0, 1));
    brought_in_line(&config, facts.clone(), 0);
    // A tunnel of somebody's that is no link carries it: none of our business.
    facts.routes.push(route("::/0", None, "he-ipv6", 512, 3));
    assert_eq!(of_family(&facts, 0, "-6"), [""; 0]);
    assert_eq!(
        defaults::all_needed(&config, &gateway::survey(&config, &facts), &facts),
        [Family::V4, Family::V6],
        "nor is the third link there to have a way"
    );

    // A backup that has IPv6 only.
    let mut facts = with_ipv6_on_both();
    facts.interfaces[1].addresses.remove(0);
    facts.routes.remove(1);
    assert_eq!(of_family(&facts, 1, "-4"), IPV4_REFUSED);
    assert_eq!((said(&facts, 0), said(&facts, 1)), (0, 1));
    let facts = brought_in_line(&config, facts, 1);
    assert_eq!(of_family(&facts, 0, "-4 route del unreachable").len(), 2);
    // And a primary.
    let mut facts = with_ipv6_on_both();
    facts.interfaces[0].addresses.remove(0);
    facts.routes.remove(0);
    assert_eq!(of_family(&facts, 0, "-4"), IPV4_REFUSED);
    let tied = |parts: &str| {
        crate::config(&format!(
            "links: [{{name: a, interface: eth0}}, {{name: b, interface: eth1, routes: [{parts}]}}]"
        ))
    };
    let refuses = |parts: &str| in_main(&tied(parts), &facts, 0).contains(&IPV4_REFUSED[0].to_owned());
    assert!(!refuses("0.0.0.0/2, 64.0.0.0/2, 128.0.0.0/2, 192.0.0.0/2"), "all of it has its link");
    assert!(refuses("0.0.0.0/2, 64.0.0.0/2, 192.0.0.0/2, '::/1'"));
    // One that has nothing left is down, and the next switch decides.
    facts.interfaces[0].up = false;
    assert_eq!((of_family(&facts, 0, "-4"), of_family(&facts, 0, "-6")), (vec![], vec![]));
}

#[test]
fn ipv6_is_refused_where_a_default_route_leads_into_a_link_that_has_none() {
    // The router of the backup advertises itself all the same, and the primary's IPv6 has gone with its cable.
    let mut facts = with_ipv6_on_both();
    facts.routes.remove(2);
    let of = |first: &str, second: &str, active: usize| -> Vec<String> {
        let text =
            format!("links: [{{name: a, interface: eth0{first}}}, {{name: b, interface: eth1{second}}}]");
        let commands = in_main(&config(&text), &facts, active);
        commands.into_iter().filter(|command| command.contains("-6")).collect()
    };
    let none = ", gateway6: none";
    assert_eq!(of("", none, 1), IPV6_REFUSED);
    assert_eq!(of("", none, 0), IPV6_REFUSED);
    assert_eq!(of(none, none, 0), IPV6_REFUSED);
    // Also where it is point-to-point, and needs no gateway.
    let mut dialled = facts.clone();
    dialled.interfaces[1].point_to_point = true;
    let text = format!("links: [{{name: a, interface: eth0}}, {{name: b, interface: eth1{none}}}]");
    assert!(in_main(&config(&text), &dialled, 1).contains(&IPV6_REFUSED[0].to_owned()));
    // A tunnel of somebody's that is no link carries it, and is known of.
    let both = config(
        "links: [{name: a, interface: eth0, gateway6: none}, {name: b, interface: eth1, gateway6: none}]",
    );
    let survey = gateway::survey(&both, &facts);
    assert_eq!(defaults::all_needed(&both, &survey, &facts), [Family::V6]);
    let mut tunnelled = facts.clone();
    tunnelled.routes.push(route("::/0", None, "he-ipv6", 512, 3));
    assert!(!in_main(&both, &tunnelled, 1).contains(&IPV6_REFUSED[0].to_owned()));
    // Where it leads into the primary while that is active, the admin has it so.
    let mut facts = with_ipv6_on_both();
    facts.routes.remove(3);
    let text = format!("links: [{{name: a, interface: eth0{none}}}, {{name: b, interface: eth1{none}}}]");
    let refused =
        |active: usize| in_main(&config(&text), &facts, active).contains(&IPV6_REFUSED[0].to_owned());
    assert_eq!([0, 1].map(refused), [false, true]);
}

#[test]
fn unique_local_addresses_are_no_ipv6_to_offer_unless_the_admin_says_so() {
    let facts = |name: &str| {
        let mut facts = with_ipv6_on_eth0();
        facts.interfaces[1] = interface(name, &["203.0.113.2/25", "fd00:8::2/64", "fe80::2/64"]);
        facts.routes.push(route("::/0", Some("fe80::1"), name, 1024, RA));
        facts
    };
    let has_ipv6 = |link: &str, facts: &Facts| {
        gateway::survey(&config(&format!("links: [{{name: a, interface: eth0}}, {{{link}}}]")), facts)[1]
            .v6
            .is_ok()
    };
    assert!(!has_ipv6("name: b, interface: eth1", &facts("eth1")));
    assert!(has_ipv6("name: b, interface: eth1, gateway6: 'fe80::1'", &facts("eth1")));
    assert!(has_ipv6("name: b, interface: ppp0", &facts("ppp0")), "a tunnel's far end may translate it");
    assert_eq!(in_main(&config(NO_TARGETS), &facts("eth1"), 1)[2..], IPV6_REFUSED);
    let mut both = facts("eth1");
    both.interfaces[1].addresses.push(address("2001:db8:2::2/64"));
    assert!(has_ipv6("name: b, interface: eth1", &both));
}

#[test]
fn two_modems_with_one_address_are_told_apart_by_ours_and_with_the_same_of_ours_that_is_said() {
    let modems = |own: [&str; 2]| Facts {
        interfaces: vec![interface("eth0", &[own[0]]), interface("eth1", &[own[1]])],
        routes: vec![
            route("0.0.0.0/0", Some("192.168.8.1"), "eth0", 100, DHCP),
            route("0.0.0.0/0", Some("192.168.8.1"), "eth1", 200, DHCP),
        ],
        ..Facts::default()
    };
    let config = config(
        "links: [{name: a, interface: eth0, targets: [192.0.2.53]}, {name: b, interface: eth1, targets: [gateway]}]",
    );
    let facts = modems(["192.168.8.100/24", "192.168.8.101/24"]);
    let commands = commands(&config, &facts, 0);
    for rule in [
        "from 192.168.8.100/32 to 192.168.8.1/32 lookup 5301",
        "from 192.168.8.101/32 to 192.168.8.1/32 lookup 5302",
        "from all iif lo uidrange 60902-60902 lookup 5302",
    ] {
        assert_eq!(
            commands
                .iter()
                .filter(|command| command.contains(&format!("ip -4 rule add priority 530 {rule} ")))
                .count(),
            1,
            "{rule} in {commands:#?}"
        );
    }
    assert_eq!(told(&config, &facts), [""; 0]);
    let facts = modems(["192.168.8.100/24"; 2]);
    let problems = told(&config, &facts);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("b: it has the address 192.168.8.100, as a has"), "{problems:?}");
    brought_in_line(&config, facts, 0);
}

#[test]
fn only_addresses_that_the_kernel_sends_from_get_rules() {
    let mut facts = two_lines();
    let more = (10..250).map(|host| address(&format!("198.51.100.{host}/32")));
    facts.interfaces[0].addresses.extend(more);
    // The first of all is for neighbours, the first in the gateway's subnet for the rest.
    facts.interfaces[0].addresses.insert(0, address("192.0.2.200/29"));
    let targets: Vec<String> = (1..=6).map(|host| format!("192.0.2.{host}")).collect();
    let config = config(&format!(
        "links: [{{name: a, interface: eth0, targets: [{}]}}, {{name: b, interface: eth1}}]",
        targets.join(", ")
    ));
    let rules = commands(&config, &facts, 0).into_iter().filter(|command| command.contains(" rule "));
    let mut from: Vec<String> =
        rules.filter_map(|rule| Some(rule.split_once(" from ")?.1.split(' ').next()?.to_owned())).collect();
    from.sort();
    from.dedup();
    assert_eq!(from, ["192.0.2.200/32", "198.51.100.2/32", "203.0.113.2/32", "all"]);
}

const BOOT: &str = "5f0c3a52-8a0e-4d3b-9e0c-6a1f5b1d7c11";
const YESTERDAY: &str = include_str!("fixtures/state-v2.json");

fn out(interface: &str, via: Option<&str>, redirected: bool) -> RouteAnswer {
    RouteAnswer::Out { interface: interface.to_owned(), via: via.map(|via| via.parse().unwrap()), redirected }
}

#[test]
fn an_echo_request_goes_only_where_the_kernel_sends_it_by_the_link() {
    let config = config(
        "links: [{name: a, interface: eth0}, {name: b, interface: eth1, gateway: 192.0.2.1}, {name: c, interface: ppp0}]",
    );
    let mut facts = with_ipv6_on_both();
    facts.interfaces.push(interface("ppp0", &["198.51.100.129/32"]));
    let links = gateway::survey(&config, &facts);
    let (eth0, via) = ("eth0", Some("198.51.100.1"));
    for (link, to, answer, goes) in [
        (0, "192.0.2.53", out(eth0, via, false), true),
        (0, "192.0.2.53", out(eth0, Some("198.51.100.9"), false), false),
        // The gateway itself has sent us there.
        (0, "192.0.2.53", out(eth0, Some("198.51.100.9"), true), true),
        (0, "192.0.2.53", out("eth1", via, true), false),
        (0, "192.0.2.53", out("eth1", Some("203.0.113.1"), false), false),
        // Nobody there would answer for it.
        (0, "192.0.2.53", out(eth0, None, false), false),
        (0, "192.0.2.53", out("lo", None, false), false),
        (0, "192.0.2.53", RouteAnswer::Refused(113), false),
        // Neighbours, the gateway among them.
        (0, "198.51.100.53", out(eth0, None, false), true),
        (0, "198.51.100.53", out(eth0, via, false), true),
        (0, "198.51.100.1", out(eth0, None, false), true),
        // A gateway outside the subnet.
        (1, "192.0.2.53", out("eth1", Some("192.0.2.1"), false), true),
        (1, "192.0.2.1", out("eth1", None, false), true),
        (1, "192.0.2.1", out("eth1", Some("192.0.2.1"), false), true),
        (1, "192.0.2.53", out("eth1", None, false), false),
        // No gateway.
        (2, "192.0.2.53", out("ppp0", None, false), true),
        (2, "192.0.2.53", out("ppp0", via, false), false),
        (2, "192.0.2.53", out(eth0, None, false), false),
        (0, "2001:db8:f::1", out(eth0, Some("fe80::1"), false), true),
        (0, "2001:db8:f::1", out("eth1", Some("fe80::1"), false), false),
    ] {
        let to: IpAddr = to.parse().unwrap();
        let next_hop = links[link].next_hop(to.into()).unwrap();
        let checked = |pretended| flow::check_probe(next_hop, to, Ok(answer.clone()), pretended);
        assert_eq!(checked(false).is_ok(), goes, "{to} {answer:?}");
        // In a dry run our own may be yet to come.
        assert_eq!(checked(true).err(), (!goes).then_some(ProbeError::Unpinned), "{to} {answer:?}");
    }
    // A kernel that cannot be asked says nothing of the line.
    let next_hop = links[0].next_hop(Family::V4).unwrap();
    let error = Err(anyhow::anyhow!("no reply within 5 s"));
    let failure = flow::check_probe(next_hop, "192.0.2.53".parse().unwrap(), error, false);
    assert_eq!(failure, Err(ProbeError::OwnFault("no reply within 5 s".to_owned())));
}

#[test]
fn nothing_that_goes_its_own_way_stands_for_the_default_traffic() {
    let plain = config(NO_TARGETS);
    let parts = |config: &Config, facts: &Facts, family| -> Vec<String> {
        let parts = flow::default_traffic(family, config, facts);
        parts.iter().map(|(part, address)| format!("{part} {address}")).collect()
    };
    let halves = ["0.0.0.0/1 2.0.0.1", "128.0.0.0/1 130.0.0.1"];
    assert_eq!(parts(&plain, &two_lines(), Family::V4), halves);
    assert_eq!(parts(&plain, &two_lines(), Family::V6), ["2000::/3 2080::1"]);
    let busy = config(
        "links: [{name: a, interface: eth0, targets: [2.0.0.1]}, {name: b, interface: eth1, routes: [130.0.0.0/8, \
         \"2080::/16\"]}]",
    );
    let mut facts = two_lines();
    facts.interfaces.push(interface("lan", &["6.0.0.9/16"]));
    for (network, interface) in [("134.0.0.0/8", "eth0"), ("192.0.0.0/3", "eth1"), ("224.0.0.0/4", "eth1")] {
        facts.routes.push(route(network, None, interface, 0, 3));
    }
    facts.routes.push(route("2a00::/12", None, "eth1", 1024, 3));
    // 10.0.0.1 would come next; it is somebody's LAN.
    let expected = ["0.0.0.0/1 14.0.0.1", "128.0.0.0/1 138.0.0.1", "192.0.0.0/3 192.128.0.1"];
    assert_eq!(parts(&busy, &facts, Family::V4), expected);
    assert_eq!(parts(&busy, &facts, Family::V6), ["2000::/3 2180::1", "2a00::/12 2a00:4000::1"]);
}

#[test]
fn default_traffic_that_does_not_take_the_active_link_is_told_for_each_part() {
    let told_with = |config: &Config, facts: &Facts, active: usize| {
        let view = View::of(config, brought_in_line(config, facts.clone(), active));
        let kernel = ModelKernel { routes: view.facts.routes.clone(), rules: view.facts.rules.clone() };
        let state = State::fresh("boot", &config.links[active].name, BootTime(1));
        problems::default_elsewhere(config, &state, &view, &mut |flow| Ok(kernel.way(flow)))
            .map(|problem| problem.to_string().split_once("sends ").unwrap().1.to_owned())
            .map(|text| text.split_once("; `ip rule`").unwrap().0.to_owned())
    };
    let plain = config(NO_TARGETS);
    let told = |facts: &Facts, active| told_with(&plain, facts, active);
    // Also where the active one has lost, or never had, its IPv6.
    for facts in [two_lines(), with_ipv6_on_eth0(), with_ipv6_on_both()] {
        assert_eq!((told(&facts, 0), told(&facts, 1)), (None, None));
    }
    let rule = |family| Rule { priority: 1000, ..Rule::of_all(family, 99, 3) };
    let by_rule = |mut facts: Facts, interface: &str| {
        facts.rules.extend([Family::V4, Family::V6].map(rule));
        for everything in ["0.0.0.0/0", "::/0"] {
            facts.routes.push(Route { table: 99, ..route(everything, None, interface, 0, 3) });
        }
        facts
    };
    let all = |interface| Some(format!("0.0.0.0/1, 128.0.0.0/1, 2000::/3 out of {interface}"));
    assert_eq!(told(&by_rule(with_ipv6_on_both(), "eth1"), 0), all("eth1"));
    assert_eq!(told(&by_rule(with_ipv6_on_both(), "eth0"), 1), all("eth0"));
    assert_eq!(told(&by_rule(two_lines(), "tun0"), 0).unwrap(), "0.0.0.0/1, 128.0.0.0/1 out of tun0");
    // On the backup IPv6 is to be refused.
    assert_eq!(told(&by_rule(with_ipv6_on_eth0(), "eth0"), 1), all("eth0"));
    let by_route = |network, via, interface| {
        let mut facts = with_ipv6_on_both();
        facts.routes.push(route(network, via, interface, 0, 3));
        facts
    };
    let wide = by_route("192.0.0.0/3", Some("203.0.113.1"), "eth1");
    assert_eq!(told(&wide, 0).unwrap(), "192.0.0.0/3 out of eth1 via 203.0.113.1");
    assert_eq!(told(&wide, 1), None);
    let wide = by_route("2000::/4", Some("fe80::1"), "eth0");
    assert_eq!(
        (told(&wide, 0), told(&wide, 1).unwrap()),
        (None, "2000::/4 out of eth0 via fe80::1".to_owned())
    );
    // Another router of the same line; with a second link on the interface it is that one's.
    let beside = by_route("64.0.0.0/2", Some("198.51.100.9"), "eth0");
    assert_eq!(told(&beside, 0), None);
    let both = config(
        "links: [{name: a, interface: eth0, gateway: 198.51.100.1}, {name: b, interface: eth0, gateway: 198.51.100.9}]",
    );
    assert_eq!(told_with(&both, &beside, 0).unwrap(), "64.0.0.0/2 out of eth0 via 198.51.100.9");
}

#[test]
fn a_host_route_of_dhcp_over_a_line_that_waits_is_told_with_its_cure() {
    let config = config(
        "links: [{name: a, interface: eth0}, {name: b, interface: eth1, routes: [192.0.2.77]}, \
         {name: c, interface: eth2, gateway: none, routes_only: true, routes: [192.0.2.78]}]",
    );
    let mut facts = two_lines();
    facts.interfaces.push(interface("eth2", &["198.51.100.130/28"]));
    for (to, via, interface, protocol) in [
        ("192.0.2.53/32", Some("203.0.113.1"), "eth1", DHCP),
        ("192.0.2.54/32", Some("198.51.100.1"), "eth0", DHCP),
        // Its gateway and a neighbour, a network, an admin's, one that the config ties, one of a line for its routes only.
        ("203.0.113.1/32", None, "eth1", DHCP),
        ("203.0.113.53/32", None, "eth1", DHCP),
        ("192.0.2.64/28", Some("203.0.113.1"), "eth1", DHCP),
        ("192.0.2.55/32", Some("203.0.113.1"), "eth1", 4),
        ("192.0.2.77/32", Some("203.0.113.1"), "eth1", DHCP),
        ("192.0.2.56/32", None, "eth2", DHCP),
    ] {
        facts.routes.push(route(to, via, interface, 0, protocol));
    }
    let view = View::of(&config, facts);
    for (active, tied) in [("a", ("b", "192.0.2.53")), ("b", ("a", "192.0.2.54"))] {
        let state = State::fresh("boot", active, BootTime(1));
        let mut told = problems::find(&at_rest(&config, &view, &state), &view, &[]);
        told.retain(|problem| problem.code == Code::HostRoute);
        let [problem] = &told[..] else { panic!("{told:?}") };
        assert_eq!(problem.link.as_deref(), Some(tied.0));
        assert!(problem.text.contains(&format!("ties {} to this line", tied.1)), "{problem}");
        assert!(problem.text.contains("`RoutesToDNS=no`"), "{problem}");
    }
}

fn damage(text: &str) -> String {
    match State::load(text, BOOT) {
        Loaded::Damaged(reason) => reason,
        other => panic!("{text:?} was taken for {other:?}"),
    }
}

#[test]
fn the_state_file_of_yesterday_is_read() {
    let Loaded::Known(state) = State::load(YESTERDAY, BOOT) else { panic!("it was not read") };
    assert_eq!(state.active, "secondary");
    assert_eq!(state.switched_at, Some(BootTime(734_012)));
    assert_eq!(state.hold, Hold::Until(BootTime(1_034_012)));
    let (from, to, cause) = ("primary".to_owned(), "secondary".to_owned(), Cause::LinkDown);
    let switching =
        Switching { from, to, cause, outage_ms: None, backup_bytes: None, script: None, script_starts: 0 };
    assert_eq!(state.switching, Some(switching));
    let primary = state.link("primary").unwrap();
    assert_eq!((primary.health.verdict, primary.health.unanswered), (Verdict::Down, 3));
    assert_eq!(primary.gateway6, Some("fe80::1".parse().unwrap()));
    assert_eq!(primary.targets[1].rtt_ms, Some(12.345));
    assert_eq!(state.link("secondary").unwrap().interface, None);
    let written_now = serde_json::to_string(&state).unwrap();
    assert_eq!(State::load(&written_now, BOOT), Loaded::Known(state));
}

#[test]
fn a_state_file_with_fields_of_a_later_version_is_read() {
    let later = YESTERDAY.replacen("\"forced\"", "\"colour\":\"blue\",\"forced\"", 1);
    assert!(matches!(State::load(&later, BOOT), Loaded::Known(_)));
}

#[test]
fn a_state_file_of_another_boot_is_nothing() {
    assert_eq!(State::load(YESTERDAY, "another"), Loaded::Nothing);
}

#[test]
fn a_state_file_that_cannot_be_used_is_set_aside_with_the_reason() {
    assert_eq!(damage(""), "it is empty");
    assert_eq!(damage("\n\n"), "it is empty");
    assert_eq!(
        damage(&YESTERDAY.replacen("\"version\":2", "\"version\":1", 1)),
        "it has version 1, this wanfo writes 2"
    );
    assert!(damage(&YESTERDAY[..YESTERDAY.len() / 2]).starts_with("it is no state of wanfo's: EOF"));
    for foreign in
        ["{}", "[]", "null", "7", "\u{0}\u{0}\u{0}", "{\"version\":\"1\"}", "{\"version\":-1}", "hold: no"]
    {
        assert!(damage(foreign).starts_with("it is no state of wanfo's: "), "{foreign}");
    }
    assert!(damage("{\"version\":2}").starts_with("missing field"));
    assert!(damage(&YESTERDAY.replacen("\"down\"", "\"sideways\"", 1)).contains("sideways"));
}
