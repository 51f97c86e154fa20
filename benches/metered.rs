//! `cargo bench --bench metered`: what a waiting backup costs on a metered line. Prints tables, and asserts that one with a check
//! of each kind stays under 0.5 MB a day.
//!
//! Runs in the lab of network namespaces (see tests/lab/mod.rs), so the machine's own network is not touched.

#[path = "../tests/lab/mod.rs"]
mod lab;
#[allow(dead_code, reason = "not all of it is used in here")]
#[path = "../tests/examples/lte_router.rs"]
mod lte_router;
#[allow(dead_code, reason = "not all of it is used in here")]
#[path = "../tests/examples/site.rs"]
mod site;
#[path = "../tests/router/story.rs"]
mod story;
#[allow(dead_code, reason = "not all of it is used in here")]
#[path = "../tests/examples/wireguard_lte.rs"]
mod wireguard_lte;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use lab::{Namespace, SERVICE};
use site::{Running, Site};

/// From the start of one run to the start of the next: OnUnitActiveSec= of systemd/wanfo.timer.
const BEAT: Duration = Duration::from_secs(2);
/// How many probes are measured.
const PROBES: u32 = 5;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a waiting link is asked its checks (src/core/checking.rs).
const WAITING: Duration = Duration::from_secs(10 * 60);

/// What the checks ask for, one of each kind.
const CHECKS: [(&str, &str); 3] = [
    ("dns", "{dns: 203.0.113.80, name: www.example.com, answer: 203.0.113.80}"),
    ("tcp", "{tcp: 203.0.113.80, port: 443}"),
    ("http", "{http: 203.0.113.80, host: www.example.com, path: /alive}"),
];

/// What a web server answers that has nothing to say.
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 14:03:11 GMT\r\n\
                          Connection: close\r\n\r\n";

/// For how long a tunnel is watched, since WireGuard's clock cannot be put forward: two new handshakes come by.
const WATCHED: Duration = Duration::from_secs(240);

fn main() {
    if !lab::entered() {
        return;
    }
    modem_in_router_mode();
    service_checks();
    tunnel();
}

/// Checks over the modem of examples/lte-router, which waits, beside its two targets.
fn service_checks() {
    let (site, modem) = lte_router::site();
    let _dnsmasq = serve(&site);
    let all = CHECKS.map(|(_, check)| check).join(", ");
    let round = |checks: &str| round(&site, &modem, checks);
    let probe = round("");
    let (probes_a_day, rounds_a_day) = (DAY.as_secs() / 60, DAY.as_secs() / WAITING.as_secs());
    println!(
        "\nService checks over the waiting modem of examples/lte-router.yaml, beside its two targets, which are probed"
    );
    println!(
        "every 60 s. Measured: the IP packets of one round between modem and carrier, in both directions, less those"
    );
    println!("of the targets. A day is a round times {rounds_a_day}, which is not measured.");
    println!("{:<36}{:>12}{:>14}", "checks", "a round", "a day");
    let row = |name: &str, bytes: u64| {
        let day = (bytes * rounds_a_day) as f64;
        println!("  {name:<34}{bytes:>10} B{:>11.0} kB", day / 1e3);
        day
    };
    for (kind, check) in CHECKS {
        row(kind, round(check) - probe);
    }
    let day = row("one of each", round(&all) - probe) + (probe * probes_a_day) as f64;
    println!("  {:<34}{:>23.0} kB", "with the two targets, all told", day / 1e3);
    site.internet.ip(&format!("address del {SERVICE}/32 dev lo"));
    site.internet.ip(&format!("route add blackhole {SERVICE}"));
    row("one of each, where nobody answers", round(&all) - probe);
    assert!(day < 0.5e6, "a waiting metered link has 0.5 MB a day");
}

