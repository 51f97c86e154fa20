//! The Debian package, from its installation to its purge, under real systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{self, Lab, Namespace, SERVICE, target};
use crate::site::{end, masquerade, wait_until};

/// Where two versions of the package are. It has to be with what was built, which the machine sees.
pub const PACKAGES: &str = "WANFO_TEST_DEB";
pub const CURE: &str =
    "WANFO_TEST_DEB=$(.ci/packages) makes two, with cargo-deb, of the program that was built for the tests";

const CONFIG: &str = "/etc/wanfo/wanfo.yaml";
/// Where README and all it leads to is.
const PAGES: &str = "/usr/share/doc/wanfo";
const PING_GROUPS: &str = "/proc/sys/net/ipv4/ping_group_range";

/// Of both versions, the older first.
fn packages() -> [PathBuf; 2] {
    let folder = std::env::var(PACKAGES).expect("where they are");
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("no packages in '{folder}': {error}; {CURE}"));
    let mut packages: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    packages.sort();
    packages
        .try_into()
        .unwrap_or_else(|found| panic!("there have to be two packages, and these are: {found:?}"))
}

/// A command that does its work; what it said.
#[track_caller]
pub fn run(words: &str) -> String {
    let (worked, said) = attempt(words);
    assert!(worked, "`{words}` failed: {said}");
    said
}

pub fn attempt(words: &str) -> (bool, String) {
    let mut words = words.split_whitespace();
    let output = Command::new(words.next().expect("a program")).args(words).output().expect("it starts");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (output.status.success(), said.concat())
}

fn install(package: &str) {
    // The emulated disk is slow.
    run(&format!("dpkg --force-unsafe-io -i {package}"));
}

pub fn status() -> Value {
    serde_json::from_str(&attempt("wanfo status --format json").1).unwrap_or_default()
}

/// Every route and rule of wanfo's.
pub fn ours(router: &Namespace) -> String {
    let shown = ["-4 -N route show table all", "-6 -N route show table all", "-4 -N rule", "-6 -N rule"];
    let lines = shown.map(|words| router.ip(words)).concat();
    lines.lines().filter(|line| line.contains("proto 119")).map(|line| format!("{line}\n")).collect()
}

/// Every file that has the program's name, but for those of the test.
pub fn files() -> String {
    run("find /etc /usr /var/lib /run /lib /boot -xdev -name *wanfo*")
}

#[track_caller]
fn assert_nothing_runs() {
    for unit in ["wanfo.timer", "wanfo.service", "wanfo-deliver.path"] {
        assert!(!attempt(&format!("systemctl is-active {unit}")).0, "{unit} runs");
    }
    for unit in ["wanfo.timer", "wanfo-deliver.path"] {
        assert!(!attempt(&format!("systemctl is-enabled {unit}")).0, "{unit} is enabled");
    }
}

/// In its sandbox, of which nothing is missed.
fn drill_as_every_sunday(config: &str) {
    let notify = "notify: {to: [noc@example.com], from: wanfo@example.com, smtp: {host: mail.example.com}}";
    fs::write(CONFIG, format!("{config}{notify}\n")).expect("the config");
    run("wanfo check");
    let unit = "/etc/systemd/system/wanfo-drill.service";
    run(&format!("install -m 644 {PAGES}/examples/monitoring/wanfo-drill.service {unit}"));
    run("systemctl daemon-reload");
    let (worked, said) = attempt("systemctl start wanfo-drill.service");
    run("journalctl --sync");
    let journal = run("journalctl --quiet --output=cat --unit=wanfo-drill.service");
    assert!(worked, "{said}{journal}");
    assert!(journal.lines().any(|line| line == "lte is proven"), "{journal}");
    assert!(status()["links"][1]["last_proof"].is_string(), "{}", status());
    let spool = "/var/lib/wanfo/spool";
    let mails = fs::read_dir(spool).expect("a spool").map(|entry| entry.expect("an entry").path());
    let mails: Vec<String> = mails.filter_map(|path| fs::read_to_string(path).ok()).collect();
    assert!(mails.len() == 1 && mails[0].contains("lte is proven"), "{mails:?}");
    // Nobody would take it.
    fs::remove_dir_all(spool).expect("the mail goes");
    fs::remove_file(unit).expect("the unit goes");
    fs::write(CONFIG, config).expect("the config");
    run("systemctl daemon-reload");
}

