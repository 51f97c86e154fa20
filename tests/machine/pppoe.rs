//! PPPoE: Debian's pppd dials a real access concentrator.

use std::fs::read_to_string;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Line, Namespace, SERVICE, gateway};
use crate::site::{Running, Site, end, host, shipped, wait_until};

/// Where the provider's network meets customers who dial in.
struct Concentrator {
    host: Namespace,
    server: Option<Running>,
}

impl Concentrator {
    /// Its port on the customers' side is `access`.
    fn on(host: Namespace) -> Concentrator {
        host.sysctl("net.ipv4.ip_forward", "1");
        // The customer's address is one of the line's subnet.
        host.sysctl("net.ipv4.conf.all.proxy_arp", "1");
        host.write("/etc/ppp/customers", "require-chap\nlcp-echo-interval 5\nlcp-echo-failure 3\n");
        host.write("/etc/ppp/chap-secrets", "\"customer@example.com\" * \"secret\" *\n");
        let mut concentrator = Concentrator { host, server: None };
        concentrator.open();
        concentrator
    }

    fn open(&mut self) {
        let mut server = self.host.command("pppoe-server");
        server.args([
            "-F",
            "-I",
            "access",
            "-L",
            "192.0.2.19",
            "-R",
            "192.0.2.21",
            "-N",
            "1",
            "-O",
            "/etc/ppp/customers",
        ]);
        server.stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(Running::start(&mut server));
    }

    /// Nobody is answered any more, and the sessions are over.
    fn close(&mut self) {
        self.server = None;
        self.drop_sessions();
    }

    fn drop_sessions(&self) {
        let sessions = self.sessions();
        assert!(!sessions.is_empty(), "there is no session");
        for session in sessions {
            let _ = kill(session, Signal::SIGTERM);
        }
        wait_until("the end of the sessions", || self.sessions().is_empty());
    }

    /// The pppd of each session, of which there is one, leaves its number in its interface's file.
    fn sessions(&self) -> Vec<Pid> {
        let number = self.host.run(|| read_to_string("/run/ppp0.pid")).ok();
        let process = number.and_then(|number| number.trim().parse().ok()).map(Pid::from_raw);
        process.into_iter().filter(|process| kill(*process, None).is_ok()).collect()
    }
}

/// eth1.
const LTE: Line = 1;
/// Ends at the concentrator, to which eth0 leads.
const DSL: Line = 2;

fn site() -> (Site, Concentrator) {
    let concentrator = host("concentrator");
    let site = Site::with_more_ends("pppoe", &["eth1"], &[end(&concentrator, "uplink")]);
    site.router.ip(&format!("link add eth0 type veth peer name access netns {}", concentrator.path()));
    site.router.ip("link set eth0 up");
    concentrator.ip("link set access up");
    site.load_nft(&site.router, "/etc/nftables.conf");
    site.router.write("/etc/ppp/peers/dsl", &site.file_on_page("/etc/ppp/peers/dsl"));
    site.router.write("/etc/ppp/chap-secrets", "\"customer@example.com\" * \"secret\" *\n");
    (site, Concentrator::on(concentrator))
}

fn dial(site: &Site) -> Running {
    let pppd =
        Running::start(site.router.command("pppd").args(["call", "dsl", "nodetach"]).stdout(Stdio::null()));
    wait_until("a line", || is_connected(site));
    pppd
}

fn is_connected(site: &Site) -> bool {
    site.router.ip("-4 -brief address show").contains("ppp0 ")
}

fn index(site: &Site) -> String {
    let shown = site.router.ip("-o link show dev ppp0");
    shown.split(':').next().expect("an index").to_owned()
}

pub fn a_pppoe_line_that_hangs_up_is_left_at_once_and_taken_again_under_another_index() {
    let (site, mut concentrator) = site();
    let pppd = dial(&site);
    site.check();
    assert_eq!(site.problems(), "");
    assert_eq!((site.active().as_str(), site.link("dsl")["up"].clone()), ("dsl", true.into()));
    assert!(site.link("dsl")["gateway"].is_null(), "{}", site.link("dsl"));
    site.assert_served_over(DSL, SERVICE);
    // pppd sets no default route, as eth1 has one.
    assert!(!has_default_route(&site));
    let calm = site.ours();

    // The provider hangs up, and does not answer for a while.
    let first = index(&site);
    concentrator.close();
    wait_until("the end of the line", || !is_connected(&site));
    site.check();
    assert_eq!(site.active(), "lte");
    site.assert_served_over(LTE, SERVICE);
    let problems = site.problems();
    assert!(problems.contains("ppp0"), "{problems}");

    // pppd has gone on dialling, and sets its default route.
    concentrator.open();
    wait_until("a line", || is_connected(&site));
    println!("index of ppp0: {first}, after pppd dialled again {}", index(&site));
    site.check();
    assert_eq!(site.active(), "lte");
    site.assert_served_over(LTE, SERVICE);
    site.comes_back("dsl");
    site.assert_served_over(DSL, SERVICE);
    assert_eq!(calm, site.ours());

    // Another pppd, another interface.
    let second = index(&site);
    drop(pppd);
    wait_until("the end of the line", || !is_connected(&site));
    site.check();
    assert_eq!(site.active(), "lte");
    site.assert_served_over(LTE, SERVICE);
    let _pppd = dial(&site);
    assert_ne!(second, index(&site));
    site.comes_back("dsl");
    site.assert_served_over(DSL, SERVICE);
    assert_eq!(calm, site.ours());
}

/// At every dial pppd sets a default route that is better than any other; here it does, as eth1 has none.
pub fn a_pppoe_line_that_falls_silent_is_left_and_the_default_route_of_the_next_dial_undoes_nothing() {
    let (site, concentrator) = site();
    site.router.ip("-4 route del default dev eth1");
    let with_gateway = format!("interface: eth1\n    gateway: {}", gateway(LTE));
    site.router
        .write("/etc/wanfo/wanfo.yaml", &shipped("pppoe.yaml").replace("interface: eth1", &with_gateway));
    let _pppd = dial(&site);
    wait_until("pppd's route", || has_default_route(&site));
    site.check();
    assert_eq!(site.problems(), "");
    assert!(ipv4_in_main(&site).is_empty(), "{:?}", ipv4_in_main(&site));
    site.cut_silently(DSL);
    site.fail_over("dsl", "lte");
    site.assert_served_over(LTE, SERVICE);
    for _ in 0..2 {
        concentrator.drop_sessions();
        wait_until("the end of the line", || !has_default_route(&site));
        wait_until("pppd's route", || has_default_route(&site));
        site.assert_served_over(LTE, SERVICE);
        site.check();
        assert_eq!(site.active(), "lte");
        site.assert_served_over(LTE, SERVICE);
    }
    site.repair(DSL);
    site.comes_back("dsl");
    site.assert_served_over(DSL, SERVICE);
    assert!(ipv4_in_main(&site).is_empty(), "{:?}", ipv4_in_main(&site));
}

/// Ours for the default traffic; that of IPv6 is refused, for the dialled line has none and the LTE router has.
fn ipv4_in_main(site: &Site) -> Vec<String> {
    site.ours_in_main().into_iter().filter(|route| route.starts_with("-4 ")).collect()
}

fn has_default_route(site: &Site) -> bool {
    site.router.ip("-4 route show default").contains("default dev ppp0")
}