/// What one round takes of the modem's air, with the probes of its two targets, where both links have these checks.
fn round(site: &Site, modem: &Namespace, checks: &str) -> u64 {
    let config = site::shipped("lte-router.yaml");
    let lines = config.lines().map(|line| match line.split_once("checks: ") {
        Some((before, _)) => format!("{before}checks: [{checks}]\n"),
        None => format!("{line}\n"),
    });
    site.router.write("/etc/wanfo/wanfo.yaml", &lines.collect::<String>());
    let mut used = 0;
    // The first is another one where they have failed, or were not known.
    for _ in 0..2 {
        site.let_pass(WAITING + Duration::from_secs(1));
        let before = ip_bytes(modem, "modem");
        site.check();
        // The last packets of a connection.
        sleep(Duration::from_secs(1));
        used = ip_bytes(modem, "modem") - before;
    }
    used
}

/// Whom the checks ask; who takes connections at port 443 is there already.
fn serve(site: &Site) -> Running {
    lab::need(&["dnsmasq"]);
    let mut dnsmasq = site.internet.command("dnsmasq");
    let fixed = "--conf-file=/dev/null --keep-in-foreground --no-resolv --no-hosts --user= --group= --pid-file= \
                 --bind-interfaces --listen-address=203.0.113.80 --address=/www.example.com/203.0.113.80";
    let dnsmasq = Running::start(dnsmasq.args(fixed.split_whitespace()).stderr(Stdio::null()));
    let web = site.internet.run(|| TcpListener::bind((SERVICE, 80))).expect("a port of its own");
    thread::spawn(move || {
        for stream in web.incoming() {
            let mut stream = stream.expect("a client");
            let _ = stream.read(&mut [0; 1024]).and_then(|_| stream.write_all(NO_CONTENT.as_bytes()));
        }
    });
    sleep(Duration::from_secs(1));
    dnsmasq
}

fn modem_in_router_mode() {
    let (site, modem) = lte_router::site();
    // The first run brings eth1 up.
    site.check();
    for (host, interface) in [(&site.router, "eth1"), (&modem, "lan")] {
        // How long the kernel goes on with a stale neighbour before it asks for it: 5 s, which nothing here hangs on.
        host.sysctl(&format!("net.ipv4.neigh.{interface}.delay_first_probe_time"), "1");
    }
    // IPv6 introduces itself on a new interface.
    sleep(Duration::from_secs(10));

    let settings = site.succeeds(&["config", "--effective"]).stdout;
    let settings: serde_yaml::Value = serde_yaml::from_str(&settings).expect("YAML");
    let lte = &settings["links"][1];
    let targets = lte["targets"].as_sequence().expect("targets").len() as u64;
    let interval = lte["standby_interval"].as_str().expect("a duration");
    let interval = humantime::parse_duration(interval).expect("a duration");

    let before = Bytes::now(&site, &modem);
    let (mut seen, mut probes, mut runs) = (before, 0, 0);
    while probes < PROBES {
        make_neighbours_stale(&site.router, "eth1");
        make_neighbours_stale(&modem, "lan");
        site.let_pass(BEAT);
        site.check();
        runs += 1;
        let now = Bytes::now(&site, &modem);
        if now.air != seen.air {
            seen = now;
            probes += 1;
            // Until the neighbours have asked for each other.
            sleep(Duration::from_millis(2500));
        }
    }
    let used = Bytes::now(&site, &modem).since(before);
    report(&used, runs, targets, interval);
}

