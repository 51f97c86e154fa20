//! Gateways that only a DHCP client knows: what is understood of each client's file, and when it counts.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use wanfo::core::config::Config;
use wanfo::core::facts::{
    Address, Facts, Interface, LeaseFile, MAIN_TABLE, Preference, Route, RouteTarget, Traits,
};
use wanfo::core::gateway::{self, ResolvedLink, Source, View};
use wanfo::core::lease::{self, Client, Lease};
use wanfo::core::problems;

/// As the clients of Debian 12 wrote them: eth1 has 192.0.2.18, and two gateways, 192.0.2.17 and 192.0.2.20.
const FILES: [(Client, &[u8]); 5] = [
    (Client::Networkd, include_bytes!("fixtures/leases/networkd")),
    (Client::NetworkManager, include_bytes!("fixtures/leases/NetworkManager")),
    (Client::Dhcpcd, include_bytes!("fixtures/leases/dhcpcd.lease")),
    (Client::Dhclient, include_bytes!("fixtures/leases/dhclient.leases")),
    (Client::Udhcpc, include_bytes!("fixtures/leases/udhcpc")),
];

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 18);
const FIRST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 17);

fn lease(client: Client, address: Ipv4Addr, gateway: Ipv4Addr) -> Lease {
    Lease { client, address, gateway }
}

fn replaced(file: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(file).unwrap();
    assert!(text.contains(from), "{from}");
    text.replace(from, to).into_bytes()
}

// The files.

#[test]
fn every_client_s_file_names_the_address_and_the_first_gateway() {
    for (client, file) in FILES {
        assert_eq!(lease::read(client, "eth1", file), Some(lease(client, OWN, FIRST)), "{client}");
    }
}

#[test]
fn a_file_cut_off_anywhere_never_names_another_gateway() {
    for (client, file) in FILES {
        for length in 0..file.len() {
            match lease::read(client, "eth1", &file[..length]) {
                None => {}
                Some(lease) if client == Client::Dhclient && lease.address != OWN => {
                    // The block before is whole.
                    assert_eq!(lease.gateway, Ipv4Addr::new(192, 0, 2, 30));
                }
                Some(found) => assert_eq!(found, lease(client, OWN, FIRST), "{client} at {length}"),
            }
        }
    }
}

#[test]
fn a_client_s_file_read_as_another_s_names_nothing() {
    for (client, _) in FILES {
        for (other, file) in FILES {
            let alike = [Client::Networkd, Client::Udhcpc];
            if client != other && !(alike.contains(&client) && alike.contains(&other)) {
                assert_eq!(lease::read(client, "eth1", file), None, "{other}'s as {client}'s");
            }
        }
    }
}

#[test]
fn a_gateway_that_can_be_none_is_none() {
    for gateway in
        ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.18", "", "gateway", "1.2.3"]
    {
        let file = format!("ADDRESS=192.0.2.18\nROUTER={gateway}\n");
        assert_eq!(lease::read(Client::Networkd, "eth1", file.as_bytes()), None, "{gateway:?}");
    }
    assert_eq!(lease::read(Client::Networkd, "eth1", b"ADDRESS=192.0.2.18\n"), None);
    assert_eq!(lease::read(Client::Networkd, "eth1", b"ROUTER=192.0.2.17\n"), None);
}

#[test]
fn of_networkmanager_s_file_only_the_section_of_dhcp_counts() {
    let (client, file) = FILES[1];
    for (from, to) in [("[dhcp4]", "[dhcp6]"), ("[dhcp4]\n", "[dhcp4]\n[other]\n")] {
        assert_eq!(lease::read(client, "eth1", &replaced(file, from, to)), None, "{to}");
    }
}

