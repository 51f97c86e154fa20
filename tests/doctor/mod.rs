//! `wanfo doctor` on a healthy router, on which then one thing after the other is broken and cured as it says.

/// `wanfo init`, whose configs it looks at.
mod init;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;
use std::thread::spawn;
use std::time::Duration;

use libtest_mimic::Trial;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::lab::{self, Lab, Run};
use crate::site::{end, host, load_nft};
use crate::story::{Story, WANFO};

pub fn trials() -> Vec<Trial> {
    trials![
        self::{
            what_is_wrong_with_the_machine_is_told_with_its_cure,
            what_is_wrong_with_the_routes_is_told_with_its_cure,
            what_is_wrong_with_the_links_is_told_with_its_cure,
            who_else_stands_in_the_way_is_told_with_its_cure,
            programs_and_rights_that_are_missing_are_told,
            before_the_first_run_it_says_what_it_can_and_changes_nothing,
        },
        init::{
            what_it_proposes_works_as_it_stands_and_fails_over_with_targets,
            on_a_terminal_it_asks_what_only_people_know,
            where_there_are_no_two_lines_it_says_what_is_missing,
            lines_of_other_kinds_are_proposed_as_they_are,
        },
    ]
}

/// Where there is a single uid, that the targets are tied each for itself is no fault.
static CONFIG: LazyLock<String> = LazyLock::new(|| {
    let pin = if lab::has_other_users() { "link" } else { "target" };
    format!(
        "
links:
  - {{name: primary, interface: wan1, targets: [198.51.100.11, 203.0.113.80]}}
  - {{name: secondary, interface: wan2, targets: [198.51.100.21, 203.0.113.81]}}
probe: {{silence: 1s, pin: {pin}}}
"
    )
});

const CONFIG_PATH: &str = "/etc/wanfo/wanfo.yaml";

/// In the place of systemctl: a unit is what the lab says.
const SYSTEMCTL: &str = "#!/bin/sh\nexec test -e /run/units/$1/$2\n";

/// A router with everything that wanfo wants.
struct Bench(Story);

impl Deref for Bench {
    type Target = Story;

    fn deref(&self) -> &Story {
        &self.0
    }
}

/// What breaks something; the check, the mark and the words that tell; and what cures it.
type Case<'a> = (&'a dyn Fn(&Bench), &'a str, &'a str, &'a dyn Fn(&Bench));

impl Bench {
    fn new() -> Bench {
        lab::need(&["nft", "systemctl"]);
        let router = host("router");
        router.write(CONFIG_PATH, &CONFIG);
        router.write("/run/systemctl", SYSTEMCTL);
        router.write("/run/systemd/system/.keep", "");
        router.run(|| {
            fs::set_permissions("/run/systemctl", PermissionsExt::from_mode(0o755)).expect("it is ours");
            let nothing = None::<&str>;
            mount(Some("/run/systemctl"), "/usr/bin/systemctl", nothing, MsFlags::MS_BIND, nothing)
                .expect("it takes a stand-in");
        });
        let ends = ["wan1", "wan2"].map(|interface| end(&router, interface));
        let bench = Bench(Story::configured(Lab::with_ends(ends.into(), router, WANFO)));
        bench.open_to_pings();
        bench.masquerade();
        bench.internet.ip("address add 203.0.113.81/32 dev lo");
        for unit in ["wanfo.timer", "wanfo-deliver.path"] {
            bench.enable(unit);
        }
        bench
    }

    fn at_work() -> Bench {
        let bench = Bench::new();
        bench.check();
        bench
    }

    /// Two, a minute apart as cron starts them: nobody misses the next while the doctor is at work.
    fn check(&self) {
        for _ in 0..2 {
            self.let_pass(Duration::from_secs(60));
            self.0.check();
        }
    }

    fn enable(&self, unit: &str) {
        ["is-enabled", "is-active"].iter().for_each(|is| self.write(&format!("/run/units/{is}/{unit}"), ""));
    }

