//! Reboots of the machine. No line is there when the timer first starts: each interface is moved to it later.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::package::{ours, run, status};
use super::router::{
    Installed, PROGRAM, await_active, await_service, begin, journal_of, lab as lab_at_once, links, property,
    records,
};
use crate::lab::{self, Lab, Namespace, SERVICE, gateway, router_address};
use crate::site::{end, wait_until};

/// For so long after the first start no line is there.
const LATE: Duration = Duration::from_secs(10);
const SPOOL: &str = "/var/lib/wanfo/spool";

/// A relay that nobody is.
const NOTIFY: &str = "notify: {to: [noc@example.com], from: wanfo@example.com, smtp: {host: 203.0.113.25, port: 25, tls: none}}\n";

const FAILED: &str = "Primary WAN link failed on 'machine'. Switched to secondary link.";
/// It was not there at first; the mail of that was not sent before this one took its place.
const BACKUP_IS_BACK: &str = "Standby WAN link lte OK again on 'machine'.";

/// The subjects of those that wait.
fn mails() -> Vec<String> {
    let entries = fs::read_dir(SPOOL).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let entries = entries.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let texts = entries.map(|path| fs::read_to_string(path).expect("a mail"));
    let mails = texts.map(|text| serde_json::from_str::<Value>(&text).expect("JSON"));
    let mut subjects: Vec<_> =
        mails.map(|mail| mail["subject"].as_str().expect("a subject").to_owned()).collect();
    subjects.sort();
    subjects
}

pub fn a_reboot_while_failed_over_finds_the_lines_as_they_are_however_late_they_come() {
    let lab = lab_at_once();
    let installed = Installed::with(&(links(["", ""]) + NOTIFY));
    begin();
    lab.cut_silently(1);
    await_active("lte");
    wait_until("its mail and its record", || (mails().len(), records("switched").len()) == (1, 1));
    installed.stays();
}

/// The lines, where they end before they are the router's.
struct Shelf {
    lab: Lab,
    shelf: Namespace,
}

impl Shelf {
    fn new() -> Shelf {
        let shelf = lab::host(Namespace::new("shelf"));
        let ends = ["eth0", "eth1"].map(|interface| end(&shelf, interface));
        let lab = Lab::with_ends(ends.to_vec(), lab::host(Namespace::of_the_machine()), PROGRAM);
        Shelf { lab, shelf }
    }

    fn move_to_the_router(&self, line: usize) {
        let interface = format!("eth{}", line - 1);
        self.shelf.ip(&format!("link set {interface} netns {}", self.lab.router.path()));
        self.lab.router.ip_all([
            format!("link set {interface} up"),
            format!("address add {}/28 dev {interface}", router_address(line)),
            format!("route add default via {} dev {interface} metric {}", gateway(line), 100 * line),
        ]);
    }
}

/// The timer has started the runs by itself, none of them has failed, and what there is to say was said once.
fn assert_waits_for_lines() {
    wait_until("a run", || status()["last_check"].is_string());
    sleep(LATE);
    run("systemctl is-active wanfo.timer wanfo-deliver.path");
    assert_eq!(property("wanfo.service", "Result"), "success");
    let said = journal_of("wanfo.service");
    assert!(said.contains(&"fibre is down: interface eth0 does not exist".to_owned()), "{said:#?}");
    let mut once = said.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), said.len(), "something was said again: {said:#?}");
}

pub fn the_primary_is_dead_still() {
    let installed = Installed::found();
    assert_waits_for_lines();
    let shelf = Shelf::new();
    shelf.lab.cut_silently(1);
    let meter = shelf.lab.meter(SERVICE);
    for line in [1, 2] {
        shelf.move_to_the_router(line);
    }
    await_active("lte");
    await_service(&meter, 2);
    // Longer than a beat, a silence and a pause of the spool's.
    sleep(2 * LATE);
    assert_eq!(status()["active"], "lte");
    assert_eq!(records("switched").len(), 2, "one of each boot: {:#?}", records("switched"));
    assert_eq!(mails(), [FAILED, FAILED, BACKUP_IS_BACK]);
    assert!(ours(&shelf.lab.router).contains("128.0.0.0/1"));
    installed.stays();
}

pub fn the_primary_is_alive() {
    let _installed = Installed::found();
    assert_waits_for_lines();
    let shelf = Shelf::new();
    let meter = shelf.lab.meter(SERVICE);
    shelf.move_to_the_router(1);
    await_service(&meter, 1);
    // Where no link is up the first that answers is taken, and of two on a slow machine that may be the other.
    wait_until("a primary that is up", || status()["links"][0]["up"] == true);
    shelf.move_to_the_router(2);
    sleep(2 * LATE);
    assert_eq!(status()["active"], "fibre");
    assert_eq!(meter.lines(), [1]);
    assert_eq!(records("switched").len(), 2, "{:#?}", records("switched"));
    // No switch was told, and of the backup at most what is newest: it has not been stable for long enough yet.
    let mails = mails();
    assert_eq!((&mails[..2], mails.len()), (&[FAILED.to_owned(), FAILED.to_owned()][..], 3), "{mails:?}");
    assert!(mails[2].starts_with("Standby WAN link lte "), "{mails:?}");
}