#[test]
fn of_dhclient_s_blocks_the_last_whole_one_of_the_interface_counts() {
    let (client, file) = FILES[3];
    let eth0 = lease(client, Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(lease::read(client, "eth0", file), Some(eth0));
    assert_eq!(lease::read(client, "eth", file), None);
    assert_eq!(lease::read(client, "eth11", file), None);
    // The end of a file that grew: what was before is a block without its beginning.
    let at = file.windows(10).position(|bytes| bytes == b"192.0.2.30").unwrap();
    assert_eq!(lease::read(client, "eth1", &file[at..]), Some(lease(client, OWN, FIRST)));
    // The last lease came without a gateway: the one before it is no help.
    let without = replaced(file, "  option routers 192.0.2.17,192.0.2.20;\n", "");
    assert_eq!(lease::read(client, "eth1", &without), None);
}

#[test]
fn of_dhcpcd_s_packet_only_whole_options_count() {
    let (client, file) = FILES[2];
    let option = file.windows(2).position(|bytes| bytes == [3, 8]).unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = file.to_vec();
        bytes[at] = byte;
        lease::read(client, "eth1", &bytes)
    };
    let alone = packet(&[], &[], &[&ROUTER]);
    assert_eq!(lease::read(client, "eth1", &alone), Some(lease(client, OWN, FIRST)));
    assert_eq!(with(option + 1, 4), None, "what follows is longer than the packet");
    assert_eq!(with(option + 1, 3), None, "three bytes are no address");
    assert_eq!(with(option + 1, 0), None);
    assert_eq!(with(option + 1, 255), None, "longer than the packet");
    assert_eq!(with(option, 0xff), None, "after the end");
    assert_eq!(with(236, 0), None, "no DHCP");
}

#[test]
fn files_are_found_by_the_names_that_the_clients_give_them() {
    let dhcpcd = ["eth1.lease", "eth1-Some phone.lease", "dhcpcd-eth1.lease", "dhcpcd-eth1-A.lease"];
    let dhclient = [
        "dhclient.leases",
        "dhclient.eth1.leases",
        "dhclient-eth1.leases",
        "dhclient--eth1.lease",
        "dhclient-f67e5287-aef9-3659-b6dd-c07cff2a247e-eth1.lease",
    ];
    let neither = [
        "eth1.lease6",
        "eth11.lease",
        "eth0.lease",
        "eth1",
        "dhclient6.eth1.leases",
        "dhclient.eth0.leases",
        "dhclient.veth1.leases",
        "dhcpd.leases",
        "dhclient",
        ".lease",
        "",
        "duid",
        "dhclienteth1.leases",
    ];
    for (client, own) in [(Client::Dhcpcd, &dhcpcd[..]), (Client::Dhclient, &dhclient[..])] {
        for name in dhcpcd.iter().chain(&dhclient).chain(&neither) {
            assert_eq!(lease::is_named_after(client, name, "eth1"), own.contains(name), "{client}: {name}");
        }
    }
}

// Classless routes (option 121), which the routers of every one of these files contradict.

/// As NetworkManager and udhcpc write them, as they came, and the gateway.
const ROUTES: [(&str, &[u8], Option<Ipv4Addr>); 10] = [
    ("0.0.0.0/0 192.0.2.21", &[0, 192, 0, 2, 21], Some(OTHER)),
    (
        "10.1.0.0/16 192.0.2.19 0.0.0.0/0 192.0.2.21",
        &[16, 10, 1, 192, 0, 2, 19, 0, 192, 0, 2, 21],
        Some(OTHER),
    ),
    // The router is no host of the subnet.
    (
        "192.0.2.21/32 0.0.0.0 0.0.0.0/0 192.0.2.21 203.0.113.128/25 192.0.2.19",
        &[32, 192, 0, 2, 21, 0, 0, 0, 0, 0, 192, 0, 2, 21, 25, 203, 0, 113, 128, 192, 0, 2, 19],
        Some(OTHER),
    ),
    ("0.0.0.0/0 192.0.2.21 0.0.0.0/0 192.0.2.19", &[0, 192, 0, 2, 21, 0, 192, 0, 2, 19], Some(OTHER)),
    ("10.1.0.0/16 192.0.2.19", &[16, 10, 1, 192, 0, 2, 19], None),
    // A default in halves is one, and counts for less than a whole one.
    (
        "0.0.0.0/1 192.0.2.21 128.0.0.0/1 192.0.2.21",
        &[1, 0, 192, 0, 2, 21, 1, 128, 192, 0, 2, 21],
        Some(OTHER),
    ),
    ("0.0.0.0/1 192.0.2.19 0.0.0.0/0 192.0.2.21", &[1, 0, 192, 0, 2, 19, 0, 192, 0, 2, 21], Some(OTHER)),
    ("0.0.0.0/0 0.0.0.0", &[0, 0, 0, 0, 0], None),
    ("0.0.0.0/0 192.0.2.18", &[0, 192, 0, 2, 18], None),
    ("", &[], None),
];

const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 21);

