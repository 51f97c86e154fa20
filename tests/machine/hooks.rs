//! Link events under the real daemons: systemd with wanfo's shipped units, and whoever manages the interfaces.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::package::attempt;
use super::router::PROGRAM;
use crate::lab::{self, Lab, Namespace, SERVICE, gateway, router_address, target};
use crate::site::{self, Running, end, strip, wait_until};
use crate::story::WANFO;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

/// The machine is the router: eth0 and eth1 lead to the providers, of which the first gives leases.
struct Router {
    lab: Lab,
    dhcp: Option<Running>,
    /// What was put on the machine's disk.
    files: Vec<&'static str>,
    daemons: &'static [&'static str],
}

fn run(program: &str, words: &str) {
    let output = Command::new(program).args(words.split_whitespace()).output();
    let output = output.unwrap_or_else(|error| panic!("`{program}` did not start: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{program} {words}` failed: {complaint}");
}

fn systemctl(words: &str) {
    run("systemctl", words);
}

impl Router {
    /// `daemons` manage eth0, by DHCP, and eth1; `settings` are their files.
    fn new(daemons: &'static [&'static str], settings: &[(&'static str, &str, u32)]) -> Router {
        let machine = lab::host(Namespace::of_the_machine());
        let ends = ["eth0", "eth1"].map(|interface| end(&machine, interface));
        let lab = Lab::with_ends(ends.to_vec(), machine, WANFO);
        lab.open_to_pings();
        for interface in ["eth0", "eth1"] {
            strip(&lab.router, interface);
        }
        let mut router = Router { lab, dhcp: None, files: Vec::new(), daemons };
        router.lease_out(1);
        let config = format!(
            "links:\n  - {{name: fibre, interface: eth0, targets: [{}], delay: 0s}}\n  \
             - {{name: lte, interface: eth1, targets: [{}]}}\n",
            target(1, 1),
            target(2, 1)
        );
        router.install("/etc/wanfo/wanfo.yaml", &config, 0o644);
        for (place, text, mode) in settings {
            router.install(place, text, *mode);
        }
        router.copy(WANFO, PROGRAM);
        for unit in ["/etc/systemd/system/wanfo.service", "/etc/systemd/system/wanfo.timer"] {
            router.copy(&unit.replace("/etc/systemd/system", &format!("{SOURCE}/systemd")), unit);
        }
        systemctl("daemon-reload");
        for daemon in daemons {
            systemctl(&format!("start {daemon}"));
        }
        wait_until("both lines", || {
            let routes = router.lab.router.ip("-4 route show default");
            routes.contains("dev eth0") && routes.contains("dev eth1")
        });
        router
    }

    fn copy(&mut self, from: &str, place: &'static str) {
        fs::copy(from, place).unwrap_or_else(|error| panic!("{place}: {error}"));
        self.files.push(place);
    }

    fn install(&mut self, place: &'static str, text: &str, mode: u32) {
        fs::create_dir_all(Path::new(place).parent().expect("a directory")).expect("a directory is made");
        fs::write(place, text).expect("a file is written");
        fs::set_permissions(place, fs::Permissions::from_mode(mode)).expect("its owner may");
        self.files.push(place);
    }

    /// A shipped hook, where its daemon looks for it.
    fn hook(&mut self, hook: &str, places: &[&'static str]) {
        let text = fs::read_to_string(format!("{SOURCE}/examples/hooks/{hook}")).expect("a hook");
        for place in places {
            self.install(place, &text, 0o755);
        }
    }

    /// The provider of line 1 gives leases, with its gateway at this address of the subnet.
    fn lease_out(&mut self, host: u8) {
        self.dhcp = None;
        let base = u32::from(gateway(1)) - 1;
        let gateway = std::net::Ipv4Addr::from(base + u32::from(host));
        // The one that the provider has its route to the LAN by.
        let range = router_address(1);
        let mut dnsmasq = site::dnsmasq(self.lab.provider(1));
        dnsmasq.arg(format!("--dhcp-range={range},{range},255.255.255.240,2m"));
        dnsmasq.arg(format!("--dhcp-option=option:router,{gateway}"));
        dnsmasq.arg(format!("--dhcp-leasefile={}", self.lab.path("leases").display()));
        self.dhcp = Some(Running::start(&mut dnsmasq));
    }

    /// `wanfo.timer` with this beat in place of its own.
    fn beat(&mut self, seconds: u32) {
        let text =
            format!("[Timer]\nOnBootSec=\nOnUnitActiveSec=\nOnActiveSec=1ms\nOnUnitActiveSec={seconds}s\n");
        self.install("/etc/systemd/system/wanfo.timer.d/beat.conf", &text, 0o644);
        systemctl("daemon-reload");
        // A run of the old beat would be taken for the first of the new one. A hook may start it just then.
        wait_until("the old beat to end", || attempt("systemctl stop wanfo.timer wanfo.service").0);
        let before = self.last_check();
        // The status tells whole seconds.
        sleep(Duration::from_millis(1100));
        systemctl("start wanfo.timer");
        wait_until("a first run", || self.last_check() != before && !self.last_check().is_empty());
    }

    fn status(&self) -> Option<Value> {
        let output =
            Command::new("wanfo").args(["status", "--format", "json"]).output().expect("wanfo starts");
        serde_json::from_slice(&output.stdout).ok()
    }

    fn last_check(&self) -> String {
        self.status().map_or_else(String::new, |status| status["last_check"].to_string())
    }

    /// For how long the LAN hears nothing when this happens to line 1, at a random moment of the beat.
    fn silence_after(&self, fail: impl FnOnce(&Lab), patience: Duration) -> Option<Duration> {
        let meter = self.lab.meter(SERVICE);
        wait_until("service over line 1", || meter.last_answer().is_some_and(|answer| answer.line == 1));
        let failure = Instant::now();
        fail(&self.lab);
        while failure.elapsed() < patience {
            if meter.last_answer().is_some_and(|answer| answer.line == 2) {
                return Some(meter.longest_silence(failure, Instant::now()));
            }
            sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let run = |program: &str, words: &[&str]| {
            let _ = Command::new(program).args(words).output();
        };
        run("systemctl", &["stop", "wanfo.timer", "wanfo.service"]);
        run("wanfo", &["down"]);
        for daemon in self.daemons {
            run("systemctl", &["stop", daemon]);
        }
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        let _ = fs::remove_dir_all("/run/wanfo");
        run("systemctl", &["daemon-reload"]);
        for interface in ["eth0", "eth1", "lan"] {
            run("ip", &["link", "delete", interface]);
        }
    }
}

fn told(silence: Option<Duration>) -> String {
    silence.map_or("no end".to_owned(), |silence| format!("{:.2} s", silence.as_secs_f64()))
}

const NETWORKD: &[&str] =
    &["systemd-networkd.socket", "systemd-networkd.service", "networkd-dispatcher.service"];

fn networkd() -> Router {
    let eth1 = format!(
        "[Match]\nName=eth1\n[Network]\nAddress={}/28\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n[Route]\nGateway={}\nMetric=200\n",
        router_address(2),
        gateway(2)
    );
    Router::new(
        NETWORKD,
        &[
            (
                "/etc/systemd/network/eth0.network",
                "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nIgnoreCarrierLoss=yes\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n[DHCPv4]\nRouteMetric=100\n",
                0o644,
            ),
            ("/etc/systemd/network/eth1.network", &eth1, 0o644),
            (
                "/etc/systemd/networkd.conf.d/wanfo.conf",
                "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n",
                0o644,
            ),
        ],
    )
}

/// Long enough that only a hook explains a check soon.
const SLOW_BEAT: u32 = 600;
/// For a hook to have its effect, on a machine that is slow.
const SOON: Duration = Duration::from_secs(30);

impl Router {
    /// A check follows, and not by the timer.
    fn assert_checks_after(&self, what: &str, change: impl FnOnce(&Router)) {
        sleep(Duration::from_millis(1100));
        let before = self.last_check();
        change(self);
        let start = Instant::now();
        while self.last_check() == before {
            assert!(start.elapsed() < 3 * SOON, "no check after {what}");
            sleep(Duration::from_millis(100));
        }
        println!("  a check {:.1} s after {what}", start.elapsed().as_secs_f64());
    }

    /// The cable is in again, and the traffic on line 1.
    fn plug_in_and_go_back(&self) {
        self.lab.plug_in(1);
        wait_until("the primary", || {
            let run = |words: &[&str]| Command::new("wanfo").args(words).output().expect("wanfo starts");
            run(&["check"]);
            run(&["failback"]);
            self.status()
                .is_some_and(|status| status["active"] == "fibre" && status["links"][0]["up"] == true)
        });
    }

    fn pull_cable_and_measure(&mut self, what: &str, beat: u32, patience: Duration) -> Option<Duration> {
        self.beat(beat);
        let silence = self.silence_after(|lab| lab.pull_cable(1), patience);
        println!("  {what:<44} {}", told(silence));
        if silence.is_some() {
            wait_until("the switch in the status", || {
                self.status().is_some_and(|status| status["active"] == "lte")
            });
        }
        self.plug_in_and_go_back();
        silence
    }

    /// For how long the LAN hears nothing when a cable is pulled, with the hook and, once it is taken out, without.
    fn measure(&mut self, hook: &[&'static str]) {
        println!("silence after a pulled cable:");
        let with_hook = self.pull_cable_and_measure("with the hook, a run every 10 minutes", SLOW_BEAT, SOON);
        assert!(with_hook.is_some(), "the hook did nothing");
        self.pull_cable_and_measure("with the hook, a run every 2 s", 2, SOON);
        for place in hook {
            fs::remove_file(place).expect("the hook is taken out");
        }
        self.pull_cable_and_measure("without, a run every 2 s", 2, SOON);
        self.beat(SLOW_BEAT);
        let before = self.last_check();
        let silence = self.silence_after(|lab| lab.pull_cable(1), SOON / 2);
        println!("  without, no run within 15 s                  {}", told(silence));
        assert_eq!(self.last_check(), before, "something else than the hook starts a check");
        self.plug_in_and_go_back();
    }

    fn move_gateway(&self) {
        self.lab.provider(1).ip("address add 192.0.2.9/28 dev customer");
    }

    fn gateway_of_fibre(&self) -> String {
        self.status().map_or_else(String::new, |status| status["links"][0]["gateway"].to_string())
    }
}

const NETWORKD_HOOKS: [&str; 4] = [
    "/etc/networkd-dispatcher/no-carrier.d/wanfo",
    "/etc/networkd-dispatcher/off.d/wanfo",
    "/etc/networkd-dispatcher/routable.d/wanfo",
    "/etc/networkd-dispatcher/configured.d/wanfo",
];

pub fn networkd_dispatcher_starts_a_check_when_a_cable_is_pulled_or_a_lease_changes() {
    let mut router = networkd();
    router.hook("networkd-dispatcher", &NETWORKD_HOOKS);
    // It is not started where it finds no script, and not at all by one that comes later.
    systemctl("restart networkd-dispatcher.service");
    router.beat(SLOW_BEAT);
    router.assert_checks_after("a pulled cable", |router| router.lab.pull_cable(1));
    router.assert_checks_after("a plugged cable", |router| router.lab.plug_in(1));
    router.move_gateway();
    router.lease_out(9);
    router.assert_checks_after("a changed lease", |_| run("networkctl", "renew eth0"));
    wait_until("the new gateway in the status", || router.gateway_of_fibre() == "\"192.0.2.9\"");
    router.assert_checks_after("an interface taken down", |router| {
        router.lab.router.ip("link set eth0 down");
    });
    router.lab.router.ip("link set eth0 up");
    // The routes went with the interface, and a lost carrier is nothing to networkd here.
    run("networkctl", "reconfigure eth0");
    router.plug_in_and_go_back();
    router.measure(&NETWORKD_HOOKS);
}

const NETWORK_MANAGER: &[&str] = &["NetworkManager.service"];
const NETWORK_MANAGER_HOOK: &str = "/etc/NetworkManager/dispatcher.d/90-wanfo";

pub fn network_manager_starts_a_check_when_a_cable_is_pulled_or_plugged_in() {
    let eth1 = format!(
        "[connection]\nid=eth1\ntype=ethernet\ninterface-name=eth1\n\
         [ipv4]\nmethod=manual\naddress1={}/28,{}\nroute-metric=200\n[ipv6]\nmethod=disabled\n",
        router_address(2),
        gateway(2)
    );
    // It is started by way of D-Bus, under the name that this gives it.
    systemctl("enable NetworkManager-dispatcher.service");
    let mut router = Router::new(
        NETWORK_MANAGER,
        &[
            (
                "/etc/NetworkManager/system-connections/eth0.nmconnection",
                "[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n\
                 [ipv4]\nmethod=auto\nroute-metric=100\n[ipv6]\nmethod=disabled\n",
                0o600,
            ),
            ("/etc/NetworkManager/system-connections/eth1.nmconnection", &eth1, 0o600),
            // It leaves veth alone unless told.
            (
                "/etc/NetworkManager/conf.d/machine.conf",
                "[main]\nno-auto-default=*\n[device-lines]\nmatch-device=interface-name:eth*\nmanaged=1\n\
                 [device-others]\nmatch-device=interface-name:lan\nmanaged=0\n",
                0o644,
            ),
        ],
    );
    router.hook("NetworkManager", &[NETWORK_MANAGER_HOOK]);
    router.beat(SLOW_BEAT);
    // Of a lease that is only renewed it tells nobody, whatever is new in it.
    router.move_gateway();
    router.lease_out(9);
    router.assert_checks_after("a pulled cable", |router| router.lab.pull_cable(1));
    router.assert_checks_after("a plugged cable", |router| router.lab.plug_in(1));
    wait_until("the new gateway in the status", || router.gateway_of_fibre() == "\"192.0.2.9\"");
    router.plug_in_and_go_back();
    router.measure(&[NETWORK_MANAGER_HOOK]);
}
