//! What `Kernel` sees of a router that `ip` built, in a network namespace of its own.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::libc;
use wanfo::core::change::Change;
use wanfo::core::facts::{
    Address, Facts, Family, Interface, MAIN_TABLE, Only, Preference, Route, RouteTarget, Rule, Traits,
};
use wanfo::core::flow::{Flow, RouteAnswer};
use wanfo::system::kernel::{Kernel, Selection};

const INSIDE: &str = "WANFO_TEST_INSIDE_NAMESPACE";

/// A router with two providers (wan1, wan2), a third without a cable (wan3), a tunnel (tun0) and a LAN.
const ROUTER: &[&str] = &[
    "link set lo up",
    "link add lan type veth peer name lan-far",
    "link add wan1 type veth peer name wan1-far",
    "link add wan2 type veth peer name wan2-far",
    "link add wan3 type veth peer name wan3-far",
    "link add off type veth peer name off-far",
    "tuntap add tun0 mode tun",
    "link set lan up",
    "link set lan-far up",
    "link set wan1 addrgenmode none",
    "link set wan2 addrgenmode none",
    "link set wan1 up",
    "link set wan1-far up",
    "link set wan2 up",
    "link set wan2-far up",
    "link set wan3 up",
    "link set tun0 up",
    "addr add 192.0.2.1/24 dev lan",
    "addr add 198.51.100.2/24 dev wan1",
    "addr add 198.51.100.3/24 dev wan1",
    "addr add 2001:db8:1::2/64 dev wan1 nodad",
    "addr add fe80::2/64 dev wan1 nodad",
    "addr add 203.0.113.2/25 dev wan2",
    "addr add 2001:db8:2::2/64 dev wan2",
    "addr add 203.0.113.130/30 dev wan3",
    "addr add 192.0.2.200 peer 192.0.2.201/32 dev tun0",
    "addr add 192.0.2.99/32 scope link dev tun0",
    "addr add 2001:db8:9::1 peer 2001:db8:9::2/128 dev tun0",
    // Foreign routes: of a DHCP client, of router advertisements, of an admin.
    "route add default via 198.51.100.1 dev wan1 proto dhcp metric 100",
    "-6 route add default via fe80::1 dev wan1 proto ra metric 512",
    "route add default via 203.0.113.1 dev wan2 metric 200 table 7000",
    "route add default via 203.0.113.129 dev wan3 metric 300",
    "route add 203.0.113.160/28 via 198.51.100.99 dev wan2 onlink",
    "route add 203.0.113.176/28 via inet6 2001:db8:1::9 dev wan1",
    "route add 203.0.113.192/28 nexthop via 198.51.100.8 dev wan1 nexthop via 192.0.2.8 dev lan",
    "-6 route add 2001:db8:a::/64 nexthop via 2001:db8:1::8 dev wan1 nexthop via 2001:db8:2::8 dev wan2",
    "route add default via 192.0.2.7 dev lan metric 900",
    "route add 203.0.113.208/28 via 192.0.2.7 dev lan",
    "route add unreachable default metric 1000",
    "route add default via 192.0.2.7 dev lan table 7001",
    // Ours.
    "route add default via 198.51.100.1 dev wan1 table 5301 proto 119",
    "route add unreachable default metric 4278198272 table 5301 proto 119",
    "-6 route add default via fe80::1 dev wan1 table 5301 proto 119",
    "-6 route add unreachable default metric 4278198272 table 5301 proto 119",
    "-6 route add unreachable 2000::/3 proto 119",
    "route add 0.0.0.0/1 via 203.0.113.1 dev wan2 proto 119",
    "route add 192.0.2.128/25 dev tun0 proto 119",
    "route add blackhole 192.0.2.240/28 proto 119",
    "rule add priority 530 iif lo ipproto 1 to 198.51.100.53 lookup 5301 protocol 119",
    "rule add priority 530 from 198.51.100.2 to 198.51.100.53 lookup 5301 protocol 119",
    "-6 rule add priority 530 iif lo ipproto 58 to 2001:db8:53::1 lookup 5301 protocol 119",
    "rule add priority 530 iif lo uidrange 0-0 to 192.0.2.66 lookup 5301 protocol 119",
    "rule add priority 529 from 198.51.100.2 lookup main suppress_prefixlength 3 protocol 119",
    // Foreign.
    "rule add priority 5210 fwmark 0x80000 lookup 52",
    "rule add priority 530 from 192.0.2.99 lookup 52 protocol 4",
    "rule add priority 531 fwmark 0x80000 to 198.51.100.53 lookup 5302 protocol 4",
    // In tables that are ours.
    "route add default via 192.0.2.7 dev lan metric 9 table 5302 proto static",
    "route add 203.0.113.160/28 via 198.51.100.99 dev wan2 onlink table 5301 proto static",
    "-6 route add blackhole 2001:db8:b::/48 table 5302 proto static",
    "-6 rule add priority 5210 to 2001:db8:7::/48 lookup 52",
    // For some packets only, and what two routers say of themselves.
    "-6 route add default from 2001:db8:9::/56 via fe80::1 dev wan1 metric 100",
    "route add default tos 0x10 via 198.51.100.1 dev wan1 metric 100",
    "-6 route add default via fe80::3 dev wan1 proto ra metric 600 pref high",
    "-6 route add default via fe80::4 dev wan1 proto ra metric 700 pref low",
    "link property add dev wan2 altname the-line-by-the-second-provider",
];

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs this test again, as the only one, as root of a new network namespace; true where that is done already.
fn inside_a_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = ["--user", "--map-root-user", "--net"];
    // Needs user namespaces and, which some systems keep for root, /dev/net/tun.
    let probe = ["ip", "tuntap", "add", "tun0", "mode", "tun"];
    match Command::new("unshare").args(unshare).args(probe).output() {
        Ok(probe) if probe.status.success() => {}
        refused => {
            let required = std::env::var_os("WANFO_REQUIRE_LAB").is_some_and(|value| value == "1");
            assert!(!required, "{test}: no network namespace with a tun interface to be had: {refused:?}");
            eprintln!("SKIPPED {test}: no network namespace with a tun interface to be had: {refused:?}");
            return false;
        }
    }
    let status = Command::new("unshare")
        .args(unshare)
        .arg("--")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed inside its namespace, see above");
    false
}