/// The client's file with such routes as well, in each way in which it writes them.
fn with_routes(client: Client, routes: &str, octets: &[u8]) -> Vec<Vec<u8>> {
    let (_, file) = FILES.into_iter().find(|(other, _)| *other == client).unwrap();
    let before = |line: &str, new: String| replaced(file, line, &format!("{new}\n{line}"));
    let joined = |octets: &[u8], by: &str| octets.iter().map(u8::to_string).collect::<Vec<_>>().join(by);
    match client {
        Client::Networkd => {
            let words: Vec<&str> = routes.split(' ').collect();
            let routes = words.chunks(2).map(|route| route.join(",")).collect::<Vec<_>>().join(" ");
            ["CLASSLESS_ROUTES", "ROUTES"].map(|key| before("CLIENTID=", format!("{key}={routes}"))).into()
        }
        Client::NetworkManager => ["rfc3442", "ms"]
            .into_iter()
            // Where dhclient does its work, it has the octets.
            .flat_map(|origin| [(origin, routes.to_owned()), (origin, joined(octets, " "))])
            .map(|(origin, routes)| {
                before("dhcp4.routers=", format!("dhcp4.{origin}_classless_static_routes={routes}"))
            })
            .collect(),
        Client::Dhcpcd => [121, 249].map(|option| packet(&[], &[], &[&ROUTER, &of(option, octets)])).into(),
        Client::Dhclient => {
            let hex = octets.iter().map(|octet| format!("{octet:x}")).collect::<Vec<_>>().join(":");
            [
                format!("rfc3442-classless-static-routes {}", joined(octets, ",")),
                format!("rfc3442-classless-static-routes {}", joined(octets, " ")),
                format!("unknown-121 {hex}"),
            ]
            .map(|routes| before("  option dhcp-message-type", format!("  option {routes};")))
            .into()
        }
        Client::Udhcpc => unreachable!("the hook decides"),
    }
}

const ROUTER: [u8; 6] = [3, 4, 192, 0, 2, 17];
const END: [u8; 1] = [255];

fn of(option: u8, value: &[u8]) -> Vec<u8> {
    [&[option, value.len() as u8], value].concat()
}

/// dhcpcd's packet with these fields `sname`, `file` and `options`, and the end of the last.
fn packet(sname: &[&[u8]], file: &[&[u8]], options: &[&[u8]]) -> Vec<u8> {
    let (_, packet) = FILES[2];
    let [mut sname, mut file] = [sname, file].map(|field| field.concat());
    sname.resize(64, 0);
    file.resize(128, 0);
    [&packet[..44], &sname, &file, &packet[236..240], &options.concat(), &END].concat()
}

#[test]
fn the_default_of_classless_routes_wins_and_without_one_there_is_no_gateway() {
    for client in [Client::Networkd, Client::NetworkManager, Client::Dhcpcd, Client::Dhclient] {
        for (routes, octets, gateway) in ROUTES {
            for file in with_routes(client, routes, octets) {
                let expected = gateway.map(|gateway| lease(client, OWN, gateway));
                let text = String::from_utf8_lossy(&file);
                assert_eq!(lease::read(client, "eth1", &file), expected, "{routes}: {text}");
            }
        }
    }
    // Red Hat's dhclient knows the option.
    let red_hat = |routes: &str| {
        let line = format!("  option routers 192.0.2.17;\n  option classless-static-routes {routes};");
        let file = replaced(FILES[3].1, "  option routers 192.0.2.17,192.0.2.20;", &line);
        lease::read(Client::Dhclient, "eth1", &file).map(|lease| lease.gateway)
    };
    assert_eq!(red_hat("0 192.0.2.21,25.203.0.113.128 192.0.2.19"), Some(OTHER));
    assert_eq!(red_hat("16.10.1 192.0.2.19,0 192.0.2.21"), Some(OTHER));
    assert_eq!(red_hat("16.10.1 192.0.2.19"), None);
}

#[test]
fn a_lease_of_classless_routes_alone_has_its_gateway() {
    for (client, routers) in [
        (Client::Networkd, "ROUTER=192.0.2.17 192.0.2.20\n"),
        (Client::NetworkManager, "dhcp4.routers=192.0.2.17 192.0.2.20\n"),
        (Client::Dhclient, "  option routers 192.0.2.17,192.0.2.20;\n"),
    ] {
        let (routes, octets, _) = ROUTES[1];
        for file in with_routes(client, routes, octets) {
            let without = replaced(&file, routers, "");
            assert_eq!(lease::read(client, "eth1", &without), Some(lease(client, OWN, OTHER)));
        }
    }
    let file = packet(&[], &[], &[&of(121, ROUTES[1].1)]);
    assert_eq!(lease::read(Client::Dhcpcd, "eth1", &file), Some(lease(Client::Dhcpcd, OWN, OTHER)));
}

