//! A WireGuard tunnel over LTE, with two real ends.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::TcpMaxSeg};

use crate::lab::{
    self, Line, Namespace, SERVICE, SERVICE6, gateway, router_address, router_address6, transit,
};
use crate::site::{Running, Site, end, host, load_nft, shipped, strip, talk, wait_until};

/// What leaves the router where it should not. `cable`: the tunnel's own packets; `naked`: anything over LTE but these
/// and probes; `lan`: of the LAN over the cable.
const WATCH: &str = r#"
table inet watch {
    counter cable {}
    counter tunnel {}
    counter naked {}
    counter lan {}
    chain out {
        type filter hook postrouting priority 300
        oifname "eth0" udp dport 51820 counter name cable
        iifname "lan" oifname "eth0" counter name lan
        oifname "wwan0" udp dport 51820 counter name tunnel accept
        oifname "wwan0" icmp type echo-request accept
        oifname "wwan0" counter name naked
    }
}
"#;

/// Line 3 is that of the static end.
pub struct Tunnelled {
    pub site: Site,
    static_end: Namespace,
}

impl Tunnelled {
    pub fn begin() -> Tunnelled {
        lab::need(&["wg", "wg-quick", "wireguard-go", "/dev/net/tun", "unshare"]);
        let static_end = host("static end");
        let site = Site::with_more_ends("wireguard-lte", &["eth0", "wwan0"], &[end(&static_end, "eth0")]);
        // Without IPv6, as many carriers have it.
        strip(&site.router, "wwan0");
        site.router.sysctl("net.ipv6.conf.wwan0.disable_ipv6", "1");

        let [router_key, static_key] = [private_key(), private_key()];
        let configs = [(&site.router, "router.conf"), (&static_end, "static-end.conf")];
        for (host, config) in configs {
            let config = shipped(&format!("wireguard-lte/{config}"))
                .replace("ROUTER_PRIVATE_KEY", &router_key)
                .replace("ROUTER_PUBLIC_KEY", &public_key(&router_key))
                .replace("STATIC_END_PRIVATE_KEY", &static_key)
                .replace("STATIC_END_PUBLIC_KEY", &public_key(&static_key));
            host.write("/etc/wireguard/wg0.conf", &config);
        }
        load_nft(&site.router, &shipped("wireguard-lte/router.nft"));
        load_nft(&static_end, &shipped("wireguard-lte/static-end.nft"));
        load_nft(&site.router, WATCH);
        site.apply_sysctls(&static_end, "/etc/sysctl.d/90-static-end.conf");
        let tunnelled = Tunnelled { site, static_end };
        tunnelled.site.internet.sysctl("net.ipv4.ip_forward", "1");
        [1, 2, 3].into_iter().for_each(|line| tunnelled.connect(line));
        tunnelled.lease();
        tunnelled
    }

    /// What a DHCP client does for wwan0.
    fn lease(&self) {
        self.site.router.ip(&format!("address add {}/28 dev wwan0", router_address(2)));
        self.site.router.ip(&format!("route add default via {} dev wwan0 metric 200", gateway(2)));
    }

    /// In the lab no provider's customer reaches another's, unless told how.
    fn connect(&self, line: Line) {
        for customer in [1, 2, 3].into_iter().filter(|customer| *customer != line) {
            let (to, via) = (router_address(customer), transit(line, 2));
            self.site.provider(line).ip(&format!("route replace {to} via {via}"));
        }
    }

    fn repair(&self, line: Line) {
        self.site.repair(line);
        self.connect(line);
    }

    pub fn raise_both_ends(&self) -> [Running; 2] {
        [&self.static_end, &self.site.router].map(wg_quick_up)
    }

    /// Packets that a counter of `WATCH` has seen.
    fn seen(&self, counter: &str) -> u64 {
        let output =
            self.site.router.command("nft").args(["list", "counter", "inet", "watch", counter]).output();
        let shown = String::from_utf8(output.expect("nft starts").stdout).expect("text");
        let mut words = shown.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).unwrap_or_else(|| panic!("no counter {counter}: {shown}")).parse().expect("a number")
    }

    /// A question from the Internet to the static end's port 443, answered by the server in the LAN.
    fn ask_from_outside(&self, static_address: impl Into<IpAddr>, lan_host: &str) -> io::Result<TcpStream> {
        let at = SocketAddr::new(lan_host.parse().expect("an address"), 443);
        talk(&self.site.internet, (static_address.into(), 443).into(), &self.site.client, at)
    }

    /// A question of a host in the LAN.
    fn ask_from_inside(&self, service: impl Into<IpAddr>) -> io::Result<TcpStream> {
        let web = SocketAddr::new(service.into(), 80);
        talk(&self.site.client, web, &self.site.internet, web)
    }
}

/// The largest segment that the server sends is that which it was told by the client, and by those in between.
#[track_caller]
fn assert_fits_the_tunnel(server: io::Result<TcpStream>, headers: u32) {
    let segment = getsockopt(&server.expect("an answer"), TcpMaxSeg).expect("a connected socket");
    assert!(segment <= 1340 - headers, "{segment}");
}

