//! A 4G/LTE modem in router mode, with its own NAT.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use crate::lab::{self, Namespace, SERVICE, router_address};
use crate::site::{Site, end, host, load_nft, talk};
use crate::story::beyond_the_silence;

const PAGE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 8, 1)), 80);

/// What the modem does; it counts what goes over the air.
const NAT: &str = r#"
table ip modem {
    counter up {}
    counter down {}
    chain out { type nat hook postrouting priority srcnat; oifname "air" masquerade; }
    chain air {
        type filter hook forward priority filter
        oifname "air" counter name up
        iifname "air" counter name down
    }
}
"#;

const USED_UP: &str =
    "table ip plan { chain air { type filter hook forward priority filter; ip protocol tcp drop; }; }";

/// A site and its modem. Nobody has touched eth1 yet.
pub fn site() -> (Site, Namespace) {
    // It comes with checks.
    lab::need_users();
    let modem = host("modem");
    let site = Site::with_more_ends("lte-router", &["eth0"], &[end(&modem, "air")]);
    site.router.ip(&format!("link add eth1 type veth peer name lan netns {}", modem.path()));
    modem.ip("link set lan up");
    modem.ip("address add 192.168.8.1/24 dev lan");
    modem.sysctl("net.ipv4.ip_forward", "1");
    load_nft(&modem, NAT);
    site.load_nft(&site.router, "/etc/nftables.conf");
    // Whom the checks ask.
    let server = site.internet.run(|| TcpListener::bind((SERVICE, 443))).expect("a port of its own");
    thread::spawn(move || server.incoming().for_each(drop));
    (site, modem)
}

/// The carrier lets pings pass, and nothing else.
pub fn a_modem_whose_plan_is_used_up_is_found_out_and_not_switched_to() {
    let (site, modem) = site();
    site.check();
    assert_eq!((site.problems(), &site.link("lte")["up"]), (String::new(), &true.into()));
    load_nft(&modem, USED_UP);
    // It is asked every ten minutes while it waits, and again with its next probe where a check has failed.
    for pause in [601, 61] {
        site.let_pass(Duration::from_secs(pause));
        site.check();
    }
    assert_eq!(site.link("lte")["up"], false, "{}", site.link("lte"));
    site.cut_silently(1);
    beyond_the_silence(|| drop(site.check()));
    assert_eq!(site.active(), "cable");
}

pub fn an_lte_modem_in_router_mode_takes_over_and_shows_its_page_all_the_time() {
    let (site, modem) = site();
    let page = || talk(&site.client, PAGE, &modem, PAGE).expect("the modem's web page");
    let web = SocketAddr::from((SERVICE, 80));
    site.check();
    assert_eq!(site.problems(), "");
    assert_eq!(site.link("lte")["up"], true);
    site.assert_lan_is_served_over(1);
    page();

    site.cut_silently(1);
    site.fail_over("cable", "lte");
    site.assert_served_over(2, SERVICE);
    site.assert_ipv6_is_refused_at_once();
    let seen = talk(&site.client, web, &site.internet, web).expect("TCP over the modem").peer_addr();
    assert_eq!(seen.expect("a client").ip(), IpAddr::from(router_address(2)), "the modem's own address");
    page();

    // The carrier is out of order; the modem still answers.
    site.cut_silently(2);
    site.check_until("a backup that is down", |status| status["links"][1]["up"] == false);
    page();
    site.repair(1);
    site.check_until_active("cable");
    site.assert_lan_is_served_over(1);
    page();
}