#[test]
fn classless_routes_that_cannot_be_read_name_no_gateway() {
    for octets in [
        &[0, 192, 0, 2][..],
        &[0, 192, 0, 2, 21, 0],
        &[33, 192, 0, 2, 0, 0, 192, 0, 2, 21],
        &[0, 192, 0, 2, 21, 255],
        &[24, 10, 1, 192, 0, 2, 21],
    ] {
        let text = octets.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
        for client in [Client::NetworkManager, Client::Dhcpcd, Client::Dhclient] {
            for file in with_routes(client, &text, octets) {
                assert_eq!(lease::read(client, "eth1", &file), None, "{client}: {octets:?}");
            }
        }
    }
    for routes in [
        "0.0.0.0/0",
        "0.0.0.0/0 router",
        "0.0.0.0/33 192.0.2.21",
        "/0 192.0.2.21",
        "0.0.0.0/0 192.0.2.21 10.1.0.0/16",
        "default/0 192.0.2.21",
    ] {
        for client in [Client::Networkd, Client::NetworkManager] {
            for file in with_routes(client, routes, &[0]) {
                assert_eq!(lease::read(client, "eth1", &file), None, "{client}: {routes}");
            }
        }
    }
}

#[test]
fn a_file_with_classless_routes_cut_off_anywhere_never_names_the_router() {
    let (routes, octets, _) = ROUTES[1];
    // networkd puts a whole file in the place of the old one.
    for client in [Client::NetworkManager, Client::Dhcpcd, Client::Dhclient] {
        for file in with_routes(client, routes, octets) {
            for length in 0..file.len() {
                let found = lease::read(client, "eth1", &file[..length]).filter(|lease| lease.address == OWN);
                assert!(found.is_none_or(|lease| lease.gateway == OTHER), "{client} at {length}");
            }
        }
    }
}

#[test]
fn microsoft_s_number_counts_only_where_there_are_no_others_and_the_client_heeds_it() {
    let [standard, microsoft] = [(121, [0, 192, 0, 2, 21]), (249, [0, 192, 0, 2, 19])];
    let file = packet(&[], &[], &[&of(microsoft.0, &microsoft.1), &ROUTER, &of(standard.0, &standard.1)]);
    assert_eq!(lease::read(Client::Dhcpcd, "eth1", &file), Some(lease(Client::Dhcpcd, OWN, OTHER)));
    let line = "dhcp4.ms_classless_static_routes=0.0.0.0/0 192.0.2.19\ndhcp4.next";
    for file in with_routes(Client::NetworkManager, ROUTES[0].0, ROUTES[0].1).into_iter().take(1) {
        let found = lease::read(Client::NetworkManager, "eth1", &replaced(&file, "dhcp4.next", line));
        assert_eq!(found, Some(lease(Client::NetworkManager, OWN, OTHER)));
    }
    for (client, line, new) in [
        (Client::Networkd, "CLIENTID=", "OPTION_249=00c0000215\nCLIENTID="),
        (
            Client::Dhclient,
            "  renew 1 2026/11/23 23",
            "  option unknown-249 0:c0:0:2:15;\n  renew 1 2026/11/23 23",
        ),
    ] {
        let (_, file) = FILES.into_iter().find(|(other, _)| *other == client).unwrap();
        let found = lease::read(client, "eth1", &replaced(file, line, new));
        assert_eq!(found, Some(lease(client, OWN, FIRST)));
    }
}

