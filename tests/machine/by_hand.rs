//! What README and docs/monitoring.md say, typed as it stands, under real systemd.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::package::{attempt, files, ours, run, status};
use super::router::PROGRAM;
use crate::lab::{self, Lab, Namespace, SERVICE};
use crate::site::{end, masquerade, wait_until};
use crate::story::WANFO;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
/// Where it is typed: the folder of the sources, but that what was built for the tests stands for a release.
const DESK: &str = "/run/desk";
/// Those of the smallest config.
const TARGETS: &str = "[198.51.100.53, 203.0.113.53]";
/// A host beside the service.
const OTHER: &str = "203.0.113.81";
const SENDMAIL: &str = "/usr/sbin/sendmail";
const OWN_SENDMAIL: &str = "/usr/sbin/sendmail.own";

/// The first indented block after these words.
fn block(page: &str, words: &str) -> String {
    let text = fs::read_to_string(Path::new(SOURCE).join(page)).expect("a page");
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("{page} does not say {words:?}"));
    let lines = rest.lines().skip(1).skip_while(|line| !line.starts_with("    "));
    lines.take_while(|line| line.starts_with("    ")).map(|line| format!("{line}\n")).collect()
}

/// The smallest config, with targets that there are.
fn smallest() -> String {
    let text = fs::read_to_string(Path::new(SOURCE).join("README.md")).expect("README");
    let (_, rest) = text.split_once("## The smallest config\n\n```yaml\n").expect("the smallest config");
    let (config, _) = rest.split_once("```").expect("its end");
    assert_eq!(config.matches(TARGETS).count(), 2, "{config}");
    config.replace(TARGETS, &format!("[{SERVICE}, {OTHER}]"))
}

/// By root, who has built it before, and has the config ready that the editor is to make. What was printed.
#[track_caller]
fn type_in(page: &str, words: &str) -> String {
    let person = "set -e; sudo() { \"$@\"; }; cargo() { :; }; editor() { cp config \"$1\"; }";
    let lines = block(page, words);
    let mut shell = Command::new("sh");
    let output = shell.current_dir(DESK).arg("-c").arg(format!("{person}\n{lines}")).output();
    let output = output.expect("a shell");
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "{lines}{said}");
    said
}

pub fn what_the_pages_say_of_installing_watching_and_uninstalling_can_be_typed_as_it_stands() {
    let before = files();
    let machine = lab::host(Namespace::of_the_machine());
    let ends = ["eth0", "eth1"].map(|interface| end(&machine, interface));
    let lab = Lab::with_ends(ends.to_vec(), machine, PROGRAM);
    lab.internet.ip(&format!("address add {OTHER}/32 dev lo"));
    masquerade(&lab.router, "eth0");
    masquerade(&lab.router, "eth1");
    let release = Path::new(DESK).join("target/release");
    fs::create_dir_all(&release).expect("a folder");
    symlink(WANFO, release.join("wanfo")).expect("a link");
    for folder in ["systemd", "examples"] {
        symlink(Path::new(SOURCE).join(folder), Path::new(DESK).join(folder)).expect("a link");
    }

    fs::write(Path::new(DESK).join("config"), smallest()).expect("a config");

    type_in("README.md", "**By hand**:");
    let said = type_in("README.md", "Either way, go on with the config");
    assert!(said.contains("; secondary is ready\n"), "{said}");
    wait_until("a run", || status()["active"] == "primary" && status()["stale"] == false);

    type_in("README.md", "If you use an action or exit script");
    run("systemctl daemon-reload");
    let environment = run("systemctl show --property=Environment wanfo.service");
    assert!(environment.contains("WANFO_SANDBOX=no"), "{environment}");

    let [metrics, page] = ["/var/lib/prometheus/node-exporter", "/var/www/html"];
    for folder in [metrics, page] {
        fs::create_dir_all(folder).expect("a folder");
    }
    let alarm = "To: noc@example.com\nSubject: wanfo on this router has stopped\n\n.\n";
    fs::write("/etc/wanfo/alarm.mail", alarm).expect("a mail");
    // The machine's own would be written to through its link.
    fs::rename(SENDMAIL, OWN_SENDMAIL).expect("it has one");
    fs::write(SENDMAIL, "#!/bin/sh\nexec cat > /run/sent\n").expect("a program");
    fs::set_permissions(SENDMAIL, fs::Permissions::from_mode(0o755)).expect("it is ours");
    for words in [
        "## Prometheus",
        "`wanfo-drill.timer` does that",
        "## A page for a browser",
        "## When wanfo itself stops",
    ] {
        type_in("docs/monitoring.md", words);
    }
    run("systemctl start wanfo-metrics.service wanfo-page.service wanfo-watch.service");
    let metrics = fs::read_to_string(format!("{metrics}/wanfo.prom")).expect("metrics");
    assert!(metrics.contains("\nwanfo_status 0\n"), "{metrics}");
    let page = fs::read_to_string(format!("{page}/wanfo.html")).expect("a page");
    assert!(page.contains("<h1>WAN failover: on the primary</h1>") && page.ends_with("</html>\n"), "{page}");

    run("systemctl stop wanfo.timer");
    wait_until("three beats without a run", || status()["stale"] == true);
    assert!(!attempt("systemctl start wanfo-watch.service").0);
    wait_until("the alarm", || fs::read_to_string("/run/sent").is_ok_and(|sent| sent == alarm));

    run("systemctl disable --now wanfo-metrics.timer wanfo-page.timer wanfo-watch.timer wanfo-drill.timer");
    assert_ne!(ours(&lab.router), "");
    type_in("README.md", "### Uninstall");
    assert_eq!(ours(&lab.router), "");
    for place in [DESK, "/var/www", "/var/lib/prometheus"] {
        fs::remove_dir_all(place).expect("it goes");
    }
    for file in [SENDMAIL, "/run/sent"] {
        fs::remove_file(file).expect("it goes");
    }
    fs::rename(OWN_SENDMAIL, SENDMAIL).expect("it is where it was");
    // It takes along what other stories have left in the same places.
    let left = files();
    let ours: Vec<&str> = left.lines().filter(|file| !before.lines().any(|known| known == *file)).collect();
    assert!(ours.is_empty(), "{ours:?}");
    for interface in ["eth0", "eth1", "lan"] {
        lab.router.ip(&format!("link delete {interface}"));
    }
    run("nft flush ruleset");
}