pub fn a_package_keeps_a_failover_over_its_upgrade_and_leaves_nothing_when_purged() {
    let [old, new] = packages().map(|path| path.display().to_string());
    // What the stories before left.
    for folder in ["/etc/wanfo", "/var/lib/wanfo", "/run/wanfo"] {
        let _ = fs::remove_dir_all(folder);
    }
    let before = files();
    let machine = lab::host(Namespace::of_the_machine());
    let ends = ["eth0", "eth1"].map(|interface| end(&machine, interface));
    let lab = Lab::with_ends(ends.to_vec(), machine, "/usr/bin/wanfo");
    masquerade(&lab.router, "eth1");
    fs::write(PING_GROUPS, "1 0").expect("the kernel's default");

    install(&old);
    assert_nothing_runs();
    assert_eq!(
        fs::read_to_string(PING_GROUPS).expect("a range").split_whitespace().collect::<Vec<_>>(),
        ["0", "0"]
    );
    run(&format!("wanfo config --effective -c {PAGES}/docs/full.yaml"));
    for page in ["man1/wanfo.1.gz", "man5/wanfo.yaml.5.gz"] {
        assert!(Path::new("/usr/share/man").join(page).is_file(), "no {page}");
    }

    let config = format!(
        "links:\n  - {{name: fibre, interface: eth0, targets: [{}]}}\n  \
         - {{name: lte, interface: eth1, targets: [{}]}}\nprobe: {{silence: 2s}}\nlink_script: /etc/wanfo/link\n",
        target(1, 1),
        target(2, 1)
    );
    // In the sandbox as shipped it can write there, and nowhere else.
    let script = Path::new("/etc/wanfo/link");
    fs::write(CONFIG, &config).expect("the config");
    fs::set_permissions(CONFIG, fs::Permissions::from_mode(0o644)).expect("its owner may");
    fs::write(script, "#!/bin/sh\necho \"$@\" >>/var/lib/wanfo/told\n").expect("the script");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("its owner may");
    // Whoever has a config may still not want it to run.
    install(&old);
    assert_nothing_runs();
    drill_as_every_sunday(&config);
    run("systemctl enable --now wanfo.timer wanfo-deliver.path");
    wait_until("a first run", || status()["active"] == "fibre");

    lab.cut_silently(1);
    wait_until("the failover", || status()["active"] == "lte");
    // That is on disk before the routes are there, of which this is the last.
    wait_until("the routes", || ours(&lab.router).contains("64:ff9b:1::/48"));
    let (since, routes) = (status()["since"].clone(), ours(&lab.router));
    assert!(routes.contains("128.0.0.0/1"), "{routes}");
    let meter = lab.meter(SERVICE);
    let mark = Path::new("/var/lib/wanfo/told");
    wait_until("the link script", || {
        fs::read_to_string(mark).is_ok_and(|told| told.starts_with("DOWN fibre eth0"))
    });
    wait_until("the end of it", || !attempt("systemctl is-active wanfo-deliver.service").0);
    let deliver = run("systemctl show --property=Result,NRestarts wanfo-deliver.service");
    assert!(deliver.contains("Result=success"), "{deliver}");
    wait_until("service over line 2", || meter.last_answer().is_some_and(|answer| answer.line == 2));
    let start = Instant::now();
    install(&new);
    let checked = status()["last_check"].clone();
    wait_until("a run of the new one", || status()["last_check"] != checked);
    let silence = meter.longest_silence(start, Instant::now());
    println!(
        "  the upgrade took {:.1} s; the LAN heard nothing for {:.2} s",
        start.elapsed().as_secs_f64(),
        silence.as_secs_f64()
    );
    // Line 1 would be silent for longer than that before it were left a second time.
    assert!(silence < Duration::from_secs(2), "{silence:?}");
    assert_eq!((&status()["active"], &status()["since"]), (&Value::from("lte"), &since));
    assert_eq!(ours(&lab.router), routes);
    run("systemctl is-active wanfo.timer wanfo-deliver.path");
    drop(meter);

    // Line 1 is dead still, so that nothing but the removal takes the routes out.
    run("dpkg -r wanfo");
    assert_eq!(ours(&lab.router), "");
    assert!(!attempt("systemctl is-active wanfo.timer").0);
    assert_eq!(fs::read_to_string(CONFIG).expect("the config stays"), config);
    assert!(Path::new("/var/lib/wanfo/history.jsonl").exists(), "{}", files());
    let said = run("dpkg -P wanfo");
    assert!(said.contains("/etc/wanfo"), "{said}");
    assert!(script.exists());
    fs::remove_dir_all("/etc/wanfo").expect("the script goes");
    assert_eq!(files(), before);

    for interface in ["eth0", "eth1", "lan"] {
        lab.router.ip(&format!("link delete {interface}"));
    }
    run("nft flush ruleset");
}