#[test]
fn of_dhcpcd_s_packet_an_option_goes_on_where_it_comes_again_and_in_the_other_fields() {
    let routes = ROUTES[1].1;
    let (first, last) = routes.split_at(9);
    let [first, last] = [of(121, first), of(121, last)];
    let overload = |fields: u8| of(52, &[fields]);
    let many: Vec<u8> =
        (0..40).flat_map(|number| [24, 10, 1, number, 192, 0, 2, 19]).chain([0, 192, 0, 2, 21]).collect();
    let (start, end) = many.split_at(255);
    for (what, packet) in [
        ("at once", packet(&[], &[], &[&first, &last, &ROUTER])),
        ("between others", packet(&[], &[], &[&first, &ROUTER, &last])),
        ("longer than one may be", packet(&[], &[], &[&of(121, start), &ROUTER, &of(121, end)])),
        ("in `file`", packet(&[], &[&first, &last, &END], &[&ROUTER, &overload(1)])),
        ("in `sname`", packet(&[&first, &last, &END], &[], &[&overload(2), &ROUTER])),
        ("`file` comes before `sname`", packet(&[&last, &END], &[&first, &END], &[&overload(3), &ROUTER])),
        ("from the options on", packet(&[], &[&last, &END], &[&first, &ROUTER, &overload(1)])),
    ] {
        assert_eq!(
            lease::read(Client::Dhcpcd, "eth1", &packet),
            Some(lease(Client::Dhcpcd, OWN, OTHER)),
            "{what}"
        );
    }
    // A host name and a file name are no options, and options have an end.
    let named = packet(&[&first, &last, &END], &[&first, &last, &END], &[&ROUTER]);
    assert_eq!(lease::read(Client::Dhcpcd, "eth1", &named), Some(lease(Client::Dhcpcd, OWN, FIRST)));
    let endless = packet(&[], &[&of(121, &[0; 126])], &[&ROUTER, &overload(1)]);
    assert_eq!(lease::read(Client::Dhcpcd, "eth1", &endless), None);
}

// When they count.