fn private_key() -> String {
    let output = Command::new("wg").arg("genkey").output().expect("wg (package wireguard-tools) starts");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn public_key(private_key: &str) -> String {
    let mut wg =
        Command::new("wg").arg("pubkey").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("wg");
    wg.stdin.take().expect("a pipe").write_all(private_key.as_bytes()).expect("wg reads");
    let mut key = String::new();
    wg.stdout.take().expect("a pipe").read_to_string(&mut key).expect("text");
    wg.wait().expect("wg ends");
    key.trim().to_owned()
}

/// Where the kernel has no WireGuard, wg-quick leaves a wireguard-go in the background: in a process namespace it ends
/// together with what is returned, and wg0 with it.
fn wg_quick_up(host: &Namespace) -> Running {
    let raise =
        "wg-quick up wg0 > /run/said 2>&1; echo $? > /run/code; mv /run/code /run/ended; exec sleep infinity";
    let wg0 =
        Running::start(host.command("unshare").args(["--pid", "--fork", "--kill-child", "sh", "-c", raise]));
    let read = |path: &'static str| host.run(|| fs::read_to_string(path));
    wait_until("wg-quick", || read("/run/ended").is_ok());
    assert_eq!(read("/run/ended").expect("a code"), "0\n", "{}", read("/run/said").unwrap_or_default());
    wg0
}

pub fn a_tunnel_over_lte_carries_the_lan_and_bare_lte_is_the_last_resort() {
    let tunnelled = Tunnelled::begin();
    let site = &tunnelled.site;
    // The boot is over when the tunnel comes up.
    site.check();
    let _ends = tunnelled.raise_both_ends();
    site.comes_up("tunnel", || ());
    assert_eq!(site.problems(), "");
    assert_eq!(site.active(), "cable");
    site.assert_lan_is_served_over(1);
    assert!(tunnelled.seen("tunnel") > 0);
    let from_outside = tunnelled.ask_from_outside(router_address(3), "192.0.2.242");
    assert!(from_outside.is_err(), "the answers leave by the cable");

    // LTE loses its lease; then not even a first packet goes by the cable.
    site.router.ip("address flush dev wwan0");
    site.let_pass(Duration::from_secs(60));
    site.check_until("a tunnel that is down", |status| status["links"][1]["up"] == false);
    assert_eq!(site.active(), "cable");
    tunnelled.lease();
    site.comes_up("lte", || ());
    site.comes_up("tunnel", || ());

    site.cut_silently(1);
    site.fail_over("cable", "tunnel");
    let lan_over_cable = tunnelled.seen("lan");
    site.assert_lan_is_served_over(3);
    assert_fits_the_tunnel(tunnelled.ask_from_inside(SERVICE), 40);
    assert_fits_the_tunnel(tunnelled.ask_from_inside(SERVICE6), 60);
    assert_fits_the_tunnel(tunnelled.ask_from_outside(router_address(3), "192.0.2.242"), 40);
    assert_fits_the_tunnel(tunnelled.ask_from_outside(router_address6(3), "2001:db8:f::2"), 60);
    assert_eq!(tunnelled.seen("naked"), 0);
    assert_eq!(tunnelled.seen("lan"), lan_over_cable);

    // The static end falls silent; wg0 itself is as before.
    site.cut_silently(3);
    site.fail_over("tunnel", "lte");
    site.assert_served_over(2, SERVICE);
    site.assert_ipv6_is_refused_at_once();
    tunnelled.repair(3);
    site.comes_up("tunnel", || ());
    assert_eq!(site.active(), "tunnel");
    site.assert_lan_is_served_over(3);

    tunnelled.repair(1);
    site.comes_back("cable");
    site.assert_lan_is_served_over(1);
    assert_eq!(tunnelled.seen("cable"), 0);
}

pub fn a_tunnel_that_is_there_before_the_first_run_moves_to_lte_and_goes_by_itself() {
    let tunnelled = Tunnelled::begin();
    let site = &tunnelled.site;
    let [_static_end, router_end] = tunnelled.raise_both_ends();
    wait_until("a handshake over the cable", || tunnelled.seen("cable") > 0);
    site.check();
    let by_cable = tunnelled.seen("cable");
    site.check_until("a tunnel that is up", |status| status["links"][1]["up"] == true);
    site.cut_silently(1);
    site.fail_over("cable", "tunnel");
    site.assert_lan_is_served_over(3);
    assert_eq!(tunnelled.seen("cable"), by_cable);

    // Down with all of wg0.
    drop(router_end);
    let is_there = || site.router.run(|| fs::exists("/sys/class/net/wg0").expect("a look"));
    wait_until("the end of wg0", || !is_there());
    site.check();
    assert_eq!(site.active(), "lte");
    site.assert_served_over(2, SERVICE);
    site.assert_ipv6_is_refused_at_once();
}