fn wanted<'a>(wan: &'a [&str]) -> Selection<'a> {
    Selection { protocol: 119, wan, tables: 5301..5303, rule_priorities: 530..=530 }
}

fn look(wan: &[&str]) -> Facts {
    let mut kernel = Kernel::open().unwrap();
    let interfaces = kernel.interfaces(&[]).unwrap();
    kernel.facts(interfaces, &wanted(wan)).unwrap()
}

fn route(destination: &str, target: RouteTarget) -> Route {
    let ipv6 = destination.contains(':');
    Route {
        table: 254,
        destination: destination.parse().unwrap(),
        only: None,
        target,
        metric: if ipv6 { 1024 } else { 0 },
        protocol: 3, // RTPROT_BOOT, what `ip` says when nothing else is asked for
        preference: Preference::Medium,
    }
}

fn via(gateway: &str, interface: &str) -> RouteTarget {
    RouteTarget::Out {
        interface: interface.into(),
        via: Some(gateway.parse().unwrap()),
        onlink: false,
        traits: Traits::default(),
    }
}

fn on_link(interface: &str) -> RouteTarget {
    RouteTarget::Out { interface: interface.into(), via: None, onlink: false, traits: Traits::default() }
}

/// The kernel lists in no order worth relying on. Routes that it made itself (RTPROT_KERNEL) are left out.
fn assert_routes(seen: &Facts, expected: Vec<Route>) {
    let lines = |routes: Vec<Route>| {
        let mut lines: Vec<_> = routes.iter().map(|route| format!("{route:?}")).collect();
        lines.sort();
        lines.join("\n")
    };
    let seen: Vec<_> = seen.routes.iter().filter(|route| route.protocol != 2).cloned().collect();
    assert_eq!(lines(seen), lines(expected));
}

fn our_routes() -> Vec<Route> {
    let ours = |table, route| Route { table, protocol: 119, ..route };
    vec![
        ours(5301, route("0.0.0.0/0", via("198.51.100.1", "wan1"))),
        ours(5301, Route { metric: 4278198272, ..route("0.0.0.0/0", RouteTarget::Unreachable) }),
        ours(5301, route("::/0", via("fe80::1", "wan1"))),
        ours(5301, Route { metric: 4278198272, ..route("::/0", RouteTarget::Unreachable) }),
        ours(254, route("2000::/3", RouteTarget::Unreachable)),
        ours(254, route("0.0.0.0/1", via("203.0.113.1", "wan2"))),
        ours(254, route("192.0.2.128/25", on_link("tun0"))),
        ours(254, route("192.0.2.240/28", RouteTarget::Other)),
    ]
}