fn config(backup: &str) -> Config {
    let text = format!("links: [{{name: a, interface: eth0}}, {{name: b, interface: eth1{backup}}}]");
    wanfo::core::config::read::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn address(network: &str) -> Address {
    Address {
        network: network.parse().unwrap(),
        peer: None,
        global: true,
        tentative: false,
        deprecated: false,
    }
}

fn default_route(via: &str, metric: u32) -> Route {
    Route {
        table: MAIN_TABLE,
        destination: "0.0.0.0/0".parse::<IpNetwork>().unwrap(),
        only: None,
        target: RouteTarget::Out {
            interface: "eth1".to_owned(),
            via: Some(via.parse().unwrap()),
            onlink: false,
            traits: Traits::default(),
        },
        metric,
        protocol: 16,
        preference: Preference::default(),
    }
}

/// eth1 with this address and without a default route.
fn eth1(own: &str) -> Facts {
    let interface = Interface {
        name: "eth1".to_owned(),
        altnames: Vec::new(),
        index: 3,
        up: true,
        carrier: true,
        point_to_point: false,
        addresses: vec![address(own)],
    };
    Facts { interfaces: vec![interface], ..Facts::default() }
}

fn file(interface: &str, lease: Lease) -> LeaseFile {
    LeaseFile { interface: interface.to_owned(), lease: Ok(lease) }
}

fn backup(config: &Config, facts: &Facts) -> ResolvedLink {
    gateway::survey(config, facts).remove(1)
}

fn found(config: &Config, facts: &Facts) -> Option<(IpAddr, Source)> {
    backup(config, facts).v4.ok().and_then(|way| way.via.zip(way.source))
}

#[test]
fn the_config_comes_first_then_the_default_route_then_the_leases_in_their_order() {
    let other = Ipv4Addr::new(192, 0, 2, 20);
    let mut facts = eth1("192.0.2.18/28");
    facts.leases = vec![
        file("eth1", lease(Client::Dhcpcd, OWN, FIRST)),
        file("eth1", lease(Client::Dhclient, OWN, other)),
    ];
    assert_eq!(found(&config(""), &facts), Some((FIRST.into(), Source::Lease(Client::Dhcpcd))));
    facts.routes = vec![default_route("192.0.2.21", 1024)];
    assert_eq!(found(&config(""), &facts), Some(("192.0.2.21".parse().unwrap(), Source::DefaultRoute)));
    let named = config(", gateway: 192.0.2.22");
    assert_eq!(found(&named, &facts), Some(("192.0.2.22".parse().unwrap(), Source::Config)));
    assert_eq!(found(&config(", gateway: none"), &facts), None);
}

#[test]
fn of_two_default_routes_the_one_with_the_lower_metric_names_the_gateway() {
    let mut facts = eth1("192.0.2.18/28");
    facts.routes = vec![default_route("192.0.2.20", 200), default_route("192.0.2.21", 100)];
    assert_eq!(found(&config(""), &facts).unwrap().0, "192.0.2.21".parse::<IpAddr>().unwrap());
    facts.routes.reverse();
    assert_eq!(found(&config(""), &facts).unwrap().0, "192.0.2.21".parse::<IpAddr>().unwrap());
}

#[test]
fn a_lease_counts_only_while_its_address_is_on_its_own_interface() {
    let mut facts = eth1("192.0.2.18/28");
    let other = Ipv4Addr::new(192, 0, 2, 19);
    facts.leases = vec![
        file("eth1", lease(Client::Networkd, other, FIRST)),
        file("eth0", lease(Client::Networkd, OWN, FIRST)),
    ];
    assert_eq!(found(&config(""), &facts), None);
    facts.interfaces[0].addresses.push(address("192.0.2.19/28"));
    assert_eq!(found(&config(""), &facts), Some((FIRST.into(), Source::Lease(Client::Networkd))));
}

#[test]
fn a_lease_s_gateway_outside_the_subnet_is_used_on_link() {
    let mut facts = eth1("192.0.2.18/32");
    facts.leases = vec![file("eth1", lease(Client::Dhclient, OWN, FIRST))];
    assert!(backup(&config(""), &facts).v4.unwrap().onlink);
}

#[test]
fn leases_are_asked_for_only_where_nothing_else_knows_the_gateway() {
    let asked = |config: &Config, facts: &Facts| gateway::in_need_of_a_lease(config, facts).len();
    let needy = eth1("192.0.2.18/28");
    assert_eq!(asked(&config(""), &needy), 1);
    for named in [", gateway: none", ", gateway: 192.0.2.17"] {
        assert_eq!(asked(&config(named), &needy), 0, "{named}");
    }
    let mut with_route = needy.clone();
    with_route.routes = vec![default_route("192.0.2.17", 0)];
    assert_eq!(asked(&config(""), &with_route), 0);
    for (what, change) in [
        ("administratively down", (|eth1: &mut Interface| eth1.up = false) as fn(&mut Interface)),
        ("point-to-point", |eth1| eth1.point_to_point = true),
        ("without an address", |eth1| eth1.addresses.clear()),
        ("without a lease", |eth1| eth1.addresses = vec![address("169.254.7.8/16")]),
        ("somebody else's", |eth1| eth1.name = "lan".to_owned()),
    ] {
        let mut facts = needy.clone();
        change(&mut facts.interfaces[0]);
        assert_eq!(asked(&config(""), &facts), 0, "{what}");
    }
}

#[test]
fn an_address_that_a_host_gave_itself_is_no_lease() {
    let fault = |facts: &Facts, config: &Config| backup(config, facts).v4.map_err(|why| why.to_string());
    let said = "interface eth1 has no IPv4 address but a link-local one (169.254.7.8)";
    let mut facts = eth1("169.254.7.8/16");
    facts.routes = vec![default_route("169.254.0.1", 0)];
    assert_eq!(fault(&facts, &config("")).unwrap_err(), said);
    assert_eq!(fault(&facts, &config(", gateway: 192.0.2.17")).unwrap_err(), said);
    // As dhcpcd and networkd mark it.
    facts.interfaces[0].addresses[0].global = false;
    assert_eq!(fault(&facts, &config("")).unwrap_err(), said);
    facts.interfaces[0].addresses[0].global = true;
    assert!(fault(&facts, &config(", gateway: 169.254.0.1")).is_ok(), "the admin means it");
    facts.interfaces[0].point_to_point = true;
    assert!(fault(&facts, &config("")).is_ok(), "a tunnel's");

    let mut beside = eth1("192.0.2.18/28");
    beside.interfaces[0].addresses.push(address("169.254.7.8/16"));
    beside.routes = vec![default_route("192.0.2.17", 0)];
    assert_eq!(backup(&config(""), &beside).addresses(), [IpAddr::from(OWN)]);
}

#[test]
fn a_file_that_is_not_used_is_a_problem_only_where_it_would_have_been_needed() {
    let why = "the lease file /var/lib/dhcp/dhclient.leases is not used: everybody can write it";
    let mut facts = eth1("192.0.2.18/28");
    facts.leases = vec![LeaseFile { interface: "eth1".to_owned(), lease: Err(why.to_owned()) }];
    let problems = |facts: &Facts| {
        let config = config("");
        let told = problems::of_links(&config, &View::of(&config, facts.clone()));
        told[1..].iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let said = problems(&facts);
    assert!(
        said.contains("b: no IPv4 gateway is known for eth1") && said.contains(&format!("b: {why}")),
        "{said}"
    );
    assert!(said.contains("systemd-networkd, NetworkManager, dhcpcd, dhclient"), "{said}");
    facts.leases.push(file("eth1", lease(Client::Udhcpc, OWN, FIRST)));
    assert_eq!(problems(&facts), "");
}
