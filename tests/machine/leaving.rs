//! What is left behind, and what is found again: by `systemctl stop`, `disable` and `wanfo down`, and when the state
//! or the kernel's routes are lost under way.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::package::{attempt, ours, run, status};
use super::router::{
    self, Installed, await_active, await_service, begin, journal, journal_after, links, property, records,
};
use crate::lab::{Namespace, SERVICE};
use crate::site::wait_until;
use crate::story::assert_same;

/// What the kernel has, ours or not.
fn kernel(router: &Namespace) -> Vec<String> {
    let shown = [
        "-4 -N route show table all",
        "-6 -N route show table all",
        "-4 -N rule",
        "-6 -N rule",
        "-o address show scope global",
    ];
    sorted(&shown.map(|words| router.ip(words)).concat())
}

/// The order of equals is the kernel's own.
fn sorted(shown: &str) -> Vec<String> {
    let mut lines: Vec<String> = shown.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

/// Ours are these again.
#[track_caller]
fn await_ours(router: &Namespace, expected: &[String]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while sorted(&ours(router)) != expected && Instant::now() < deadline {
        sleep(Duration::from_millis(50));
    }
    assert_same(expected, &sorted(&ours(router)));
}

fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc").map(|entry| entry.expect("an entry").path());
    let names = entries.filter_map(|path| fs::read_to_string(path.join("comm")).ok());
    names.filter(|name| name.starts_with("wanfo")).collect()
}

pub fn stopped_in_the_middle_and_taken_down_it_leaves_nothing_and_begins_anew_when_enabled() {
    let lab = router::lab();
    let _installed = Installed::with(&links(["", ""]));
    let kernel_before = kernel(&lab.router);
    begin();
    lab.cut_silently(1);
    await_active("lte");
    // Both are silent now, and a run stays for as long as that is undecided.
    lab.cut_silently(2);
    wait_until("a run that stays", || property("wanfo.service", "ActiveState") == "activating");
    let start = Instant::now();
    run("systemctl stop wanfo.timer wanfo.service wanfo-deliver.path");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(property("wanfo.service", "Result"), "success");
    assert_eq!(processes(), [""; 0]);
    let routes = ours(&lab.router);
    assert!(routes.contains("128.0.0.0/1"), "{routes}");

    run("systemctl disable wanfo.timer wanfo-deliver.path");
    assert_eq!(run("find /etc/systemd/system /run/systemd -type l -name wanfo*"), "");
    let units = run("systemctl list-units --plain --no-legend --state=active,activating,failed wanfo*");
    assert_eq!(units, "");
    run("wanfo down");
    assert_eq!(kernel(&lab.router), kernel_before);
    sleep(Duration::from_secs(3));
    assert_eq!((kernel(&lab.router), processes()), (kernel_before, Vec::new()));

    // Line 1 is dead still.
    lab.repair(2);
    run("systemctl enable --now wanfo.timer");
    await_active("lte");
    lab.repair(1);
}

/// Those that moved the traffic. That a link was found to carry it is told as well.
fn switches() -> Vec<Value> {
    records("switched").into_iter().filter(|record| record["cause"] != "found").collect()
}

pub fn what_the_state_or_the_kernel_forgets_is_known_from_the_other() {
    // Nothing moves the traffic but what is tried here.
    let lab = router::lab();
    let _installed = Installed::with(&links(["", ", delay: 10m"]));
    begin();
    lab.cut_silently(1);
    await_active("lte");
    let meter = lab.meter(SERVICE);
    await_service(&meter, 2);
    wait_until("the last of the routes", || ours(&lab.router).contains("64:ff9b:1::/48"));
    let routes = sorted(&ours(&lab.router));
    assert_eq!(switches().len(), 1);

    let start = Instant::now();
    for entry in fs::read_dir("/run/wanfo").expect("a folder") {
        fs::remove_file(entry.expect("an entry").path()).expect("it goes");
    }
    await_active("lte");
    sleep(Duration::from_secs(5));
    let silence = meter.longest_silence(start, Instant::now());
    println!("  with the state lost the LAN heard nothing for {:.2} s", silence.as_secs_f64());
    assert_eq!(meter.lines(), [2], "somebody was moved");
    assert_eq!(status()["active"], "lte");
    assert_eq!(sorted(&ours(&lab.router)), routes);
    assert_eq!(switches().len(), 1, "{:?}", switches());

    let before = journal().len();
    let start = Instant::now();
    for family in ["-4", "-6"] {
        attempt(&format!("ip {family} route flush table all proto 119"));
        attempt(&format!("ip {family} rule flush protocol 119"));
    }
    await_ours(&lab.router, &routes);
    await_service(&meter, 2);
    let silence = meter.longest_silence(start, Instant::now());
    println!("  with routes and rules flushed, for {:.2} s", silence.as_secs_f64());
    let said = journal_after(before);
    let told = said.iter().filter(|line| *line == "brought the kernel's routes in line again:").count();
    assert!((1..=2).contains(&told), "{said:?}");

    let start = Instant::now();
    lab.pull_modem(1);
    lab.pull_modem(2);
    sleep(Duration::from_secs(3));
    lab.plug_in_modem(1);
    lab.plug_in_modem(2);
    await_ours(&lab.router, &routes);
    await_service(&meter, 2);
    let silence = meter.longest_silence(start, Instant::now());
    println!("  with both interfaces gone for 3 s, for {:.2} s", silence.as_secs_f64());
    assert_eq!(status()["active"], "lte");
    assert_eq!(property("wanfo.service", "Result"), "success");
    lab.repair(1);
}
