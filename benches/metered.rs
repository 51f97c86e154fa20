//! `cargo bench --bench metered`: what a waiting backup costs on a metered line. Prints a table and asserts nothing.
//!
//! Runs in the lab of network namespaces (see tests/lab/mod.rs), so the machine's own network is not touched.

#[path = "../tests/lab/mod.rs"]
mod lab;
#[allow(dead_code)]
#[path = "../tests/examples/lte_router.rs"]
mod lte_router;
#[allow(dead_code)]
#[path = "../tests/examples/site.rs"]
mod site;
#[path = "../tests/router/story.rs"]
mod story;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use lab::Namespace;
use site::Site;

/// From the start of one run to the start of the next: OnUnitActiveSec= of systemd/wanfo.timer.
const BEAT: Duration = Duration::from_secs(2);
/// How many probes are measured.
const PROBES: u32 = 5;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn main() {
    lab::enter_or_skip();
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
        let output = modem.command("nft").args(["list", "counters"]).output().expect("nft starts");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: Vec<&str> = shown.split_whitespace().collect();
        let air = words.windows(2).filter(|pair| pair[0] == "bytes").map(|pair| pair[1].parse::<u64>());
        Bytes {
            cable: counter("rx_bytes") + counter("tx_bytes"),
            air: air.sum::<Result<u64, _>>().expect("numbers"),
        }
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
        "both directions, Ethernet headers and ARP included on the cable; before every probe the neighbours had"
    );
    println!("forgotten each other. A day is a probe times {probes_a_day}, a month is 30 days.");
    println!("{:<36}{:>12}{:>14}{:>14}", "one target", "a probe", "a day", "a month");
    for (name, bytes) in
        [("router to modem, on the cable", used.cable), ("modem to carrier, IP packets", used.air)]
    {
        let probe = bytes as f64 / f64::from(PROBES) / targets as f64;
        let day = probe * probes_a_day as f64;
        println!("  {name:<34}{probe:>10.0} B{:>11.0} kB{:>11.1} MB", day / 1e3, day * 30.0 / 1e6);
    }
}