fn routes_over_the_providers() -> Vec<Route> {
    vec![
        Route { protocol: 16, metric: 100, ..route("0.0.0.0/0", via("198.51.100.1", "wan1")) },
        Route { protocol: 9, metric: 512, ..route("::/0", via("fe80::1", "wan1")) },
        Route {
            preference: Preference::High,
            protocol: 9,
            metric: 600,
            ..route("::/0", via("fe80::3", "wan1"))
        },
        Route {
            preference: Preference::Low,
            protocol: 9,
            metric: 700,
            ..route("::/0", via("fe80::4", "wan1"))
        },
        Route {
            only: Some(Only::From("2001:db8:9::/56".parse().unwrap())),
            metric: 100,
            ..route("::/0", via("fe80::1", "wan1"))
        },
        Route { only: Some(Only::Tos(0x10)), metric: 100, ..route("0.0.0.0/0", via("198.51.100.1", "wan1")) },
        Route { table: 7000, metric: 200, ..route("0.0.0.0/0", via("203.0.113.1", "wan2")) },
        Route { metric: 300, ..route("0.0.0.0/0", via("203.0.113.129", "wan3")) },
        route(
            "203.0.113.160/28",
            RouteTarget::Out {
                interface: "wan2".into(),
                via: Some("198.51.100.99".parse().unwrap()),
                onlink: true,
                traits: Traits::default(),
            },
        ),
        route("203.0.113.176/28", via("2001:db8:1::9", "wan1")),
        // The other branch leads into the LAN.
        route("203.0.113.192/28", via("198.51.100.8", "wan1")),
        route("2001:db8:a::/64", via("2001:db8:1::8", "wan1")),
        route("2001:db8:a::/64", via("2001:db8:2::8", "wan2")),
    ]
}

/// Whichever interface they lead out of, and once each.
fn foreign_in_our_tables() -> Vec<Route> {
    let onlink = RouteTarget::Out {
        interface: "wan2".into(),
        via: Some("198.51.100.99".parse().unwrap()),
        onlink: true,
        traits: Traits::default(),
    };
    let foreign = |table, route| Route { table, protocol: 4, ..route };
    vec![
        foreign(5302, Route { metric: 9, ..route("0.0.0.0/0", via("192.0.2.7", "lan")) }),
        foreign(5301, route("203.0.113.160/28", onlink)),
        foreign(5302, route("2001:db8:b::/48", RouteTarget::Other)),
    ]
}