/// The tunnel of examples/wireguard-lte and the bare LTE behind it, both waiting.
fn tunnel() {
    let tunnelled = wireguard_lte::Tunnelled::begin();
    let site = &tunnelled.site;
    site::load_nft(
        &site.router,
        "table ip air {
            counter up {}
            counter down {}
            chain out { type filter hook postrouting priority 300; oifname wwan0 counter name up; }
            chain in { type filter hook prerouting priority -300; iifname wwan0 counter name down; }
        }",
    );
    site.check();
    let _ends = tunnelled.raise_both_ends();
    site.comes_up("tunnel", || ());
    let before = ip_bytes(&site.router, "air");
    let start = Instant::now();
    while start.elapsed() < WATCHED {
        site.check();
        sleep(BEAT);
    }
    let used = ip_bytes(&site.router, "air") - before;
    let day = used as f64 * DAY.as_secs_f64() / start.elapsed().as_secs_f64();
    println!(
        "\nA waiting tunnel and bare LTE behind it, as in examples/wireguard-lte.yaml: {used} bytes of IP packets over LTE"
    );
    println!(
        "in {:.0} s, measured with a run every {} s: {:.0} kB a day, {:.1} MB in 30 days.",
        start.elapsed().as_secs_f64(),
        BEAT.as_secs(),
        day / 1e3,
        day * 30.0 / 1e6
    );
}

/// What the counters of a host's table have seen.
fn ip_bytes(host: &Namespace, table: &str) -> u64 {
    let output = host.command("nft").args(["list", "counters", "table", "ip", table]).output();
    let shown = String::from_utf8(output.expect("nft starts").stdout).expect("text");
    let words: Vec<&str> = shown.split_whitespace().collect();
    let bytes = words.windows(2).filter(|pair| pair[0] == "bytes").map(|pair| pair[1].parse::<u64>());
    bytes.sum::<Result<u64, _>>().expect("numbers")
}

/// As they are when a minute has passed since the last packet.
fn make_neighbours_stale(host: &Namespace, interface: &str) {
    let neighbours = host.ip(&format!("-4 neigh show dev {interface}"));
    for line in neighbours.lines() {
        if let [address, "lladdr", mac, ..] = line.split_whitespace().collect::<Vec<_>>()[..] {
            host.ip(&format!("neigh change {address} lladdr {mac} dev {interface} nud stale"));
        }
    }
}

/// Both directions together.
#[derive(Clone, Copy)]
struct Bytes {
    /// On the cable between router and modem: whole frames.
    cable: u64,
    /// Between modem and carrier: IP packets.
    air: u64,
}

impl Bytes {
    fn now(site: &Site, modem: &Namespace) -> Bytes {
        let counter = |name| -> u64 {
            let path = format!("/sys/class/net/eth1/statistics/{name}");
            let text = site.router.run(|| fs::read_to_string(path)).expect("a counter of the kernel");
            text.trim().parse().expect("a number")
        };
        Bytes { cable: counter("rx_bytes") + counter("tx_bytes"), air: ip_bytes(modem, "modem") }
    }

    fn since(self, before: Bytes) -> Bytes {
        Bytes { cable: self.cable - before.cable, air: self.air - before.air }
    }
}

fn report(used: &Bytes, runs: u32, targets: u64, interval: Duration) {
    let probes_a_day = DAY.as_secs() / interval.as_secs();
    println!(
        "\nA waiting backup as in examples/lte-router.yaml: {targets} targets, probed every {} s.",
        interval.as_secs()
    );
    println!(
        "Measured: {runs} runs, for each of which the clock was put {} s forward; {PROBES} of them probed the backup. Bytes in",
        BEAT.as_secs()
    );
    println!(
        "both directions; on the cable Ethernet headers and ARP are in it, and the neighbours' entries were made"
    );
    println!(
        "stale before every run. A day is a probe times {probes_a_day}, which is not measured; a month is 30 days."
    );
    println!("{:<36}{:>12}{:>14}{:>14}", "one target", "a probe", "a day", "a month");
    for (name, bytes) in
        [("router to modem, on the cable", used.cable), ("modem to carrier, IP packets", used.air)]
    {
        let probe = bytes as f64 / f64::from(PROBES) / targets as f64;
        let day = probe * probes_a_day as f64;
        println!("  {name:<34}{probe:>10.0} B{:>11.0} kB{:>11.1} MB", day / 1e3, day * 30.0 / 1e6);
    }
}
