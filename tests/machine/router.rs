//! The machine as a router: the program and the shipped units in the places where they are put by hand.

use std::fs;
use std::mem::forget;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::package::{attempt, run, status};
use crate::lab::{self, Lab, Meter, Namespace, target};
use crate::site::{end, wait_until};
use crate::story::WANFO;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
pub const PROGRAM: &str = "/usr/local/bin/wanfo";
pub const CONFIG: &str = "/etc/wanfo/wanfo.yaml";
const UNITS: &str = "/etc/systemd/system";
const SYSCTLS: &str = "/etc/sysctl.d/10-wanfo.conf";
const FOLDERS: [&str; 3] = ["/etc/wanfo", "/var/lib/wanfo", "/run/wanfo"];
pub const HISTORY: &str = "/var/lib/wanfo/history.jsonl";

/// Of `links`.
pub const SILENCE: Duration = Duration::from_secs(2);

/// Two links whose lines are what tells, with these keys besides.
pub fn links(more: [&str; 2]) -> String {
    let link = |name, line: usize, more| {
        format!("  - {{name: {name}, interface: eth{}, targets: [{}]{more}}}\n", line - 1, target(line, 1))
    };
    let links = [link("fibre", 1, more[0]), link("lte", 2, more[1])].concat();
    format!("links:\n{links}probe: {{silence: 2s, record: true}}\n")
}

/// What was put on the machine's disk. It is gone with this value, and with it all that came of it.
pub struct Installed;

impl Installed {
    pub fn with(config: &str) -> Installed {
        // What the stories before left.
        for folder in FOLDERS {
            let _ = fs::remove_dir_all(folder);
        }
        let installed = Installed;
        fs::copy(WANFO, PROGRAM).expect("the program");
        for unit in ["wanfo.service", "wanfo.timer", "wanfo-deliver.service", "wanfo-deliver.path"] {
            fs::copy(format!("{SOURCE}/systemd/{unit}"), format!("{UNITS}/{unit}")).expect("a unit");
        }
        fs::copy(format!("{SOURCE}/systemd/wanfo.sysctl.conf"), SYSCTLS).expect("the sysctls");
        run("systemctl restart systemd-sysctl");
        installed.write(CONFIG, config, 0o644);
        run("systemctl daemon-reload");
        installed
    }

    /// It was put there before the machine was rebooted.
    pub fn found() -> Installed {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is not there");
        Installed
    }

    /// For the next part of the story.
    pub fn stays(self) {
        forget(self);
    }

    pub fn write(&self, place: &str, text: &str, mode: u32) {
        fs::create_dir_all(Path::new(place).parent().expect("a folder")).expect("a folder is made");
        fs::write(place, text).unwrap_or_else(|error| panic!("{place}: {error}"));
        fs::set_permissions(place, fs::Permissions::from_mode(mode)).expect("its owner may");
    }

    pub fn drop_in(&self, unit: &str, name: &str, text: &str) {
        self.write(&format!("{UNITS}/{unit}.d/{name}.conf"), text, 0o644);
        run("systemctl daemon-reload");
    }

    /// A drop-in that is shipped.
    pub fn shipped_drop_in(&self, unit: &str, file: &str) {
        let text = fs::read_to_string(format!("{SOURCE}/systemd/{file}")).expect("a drop-in");
        self.drop_in(unit, "action-script", &text);
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        attempt("systemctl disable --now wanfo.timer wanfo-deliver.path");
        attempt("systemctl stop wanfo.service wanfo-deliver.service");
        attempt("wanfo down");
        for place in [PROGRAM, SYSCTLS] {
            let _ = fs::remove_file(place);
        }
        for unit in fs::read_dir(UNITS).expect("a folder").map(|entry| entry.expect("an entry")) {
            if unit.file_name().to_string_lossy().starts_with("wanfo") {
                let _ = fs::remove_file(unit.path()).or_else(|_| fs::remove_dir_all(unit.path()));
            }
        }
        for folder in FOLDERS {
            let _ = fs::remove_dir_all(folder);
        }
        attempt("systemctl daemon-reload");
        attempt("systemctl reset-failed");
        for interface in ["eth0", "eth1", "lan"] {
            attempt(&format!("ip link delete {interface}"));
        }
        attempt("nft flush ruleset");
    }
}

/// The machine, with eth0 and eth1 to the providers.
pub fn lab() -> Lab {
    let machine = lab::host(Namespace::of_the_machine());
    let ends = ["eth0", "eth1"].map(|interface| end(&machine, interface));
    Lab::with_ends(ends.to_vec(), machine, PROGRAM)
}

/// Starts the timer, and waits until the first link carries the traffic.
#[track_caller]
pub fn begin() {
    run("systemctl enable --now wanfo.timer wanfo-deliver.path");
    await_active("fibre");
}

#[track_caller]
pub fn await_active(link: &str) {
    wait_until(&format!("{link} to be active"), || status()["active"] == link && status()["stale"] == false);
}

#[track_caller]
pub fn await_service(meter: &Meter, line: usize) {
    wait_until(&format!("service over line {line}"), || {
        meter.last_answer().is_some_and(|answer| answer.line == line)
    });
}

/// A property of a unit.
pub fn property(unit: &str, name: &str) -> String {
    run(&format!("systemctl show --value --property={name} {unit}")).trim().to_owned()
}

/// What the history has of this kind.
pub fn records(event: &str) -> Vec<Value> {
    let text = fs::read_to_string(HISTORY).unwrap_or_default();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a record"));
    records.filter(|record| record["event"] == event).collect()
}

/// What the journal of this boot has of our units, whoever said it.
pub fn journal() -> Vec<String> {
    journal_of("wanfo*")
}

pub fn journal_of(unit: &str) -> Vec<String> {
    run("journalctl --sync");
    run(&format!("journalctl --quiet --boot --output=cat --unit={unit}")).lines().map(str::to_owned).collect()
}

/// The same but for what was there before: so many lines. (With `--after-cursor` and `--unit` one more is left out.)
pub fn journal_after(before: usize) -> Vec<String> {
    journal().split_off(before)
}

/// Waits until so many lines of the journal after these have these words in them; all that was said by then.
#[track_caller]
pub fn await_said(before: usize, words: &str, times: usize) -> Vec<String> {
    // A machine that is emulated beside others takes a minute to start exim4.
    let deadline = Instant::now() + Duration::from_secs(150);
    loop {
        let said = journal_after(before);
        if said.iter().filter(|line| line.contains(words)).count() >= times {
            return said;
        }
        assert!(Instant::now() < deadline, "waited in vain for {words:?} {times} times: {said:#?}");
        sleep(Duration::from_millis(500));
    }
}