#[test]
fn the_kernel_tells_what_ip_made() {
    if !inside_a_namespace("the_kernel_tells_what_ip_made") {
        return;
    }
    ROUTER.iter().for_each(|line| ip(line));

    let facts = look(&["wan1", "wan2", "wan3", "ppp7"]);

    let address = |network: &str| Address {
        network: network.parse().unwrap(),
        peer: None,
        global: true,
        tentative: false,
        deprecated: false,
    };
    let wan1 = facts.interface("wan1").unwrap();
    assert_eq!(
        *wan1,
        Interface {
            name: "wan1".into(),
            altnames: Vec::new(),
            index: nix::net::if_::if_nametoindex("wan1").unwrap(),
            up: true,
            carrier: true,
            point_to_point: false,
            addresses: vec![
                address("198.51.100.2/24"),
                address("198.51.100.3/24"),
                address("2001:db8:1::2/64"),
                Address { global: false, ..address("fe80::2/64") },
            ],
        }
    );
    assert_eq!(facts.interface("the-line-by-the-second-provider"), facts.interface("wan2"));
    // Duplicate address detection takes a second or two after the address came.
    let wan2 = facts.interface("wan2").unwrap();
    assert_eq!(
        wan2.addresses,
        [address("203.0.113.2/25"), Address { tentative: true, ..address("2001:db8:2::2/64") }]
    );
    let state = |name| {
        let interface = facts.interface(name).unwrap();
        (interface.up, interface.carrier)
    };
    assert_eq!(state("wan3"), (true, false), "no cable: the far end is down");
    assert_eq!(state("off"), (false, false));
    let tun0 = facts.interface("tun0").unwrap();
    assert!(tun0.point_to_point && tun0.up && !tun0.carrier, "{tun0:?}");
    let far = |network: &str, peer: &str| Address { peer: Some(peer.parse().unwrap()), ..address(network) };
    assert_eq!(
        tun0.addresses.iter().filter(|address| address.global).copied().collect::<Vec<_>>(),
        [
            far("192.0.2.200/32", "192.0.2.201/32"),
            Address {
                tentative: tun0.addresses.iter().any(|address| address.tentative),
                deprecated: false,
                ..far("2001:db8:9::1/128", "2001:db8:9::2/128")
            },
        ]
    );
    assert!(tun0.addresses.contains(&Address { global: false, ..address("192.0.2.99/32") }));

    assert_routes(&facts, [our_routes(), routes_over_the_providers(), foreign_in_our_tables()].concat());

    let rule = |family, from: Option<&str>, to: &str, icmp: Option<u8>| Rule {
        family,
        priority: 530,
        from: from.map(|from| from.parse().unwrap()),
        to: Some(to.parse().unwrap()),
        iif: icmp.map(|_| "lo".into()),
        ipproto: icmp,
        uid: None,
        suppress_prefix: None,
        table: 5301,
        protocol: 119,
        narrowed: false,
    };
    let foreign = |rule| Rule { protocol: 4, ..rule };
    assert_eq!(
        facts.rules,
        [
            Rule {
                priority: 529,
                suppress_prefix: Some(3),
                table: MAIN_TABLE,
                to: None,
                ..rule(Family::V4, Some("198.51.100.2/32"), "0.0.0.0/0", None)
            },
            rule(Family::V4, None, "198.51.100.53/32", Some(1)),
            rule(Family::V4, Some("198.51.100.2/32"), "198.51.100.53/32", None),
            Rule { uid: Some(0), iif: Some("lo".into()), ..rule(Family::V4, None, "192.0.2.66/32", None) },
            foreign(Rule {
                to: None,
                table: 52,
                ..rule(Family::V4, Some("192.0.2.99/32"), "192.0.2.99/32", None)
            }),
            foreign(Rule {
                priority: 531,
                table: 5302,
                narrowed: true,
                ..rule(Family::V4, None, "198.51.100.53/32", None)
            }),
            rule(Family::V6, None, "2001:db8:53::1/128", Some(58)),
        ]
    );

    // Default routes of the main table over other interfaces, once each.
    let mut kernel = Kernel::open().unwrap();
    let mut elsewhere =
        |family| kernel.defaults_elsewhere(&facts, &wanted(&["wan1", "wan2", "wan3"]), family).unwrap();
    assert_eq!(
        elsewhere(Family::V4),
        [
            Route { metric: 900, ..route("0.0.0.0/0", via("192.0.2.7", "lan")) },
            Route { metric: 1000, ..route("0.0.0.0/0", RouteTarget::Unreachable) },
        ]
    );
    assert_eq!(elsewhere(Family::V6), []);

    // An interface that went away after it was listed has no routes; that is no error.
    let mut kernel = Kernel::open().unwrap();
    let interfaces = kernel.interfaces(&[]).unwrap();
    ip("link del wan1");
    let facts = kernel.facts(interfaces, &wanted(&["wan1"])).unwrap();
    let not_over_it = |route: &Route| route.protocol == 119 || [5301, 5302].contains(&route.table);
    assert!(facts.routes.iter().all(not_over_it), "{:#?}", facts.routes);
}

/// Rules of others before everything, and what they lead to.
const WAYS: &[&str] = &[
    "addr add 2001:db8:1::3/64 dev wan1 nodad",
    "route add 203.0.113.64/28 via 198.51.100.1 dev wan1",
    "route add unreachable 203.0.113.80/28",
    "route add prohibit 203.0.113.96/28",
    "route add blackhole 203.0.113.112/28",
    "route add throw 192.0.2.64/28",
    "route add default via 203.0.113.1 dev wan2 table 100",
    "-6 route add default via fe80::9 dev wan2 table 100",
    "rule add priority 100 uidrange 0-0 to 203.0.113.65 lookup 100",
    "rule add priority 100 ipproto 1 to 203.0.113.67 lookup 100",
    "rule add priority 100 ipproto 17 to 203.0.113.68 lookup 100",
    "rule add priority 100 ipproto 6 to 203.0.113.66 lookup 100",
    "rule add priority 100 fwmark 1 to 203.0.113.69 lookup 100",
    "rule add priority 100 to 203.0.113.70 lookup 100",
    "rule add priority 100 iif lo to 203.0.113.71 lookup 100",
    "rule add priority 100 iif lan to 203.0.113.72 lookup 100",
    "-6 rule add priority 100 uidrange 0-0 to 2001:db8:1::65 lookup 100",
    "-6 rule add priority 100 ipproto 58 to 2001:db8:1::67 lookup 100",
    "-6 rule add priority 100 to 2001:db8:1::70 lookup 100",
    "-6 route add unreachable 2001:db8:1::80",
    "-6 route add prohibit 2001:db8:1::81",
    "-6 route add blackhole 2001:db8:1::82",
];