    fn write(&self, path: &str, text: &str) {
        self.router.write(path, text);
    }

    fn remove(&self, path: &str) {
        self.router.run(|| fs::remove_file(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn chmod(&self, path: &str, mode: u32) {
        let set = self.router.run(|| fs::set_permissions(path, PermissionsExt::from_mode(mode)));
        set.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn ip(&self, words: &str) {
        self.router.ip(words);
    }

    fn nft(&self, rules: &str) {
        load_nft(&self.router, rules);
    }

    /// The config with one thing replaced.
    fn edit(&self, from: &str, to: &str) {
        assert!(CONFIG.contains(from), "{from}");
        self.write(CONFIG_PATH, &CONFIG.replace(from, to));
    }

    /// The config with one thing more.
    fn add(&self, section: &str) {
        self.write(CONFIG_PATH, &format!("{}{section}\n", *CONFIG));
    }

    fn doctor(&self) -> Run {
        let run = self.wanfo(&["doctor"]);
        assert_eq!(run.stderr, "");
        run
    }

    #[track_caller]
    fn assert_healthy(&self) {
        let run = self.doctor();
        assert_eq!(
            (run.code, run.stdout.lines().find(|line| !line.starts_with("ok "))),
            (0, None),
            "{}",
            run.stdout
        );
    }

    fn go_through(&self, cases: &[Case]) {
        self.assert_healthy();
        for (number, (spoil, start, words, cure)) in cases.iter().enumerate() {
            spoil(self);
            let run = self.doctor();
            let told = run.stdout.lines().any(|line| line.starts_with(start) && line.contains(words));
            assert!(told, "case {number}: no {start:?} with {words:?}:\n{}", run.stdout);
            let fails = run.stdout.lines().any(|line| line.starts_with("failure"));
            assert_eq!(run.code, i32::from(fails), "{run:?}");
            cure(self);
            // A line that was repaired just now may lose a first request on a busy machine.
            let mut said = String::new();
            let is_cured = (0..5).any(|_| {
                said = self.doctor().stdout;
                !said.contains(words)
            });
            assert!(is_cured, "case {number} is not cured, {words:?}:\n{said}");
        }
        self.assert_healthy();
    }
}

pub fn what_is_wrong_with_the_machine_is_told_with_its_cure() {
    let bench = Bench::at_work();
    const DISK: &str = "/run/disk";
    bench.write("/run/disk/below", "");
    let mount = |flags| mount(Some("tmpfs"), DISK, Some("tmpfs"), flags, Some("size=4k")).expect("a tmpfs");
    let unmount = || umount2(DISK, MntFlags::MNT_DETACH).expect("it is mounted");
    bench.go_through(&[
        (
            &|it| {
                it.router.run(|| mount(MsFlags::MS_RDONLY));
                it.add(&format!("paths: {{state: {DISK}}}"));
            },
            "failure  files:",
            "is on a file system that is mounted read-only",
            &|it| it.router.run(unmount),
        ),
        (
            &|it| {
                it.router.run(|| mount(MsFlags::empty()));
                it.write("/run/disk/all", &" ".repeat(4096));
            },
            "failure  files:",
            "is full; make room there",
            &|it| {
                it.router.run(unmount);
                it.add("");
            },
        ),
    ]);
    if lab::has_other_users() {
        bench.go_through(&[(
            &|it| it.router.sysctl("net.ipv4.ping_group_range", "1 0"),
            "failure  ping:",
            "run `sysctl -w net.ipv4.ping_group_range",
            &|it| it.open_to_pings(),
        )]);
    }
    bench.go_through(&[
        (
            &|it| it.router.sysctl("net.ipv4.ip_forward", "0"),
            "warning  forwarding:",
            "run `sysctl -w net.ipv4.ip_forward=1`",
            &|it| it.router.sysctl("net.ipv4.ip_forward", "1"),
        ),
        (
            &|it| it.edit("silence: 1s", "silence: soon"),
            "failure  config:",
            "all else is about the last good one",
            &|it| it.add(""),
        ),
        (
            &|it| it.let_pass(Duration::from_secs(240)),
            "failure  runs:",
            "the last run was 4m",
            &|it| it.check(),
        ),
        (
            &|it| it.remove("/run/units/is-enabled/wanfo.timer"),
            "failure  wanfo.timer:",
            "gone after a reboot; run `systemctl enable --now wanfo.timer`",
            &|it| it.enable("wanfo.timer"),
        ),
        (
            &|it| {
                it.remove("/run/units/is-enabled/wanfo.timer");
                it.remove("/run/units/is-active/wanfo.timer");
            },
            "warning  wanfo.timer:",
            "unless cron starts the checks",
            &|it| it.enable("wanfo.timer"),
        ),
        (
            &|it| it.add("action_script: /etc/wanfo/action"),
            "failure  scripts:",
            "No such file",
            &|it| {
                it.write("/etc/wanfo/action", "#!/bin/sh\n");
                it.chmod("/etc/wanfo/action", 0o755);
            },
        ),
        (
            &|it| it.add("notify: {to: [noc@example.com], from: w@example.com, smtp: {host: 198.51.100.11, port: 2525, tls: none}}"),
            "failure  mail:",
            "the connection to 198.51.100.11:2525 failed: Connection refused",
            &|it| answer_mail(&it.0),
        ),
        (
            &|it| it.remove("/run/units/is-active/wanfo-deliver.path"),
            "failure  wanfo-deliver.path:",
            "or no message is sent",
            &|it| it.enable("wanfo-deliver.path"),
        ),
        (
            &|it| {
                it.add("notify: {webhook: {url_file: /etc/wanfo/url, template: ntfy}}");
                it.write("/etc/wanfo/url", "https://ntfy.example.com/topic\n");
                it.chmod("/etc/wanfo/url", 0o644);
            },
            "failure  webhook:",
            "/etc/wanfo/url is open to everybody on this machine; run `chmod 600 /etc/wanfo/url`",
            &|it| it.chmod("/etc/wanfo/url", 0o600),
        ),
        (
            &|it| it.write("/etc/wanfo/url", "ntfy.example.com/topic\n"),
            "failure  webhook:",
            "/etc/wanfo/url must begin with the address",
            &|it| it.write("/etc/wanfo/url", "https://ntfy.example.com/topic\n"),
        ),
        (
            &|it| it.remove("/etc/wanfo/url"),
            "failure  webhook:",
            "/etc/wanfo/url cannot be read: No such file",
            &|it| it.add(""),
        ),
        (
            &|it| {
                it.add("link_script: /etc/wanfo/link");
                it.write("/etc/wanfo/link", "#!/bin/sh\n");
                it.chmod("/etc/wanfo/link", 0o757);
            },
            "failure  scripts:",
            "everybody can write /etc/wanfo/link",
            &|it| it.chmod("/etc/wanfo/link", 0o755),
        ),
        (
            &|it| it.remove("/run/units/is-active/wanfo-deliver.path"),
            "failure  wanfo-deliver.path:",
            "no link script is run",
            &|it| it.enable("wanfo-deliver.path"),
        ),
    ]);
}

/// A relay that says yes to everything.
fn answer_mail(lab: &Lab) {
    let listener = lab.internet.run(|| TcpListener::bind(("198.51.100.11", 2525))).expect("the port is free");
    spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a router"));
            let _ = write!(stream.get_mut(), "220 relay.example.com\r\n");
            while stream.read_line(&mut String::new()).is_ok_and(|length| length > 0) {
                let _ = write!(stream.get_mut(), "250 fine\r\n");
            }
        }
    });
}

pub fn what_is_wrong_with_the_routes_is_told_with_its_cure() {
    let bench = Bench::at_work();
    bench.go_through(&[
        (
            &|it| it.ip("rule del lookup main"),
            "failure  policy routing:",
            "run `ip -4 rule add lookup main priority 32766`",
            &|it| it.ip("-4 rule add lookup main priority 32766"),
        ),
        (
            &|it| it.ip("route add 203.0.113.128/25 dev lan table 5301"),
            "failure  numbers:",
            "set `routing.table` in the config to another number",
            &|it| it.add("routing: {table: 5400}"),
        ),
        (
            &|it| {
                it.ip("route del 203.0.113.128/25 dev lan table 5301");
                it.add("");
                it.check();
                it.ip("route add 203.0.113.128/25 dev lan proto 119");
                it.remove("/run/wanfo/state.json");
            },
            "warning  numbers:",
            "the first run takes them out",
            &|it| it.check(),
        ),
        (
            &|it| it.ip("rule add priority 100 to 203.0.113.128/25 lookup 100"),
            "warning  rules:",
            "give them numbers above 32766",
            &|it| it.ip("rule del priority 100"),
        ),
        (
            &|it| {
                it.ip("route add default via 192.0.2.17 dev wan2 table 101");
                it.ip("rule add priority 600 from 192.0.2.240/28 lookup 101");
            },
            "warning  rules:",
            "lead traffic to one line before the main table is asked (priority 600 from 192.0.2.240/28 lookup 101",
            &|it| it.ip("rule del priority 600"),
        ),
        (
            &|it| {
                it.ip("route add default via 192.0.2.17 dev wan2 table 100");
                it.ip("rule add priority 100 ipproto icmp to 198.51.100.11 lookup 100");
            },
            "failure  rules:",
            "primary: echo request to 198.51.100.11: not asked, for the kernel sends it out of wan2",
            &|it| it.ip("rule del priority 100"),
        ),
        // As docs/inbound.md has it for forwarded ports: those by a mark are meant.
        (
            &|it| {
                it.ip("rule add priority 526 fwmark 2 lookup main suppress_prefixlength 3");
                it.ip("rule add priority 527 fwmark 2 lookup 5302");
                it.ip("rule add priority 528 from 192.0.2.240/28 lookup 101");
            },
            "warning  rules:",
            "come before those of wanfo (priority 528 from 192.0.2.240/28",
            &|it| (526..529).for_each(|number| it.ip(&format!("rule del priority {number}"))),
        ),
        (
            &|it| it.ip("rule add priority 600 to 0.0.0.0/1 lookup 100"),
            "failure  default routes:",
            "the default traffic goes elsewhere",
            &|it| it.ip("rule del priority 600"),
        ),
        (
            &|it| it.ip("route append default via 192.0.2.17 dev wan2 metric 100"),
            "warning  default routes:",
            "has the same metric as that of primary",
            &|it| it.ip("route del default via 192.0.2.17 dev wan2 metric 100"),
        ),
        (
            &|it| {
                it.ip("address add 192.0.2.2/32 dev wan2");
                it.router.sysctl("net.ipv4.conf.wan2.rp_filter", "1");
            },
            "failure  rp_filter:",
            "secondary: it has the address 192.0.2.2, as primary has",
            &|it| it.ip("address del 192.0.2.2/32 dev wan2"),
        ),
        (
            &|it| it.nft("delete table inet lab"),
            "warning  NAT:",
            "nothing masquerades what is forwarded out of wan1, wan2",
            &|it| it.nft("table ip a { chain c { masquerade; }; chain b { type nat hook postrouting priority srcnat; \
                         oifname vmap { wan1: jump c, wan2: jump c }; }; }"),
        ),
        (
            &|it| it.nft("table ip fw { chain drops { type filter hook input priority 0; policy drop; }; }"),
            "warning  firewall:",
            "the chain drops seems to drop what answers to our echo requests by wan1",
            &|it| it.nft("add rule ip fw drops ct state established accept"),
        ),
        (
            &|it| it.nft("table ip fw3 { chain drops { type filter hook input priority 0; policy drop; }; }"),
            "warning  firewall:",
            "the chain drops seems to drop what answers to our echo requests by wan1",
            // What it does not understand lets in what it hears.
            &|it| it.nft("add rule ip fw3 drops ct direction reply accept"),
        ),
        (
            &|it| it.nft("table ip fw2 { chain o { type filter hook output priority 0; icmp type echo-request drop; }; }"),
            "failure  ping:",
            "a local firewall rule refuses our echo requests",
            &|it| it.nft("delete table ip fw2"),
        ),
    ]);
}

pub fn what_is_wrong_with_the_links_is_told_with_its_cure() {
    let bench = Bench::at_work();
    let run = bench.doctor();
    for line in [
        "ok       primary: wan1 has carrier, 192.0.2.2/28 by gateway 192.0.2.1, from the interface's default route; \
         2001:db8:1::2/64 by gateway 2001:db8:1::1, from the interface's default route\n",
        "ok       primary targets: 198.51.100.11 answered in ",
    ] {
        assert!(run.stdout.contains(line), "{line}{}", run.stdout);
    }
    let targets = "targets: [198.51.100.11, 203.0.113.80]";
    bench.go_through(&[
        (
            &|it| it.ip("-6 route del default dev wan2"),
            "ok       secondary:",
            "without IPv6, which another link has: while this one is active IPv6 is refused at once",
            &|it| it.ip("-6 route add default via 2001:db8:2::1 dev wan2 metric 200"),
        ),
        (
            &|it| it.edit("interface: wan2", "interface: wan9"),
            "failure  secondary:",
            "interface wan9 does not exist; see `ip link`",
            &|it| it.add(""),
        ),
        (&|it| it.pull_cable(2), "failure  secondary:", "is the cable in", &|it| it.plug_in(2)),
        (
            &|it| it.ip("address del 192.0.2.18/28 dev wan2"),
            "failure  secondary targets:",
            "interface wan2 has no IPv4 address",
            &|it| {
                it.ip("address add 192.0.2.18/28 dev wan2");
                it.ip("route add default via 192.0.2.17 dev wan2 metric 200");
            },
        ),
        (
            &|it| it.ip("route del default dev wan2"),
            "failure  secondary targets:",
            "no IPv4 gateway is known for wan2",
            &|it| it.edit("interface: wan2", "interface: wan2, gateway: 192.0.2.17"),
        ),
        (
            &|it| {
                it.ip("route add default via 192.0.2.17 dev wan2 metric 200");
                it.add("");
                it.check();
                it.silence(1, lab::target(1, 1));
            },
            "warning  primary targets:",
            "198.51.100.11 by wan1: no reply",
            &|it| it.end_silence(1, lab::target(1, 1)),
        ),
        (&|it| it.cut_silently(2), "failure  secondary targets:", "198.51.100.21 by wan2: no reply", &|it| {
            it.repair(2)
        }),
        (&|it| it.edit(targets, "targets: []"), "warning  primary targets:", "give it `targets`", &|it| {
            it.add("")
        }),
        (
            &|it| it.edit(targets, "targets: [gateway]"),
            "warning  primary targets:",
            "add hosts beyond the provider",
            &|it| it.add(""),
        ),
        (
            &|it| it.edit(targets, "targets: [198.51.100.11]"),
            "warning  primary targets:",
            "add one of another operator",
            &|it| it.add(""),
        ),
        (
            &|it| it.edit(targets, "targets: [198.51.100.11, 198.51.100.12]"),
            "warning  primary targets:",
            "are in one network",
            &|it| it.add(""),
        ),
        (
            &|it| it.edit(targets, "targets: ['2001:db8:ffff::11', '2001:db8:ffff::12']"),
            "warning  primary targets:",
            "are in one network",
            &|it| it.add(""),
        ),
        (
            &|it| it.edit(targets, "targets: [192.0.2.241, 198.51.100.11]"),
            "failure  primary targets:",
            "is this router's own address",
            &|it| it.add(""),
        ),
        (
            &|it| it.write("/etc/resolv.conf", "nameserver 198.51.100.11\n"),
            "warning  primary targets:",
            "198.51.100.11 is a name server of this machine",
            &|it| it.write("/etc/resolv.conf", "nameserver 127.0.0.1\n"),
        ),
    ]);
}

pub fn who_else_stands_in_the_way_is_told_with_its_cure() {
    let bench = Bench::at_work();
    let index =
        |it: &Bench| it.router.ip("-o link show wan1").split(':').next().expect("a number").to_owned();
    bench.go_through(&[
        (
            &|it| it.ip("route add 203.0.113.53 via 192.0.2.17 dev wan2 proto dhcp"),
            "warning  tied destinations:",
            "set `RoutesToDNS=no`",
            &|it| it.ip("route del 203.0.113.53"),
        ),
        (
            &|it| it.write(&format!("/run/systemd/netif/links/{}", index(it)), "ADMIN_STATE=configured\n"),
            "warning  systemd-networkd:",
            "write ManageForeignRoutes=no, ManageForeignRoutingPolicyRules=no under [Network]",
            &|it| {
                let text = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules = false\n";
                it.write("/etc/systemd/networkd.conf", text);
            },
        ),
        (
            &|it| {
                it.write(&format!("/run/NetworkManager/devices/{}", index(it)), "[device]\nmanaged=true\n");
                let text = "[connectivity]\nuri=http://check.example.com/\n";
                it.write("/etc/NetworkManager/NetworkManager.conf", text);
            },
            "warning  NetworkManager:",
            "write `enabled=false` under [connectivity]",
            &|it| it.write("/etc/NetworkManager/conf.d/wanfo.conf", "[connectivity]\nenabled=false\n"),
        ),
    ]);
}

pub fn programs_and_rights_that_are_missing_are_told() {
    lab::need(&["setpriv"]);
    let bench = Bench::at_work();
    bench.add("flush_conntrack: true");
    bench.write("/run/empty/.keep", "");
    let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Path::new);
    let covers: Vec<_> = folders.iter().map(|folder| (Path::new("/run/empty"), *folder)).collect();
    let run: Run = bench.wanfo_seeing(&["doctor"], &covers).output().expect("it starts").into();
    assert_eq!(run.code, 1);
    for line in [
        "failure  iproute2: there is no `ip` on this machine",
        "failure  conntrack: `flush_conntrack` needs the program conntrack",
        "warning  firewall: it could not be looked at: there is no `nft`",
    ] {
        assert!(run.stdout.contains(line), "{line}:\n{}", run.stdout);
    }
    let mut command = bench.router.command("setpriv");
    let run: Run =
        command.args(["--bounding-set", "-net_admin", WANFO, "doctor"]).output().expect("it starts").into();
    assert_eq!(run.code, 1);
    assert!(
        run.stdout.contains("failure  rights: no right to change routes (CAP_NET_ADMIN)"),
        "{}",
        run.stdout
    );
}

pub fn before_the_first_run_it_says_what_it_can_and_changes_nothing() {
    let bench = Bench::new();
    let before = bench.kernel();
    let run = bench.doctor();
    assert_eq!((run.code, bench.kernel()), (1, before));
    assert!(!bench.router.run(|| Path::new("/run/wanfo").exists()), "a look leaves nothing behind");
    for line in [
        "failure  runs: there was no run since boot",
        // By the default route of the primary this one goes the right way already.
        "ok       primary targets: 198.51.100.11 answered in",
        "warning  secondary targets: 198.51.100.21 can be asked once a run has tied it to wan2: run `wanfo check`",
    ] {
        assert!(run.stdout.contains(line), "{line}:\n{}", run.stdout);
    }
    bench.check();
    bench.assert_healthy();

    // With nothing to go by it tells what the config has no part in.
    bench.succeeds(&["down"]);
    bench.write(CONFIG_PATH, "links: [\n");
    bench.router.sysctl("net.ipv4.ip_forward", "0");
    let run = bench.doctor();
    assert_eq!(run.code, 1);
    for line in ["failure  config: ", "; what needs it is left out\n", "warning  forwarding: "] {
        assert!(run.stdout.contains(line), "{line}:\n{}", run.stdout);
    }
}
