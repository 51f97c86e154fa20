//! A backup that is a second router in the LAN.

use std::net::SocketAddr;

use crate::lab::{Namespace, SERVICE};
use crate::site::{Site, end, host, load_nft, masquerade, switch, talk, wait_until};

/// The second router has line 2. Nobody has configured this router's LAN port yet.
fn site() -> (Site, Namespace) {
    let second_router = host("second router");
    let site = Site::with_more_ends("second-router", &["eth0"], &[end(&second_router, "wan")]);
    site.router.ip("link delete lan");
    let switch = switch(&[(&site.router, "lan"), (&site.client, "eth0"), (&second_router, "lan")]);
    site.router.ip("address add 2001:db8:f::1/64 dev lan");
    site.client.ip("address add 2001:db8:f::2/64 dev eth0");
    site.client.ip("address add 192.0.2.242/28 dev eth0");
    site.client.ip("route add default via 192.0.2.241");
    site.client.ip("route add default via 2001:db8:f::1");

    second_router.ip("address add 192.0.2.253/28 dev lan");
    masquerade(&second_router, "wan");
    site.load_nft(&site.router, "/etc/nftables.conf");
    (site, switch)
}

fn configure_the_lan_port(site: &Site) {
    site.router.ip("address add 192.0.2.241/28 dev lan");
}

/// How many times the host was told of a better gateway (RFC 2011, icmpInRedirects).
fn redirects(host: &Namespace) -> u64 {
    let snmp = host.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp")).expect("counters");
    let mut icmp = snmp.lines().filter(|line| line.starts_with("Icmp: ")).map(str::split_whitespace);
    let (names, values) = (icmp.next().expect("names"), icmp.next().expect("values"));
    let value = names.zip(values).find(|(name, _)| *name == "InRedirects").expect("a counter").1;
    value.parse().expect("a number")
}

pub fn a_second_router_in_the_lan_takes_over_and_gives_back() {
    let (site, _switch) = site();
    configure_the_lan_port(&site);
    site.check();
    assert_eq!(site.problems(), "");
    assert_eq!(site.link("second-router")["interface"], "lan");
    site.assert_lan_is_served_over(1);
    site.cut_silently(1);
    site.fail_over("fibre", "second-router");
    site.assert_served_over(2, SERVICE);
    site.assert_ipv6_is_refused_at_once();
    // What a firewall that knows of connections does with half of one.
    load_nft(
        &site.router,
        "table ip filter { chain forward { type filter hook forward priority filter; ct state invalid drop; }; }",
    );
    let web = SocketAddr::from((SERVICE, 80));
    talk(&site.client, web, &site.internet, web).expect("TCP over the second router");
    // The kernel tells of the shorter way at intervals, so not of every packet.
    let meter = site.meter(SERVICE);
    wait_until("answers", || meter.answers() > 10);
    assert_eq!(redirects(&site.client), 0);
    site.repair(1);
    site.comes_back("fibre");
    site.assert_lan_is_served_over(1);
}

pub fn a_gateway_in_no_subnet_is_a_problem_that_heals_by_itself() {
    let (site, _switch) = site();
    for _ in 0..2 {
        site.check();
        assert_eq!(site.active(), "fibre");
        let problems = site.problems();
        assert!(
            problems
                .contains("second-router: no interface has an address in the subnet of gateway 192.0.2.253"),
            "{problems}"
        );
    }
    assert_eq!(site.link("second-router")["up"], false);
    assert!(site.succeeds(&["status"]).stdout.contains("in the subnet of gateway 192.0.2.253"));
    configure_the_lan_port(&site);
    site.comes_up("second-router", || ());
    assert_eq!(site.problems(), "");
    site.cut_silently(1);
    site.fail_over("fibre", "second-router");
    site.assert_served_over(2, SERVICE);

    // It goes as it came.
    site.router.ip("address del 192.0.2.241/28 dev lan");
    site.check();
    assert_eq!(site.link("second-router")["up"], false);
    assert!(site.problems().contains("no link is up"), "{}", site.problems());
    configure_the_lan_port(&site);
    site.check_until("a backup that is up", |status| status["links"][1]["up"] == true);
    assert_eq!(site.active(), "second-router");
    site.assert_served_over(2, SERVICE);
}