#[test]
fn the_kernel_tells_which_way_a_flow_takes() {
    if !inside_a_namespace("the_kernel_tells_which_way_a_flow_takes") {
        return;
    }
    ROUTER.iter().chain(WAYS).for_each(|line| ip(line));
    let mut kernel = Kernel::open().unwrap();
    kernel.interfaces(&[]).unwrap();
    let out = |interface: &str, via: Option<&str>| RouteAnswer::Out {
        interface: interface.to_owned(),
        via: via.map(|via| via.parse().unwrap()),
        redirected: false,
    };
    let (first, second) = (out("wan1", Some("198.51.100.1")), out("wan2", Some("203.0.113.1")));
    let (neighbour6, second6) = (out("wan1", None), out("wan2", Some("fe80::9")));
    // IPv6 makes the route to an own address some time after the address, `nodad` or not (addrconf_dad_work).
    let own = Flow::echo_request("2001:db8:1::3".parse().unwrap(), None);
    for _ in 0..1000 {
        if kernel.way(&own).unwrap() == out("lo", None) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    // Each with the way of our echo request, and of what the LAN sends.
    for (to, ping, lan) in [
        // Ours at 530, and what stands in main.
        ("198.51.100.53", &first, &out("wan1", None)),
        ("203.0.113.64", &first, &first),
        ("203.0.113.177", &out("wan1", Some("2001:db8:1::9")), &out("wan1", Some("2001:db8:1::9"))),
        ("203.0.113.161", &out("wan2", Some("198.51.100.99")), &out("wan2", Some("198.51.100.99"))),
        ("192.0.2.201", &out("tun0", None), &out("tun0", None)),
        ("198.51.100.2", &out("lo", None), &out("lo", None)),
        ("198.51.100.255", &RouteAnswer::Broadcast, &RouteAnswer::Broadcast),
        ("203.0.113.65", &second, &first),
        ("203.0.113.66", &first, &second),
        ("203.0.113.67", &second, &first),
        ("203.0.113.68", &first, &first),
        ("203.0.113.69", &first, &first),
        ("203.0.113.70", &second, &second),
        ("203.0.113.71", &second, &second),
        ("203.0.113.72", &first, &first),
        (
            "203.0.113.81",
            &RouteAnswer::Refused(libc::EHOSTUNREACH),
            &RouteAnswer::Refused(libc::EHOSTUNREACH),
        ),
        ("203.0.113.97", &RouteAnswer::Refused(libc::EACCES), &RouteAnswer::Refused(libc::EACCES)),
        ("203.0.113.113", &RouteAnswer::Refused(libc::EINVAL), &RouteAnswer::Refused(libc::EINVAL)),
        ("192.0.2.65", &RouteAnswer::Refused(libc::ENETUNREACH), &RouteAnswer::Refused(libc::ENETUNREACH)),
        ("2001:db8:53::1", &out("wan1", Some("fe80::1")), &RouteAnswer::Refused(libc::EHOSTUNREACH)),
        ("2001:db8:1::3", &out("lo", None), &out("lo", None)),
        ("2001:db8:1::65", &second6, &neighbour6),
        ("2001:db8:1::67", &second6, &neighbour6),
        ("2001:db8:1::70", &second6, &second6),
        (
            "2001:db8:1::80",
            &RouteAnswer::Refused(libc::EHOSTUNREACH),
            &RouteAnswer::Refused(libc::EHOSTUNREACH),
        ),
        ("2001:db8:1::81", &RouteAnswer::Refused(libc::EACCES), &RouteAnswer::Refused(libc::EACCES)),
        ("2001:db8:1::82", &RouteAnswer::Refused(libc::EINVAL), &RouteAnswer::Refused(libc::EINVAL)),
    ] {
        let to = to.parse().unwrap();
        assert_eq!(kernel.way(&Flow::echo_request(to, None)).unwrap(), *ping, "echo request to {to}");
        assert_eq!(kernel.way(&Flow::forwarded_tcp(to)).unwrap(), *lan, "what the LAN sends to {to}");
    }
}

/// Everything that a route can say besides where it leads, as people write it.
const TRAITS: &str = "mtu lock 1400 window 2000 rtt 30ms rttvar 15ms ssthresh 5 cwnd lock 9 advmss 1300 reordering 4 \
                      hoplimit 60 initcwnd 20 rto_min 30ms initrwnd 30 quickack 1 congctl cubic fastopen_no_cookie 1 \
                      features ecn";

#[test]
fn what_a_route_says_of_the_way_is_copied_by_ip_to_the_letter() {
    if !inside_a_namespace("what_a_route_says_of_the_way_is_copied_by_ip_to_the_letter") {
        return;
    }
    ROUTER.iter().for_each(|line| ip(line));
    ip("route flush table 5301");
    ip("-6 route flush table 5301");
    ip(&format!("route add default via 198.51.100.1 dev wan1 src 198.51.100.3 metric 7 realms 1/2 {TRAITS}"));
    ip(&format!(
        "-6 route add default via 2001:db8:1::1 dev wan1 src 2001:db8:1::2 metric 7 pref high {TRAITS}"
    ));
    let seen = |table: u32, metric: u32| -> Vec<Route> {
        let mut routes = look(&["wan1"]).routes;
        routes.retain(|route| (route.table, route.metric) == (table, metric));
        routes
    };
    let theirs = seen(254, 7);
    assert_eq!(theirs.len(), 2);
    for route in &theirs {
        let RouteTarget::Out { traits, .. } = &route.target else { panic!("{route}") };
        assert!(traits.source.is_some() && traits.words.len() >= 15, "{traits:?}");
        let ours = Route { table: 5301, protocol: 119, ..route.clone() };
        ip(&Change::AddRoute(ours).ip_arguments().join(" "));
    }
    let targets = |routes: Vec<Route>| routes.into_iter().map(|route| route.target).collect::<Vec<_>>();
    assert_eq!(targets(seen(5301, 7)), targets(theirs));
}

#[test]
fn a_route_that_names_nothing_but_a_nexthop_object_leads_where_that_leads() {
    if !inside_a_namespace("a_route_that_names_nothing_but_a_nexthop_object_leads_where_that_leads") {
        return;
    }
    ROUTER.iter().for_each(|line| ip(line));
    for line in [
        "nexthop add id 1 via 198.51.100.9 dev wan1",
        "nexthop add id 2 via 203.0.113.9 dev wan2 onlink",
        "nexthop add id 3 group 1/2",
        "-6 nexthop add id 4 via fe80::9 dev wan1",
        "route add default nhid 1 metric 7",
        "route add default nhid 3 metric 8",
        "-6 route add default nhid 4 metric 7",
    ] {
        ip(line);
    }
    let seen = || -> Vec<RouteTarget> {
        let routes = look(&["wan1", "wan2"]).routes.into_iter();
        routes.filter(|route| [7, 8].contains(&route.metric)).map(|route| route.target).collect()
    };
    let told_whole = seen();
    assert_eq!(told_whole.len(), 4, "{told_whole:#?}");
    std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", "0").unwrap();
    assert_eq!(seen(), told_whole);
}

#[test]
fn a_neighbour_that_does_not_answer_is_told_from_one_that_does() {
    if !inside_a_namespace("a_neighbour_that_does_not_answer_is_told_from_one_that_does") {
        return;
    }
    ROUTER.iter().for_each(|line| ip(line));
    for line in [
        "neigh add 198.51.100.7 dev wan1 nud failed",
        "neigh add 198.51.100.8 dev wan1 lladdr 02:00:00:00:00:01 nud reachable",
        "neigh add 203.0.113.7 dev wan2 nud failed",
        "-6 neigh add fe80::7 dev wan1 nud failed",
        "-6 neigh add fe80::8 dev wan1 lladdr 02:00:00:00:00:01 nud stale",
    ] {
        ip(line);
    }
    let mut kernel = Kernel::open().unwrap();
    let interfaces = kernel.interfaces(&[]).unwrap();
    let wan1 = interfaces.iter().find(|interface| interface.name == "wan1").unwrap();
    let mut silent = kernel.silent_neighbours(wan1).unwrap();
    silent.sort();
    let expected = ["198.51.100.7", "fe80::7"].map(|address| ("wan1".to_owned(), address.parse().unwrap()));
    assert_eq!(silent, expected);
}

#[test]
fn of_a_whole_internet_of_routes_the_defaults_and_the_first_are_kept() {
    if !inside_a_namespace("of_a_whole_internet_of_routes_the_defaults_and_the_first_are_kept") {
        return;
    }
    ROUTER.iter().for_each(|line| ip(line));
    for (family, gateway, network) in
        [("-4", "198.51.100.1", "10.{}.0/24"), ("-6", "fe80::1", "2001:db8:{}::/64")]
    {
        let number = |number: u32| match family {
            "-4" => network.replace("{}", &format!("{}.{}", number / 256, number % 256)),
            _ => network.replace("{}", &format!("{:x}", 0x1000 + number)),
        };
        let lines = (0..5000).map(|n| format!("route add {} via {gateway} dev wan1\n", number(n)));
        let file = std::env::temp_dir().join(format!("wanfo-routes-{}{family}", std::process::id()));
        std::fs::write(&file, lines.collect::<String>()).unwrap();
        ip(&format!("{family} -batch {}", file.display()));
        std::fs::remove_file(file).unwrap();
    }
    let facts = look(&["wan1", "wan2"]);
    let over_wan1 = |family: Family, is_default: bool| {
        let routes = facts
            .routes
            .iter()
            .filter(|route| route.protocol != 119 && route.family() == family && route.leaves_by("wan1"));
        routes.filter(|route| (route.destination.prefix() == 0) == is_default).count()
    };
    assert_eq!((over_wan1(Family::V4, true), over_wan1(Family::V6, true)), (2, 4));
    for family in [Family::V4, Family::V6] {
        assert!((900..1600).contains(&over_wan1(family, false)), "{}", over_wan1(family, false));
    }
    // The socket whose dump was broken off is replaced, and the next questions are answered.
    assert_eq!(facts.rules.len(), 7);
}

/// A host of containers: the list of all addresses changes while it is read, every time.
#[test]
fn where_interfaces_come_and_go_without_pause_the_links_interfaces_are_known() {
    if !inside_a_namespace("where_interfaces_come_and_go_without_pause_the_links_interfaces_are_known") {
        return;
    }
    ROUTER.iter().for_each(|line| ip(line));
    ip("link property add dev wan1 altname a-name-of-more-than-fifteen-bytes");
    let batch = |lines: String| {
        let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = ip.stdin.take().unwrap();
        std::thread::spawn(move || input.write_all(lines.as_bytes()));
        ip
    };
    let many = (0..2000).map(|number| format!("addr add 2001:db8:77::{number:x}/128 dev lan nodad\n"));
    assert!(batch(many.collect()).wait().unwrap().success());
    let mut kernel = Kernel::open().unwrap();
    let mut calm = kernel.interfaces(&[]).unwrap();
    let the_links = |interfaces: &mut Vec<Interface>| {
        interfaces.retain(|interface| interface.is_called("wan2") || interface.is_called("wan1"));
        // For a second.
        interfaces.iter_mut().flat_map(|it| &mut it.addresses).for_each(|address| address.tentative = false);
    };
    the_links(&mut calm);
    assert_eq!(calm[0].addresses.len(), 4, "{:#?}", calm[0]);
    let mut churn = batch(
        "addr add 2001:db8:78::1/128 dev lan nodad\naddr del 2001:db8:78::1/128 dev lan\n".repeat(100_000),
    );
    let names = ["a-name-of-more-than-fifteen-bytes", "wan2", "wan4"];
    for _ in 0..20 {
        let mut seen = kernel.interfaces(&names).unwrap();
        the_links(&mut seen);
        assert_eq!(seen, calm);
        let facts = kernel.facts(seen, &wanted(&["wan1", "wan2"])).unwrap();
        assert!(facts.routes.iter().any(|route| route.leaves_by("wan1")), "{:#?}", facts.routes);
    }
    assert!(churn.try_wait().unwrap().is_none(), "it changed all the while");
    churn.kill().unwrap();
    churn.wait().unwrap();
}
