//! What goes over the lines: flows that have to move, and bytes that are counted.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::*;
use crate::lab::{Line, Meter, Namespace, Run, SERVICE, SERVICE6};
use crate::story::{PROBE, Story, config, two_links};

/// A router with static `snat` on both lines; the second provider, as any, drops what has a source address of the
/// first.
fn with_snat(more: &str) -> Story {
    lab::need(&["nft", "conntrack"]);
    let story = Story::begin(2, &config(&two_links(["", ""]), &[PROBE, more]));
    let mut nat = "table inet lab { chain out { type nat hook postrouting priority srcnat;\n".to_owned();
    for line in [1, 2] {
        let (v4, v6) = (lab::router_address(line), lab::router_address6(line));
        nat += &format!("oifname wan{line} meta nfproto ipv4 snat ip to {v4}\n");
        nat += &format!("oifname wan{line} meta nfproto ipv6 snat ip6 to {v6}\n");
    }
    nft(&story.router, &(nat + "}; }"));
    let (v4, v6) = (lab::router_address(1), lab::router_address6(1));
    let spoofed = format!(
        "table inet lab {{ chain in {{ type filter hook forward priority filter; \
         ip saddr {v4} drop; ip6 saddr {v6} drop; }}; }}"
    );
    nft(story.provider(2), &spoofed);
    story
}

fn nft(namespace: &Namespace, rules: &str) {
    let output = namespace.command("nft").arg(rules).output().expect("nft was there just now");
    assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn assert_answers_over(line: Line, meter: &Meter) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let fresh = Duration::from_millis(150);
    while meter.last_answer().is_none_or(|answer| answer.line != line || answer.at.elapsed() > fresh) {
        assert!(Instant::now() < deadline, "no reply over line {line}, last was {:?}", meter.last_answer());
        sleep(Duration::from_millis(20));
    }
}

/// Clients that ask from one port all the time, as a telephone that is registered does, on the primary, which then dies.
fn registered_over_a_line_that_died(story: &Story) -> [Meter; 2] {
    story.check();
    let meters = [IpAddr::from(SERVICE), IpAddr::from(SERVICE6)].map(|service| story.meter(service));
    meters.iter().for_each(|meter| assert_answers_over(1, meter));
    story.cut_silently(1);
    meters
}

pub fn a_sip_like_flow_moves_with_the_switch() {
    let story = with_snat("flush_conntrack: true");
    let meters = registered_over_a_line_that_died(&story);
    let run = story.check_until_active("secondary");
    assert!(run.stderr.contains("flows that still used primary"), "{run:?}");
    meters.iter().for_each(|meter| assert_answers_over(2, meter));
    // And home again.
    story.repair(1);
    story.check_until_active("primary");
    meters.iter().for_each(|meter| assert_answers_over(1, meter));
    assert_eq!(story.problems(), "");
}

/// To another name it is a switch, but what flows over the line has nowhere else to go.
pub fn a_link_that_gets_another_name_keeps_its_flows() {
    let story = with_snat("flush_conntrack: true");
    story.check();
    let meter = story.meter(SERVICE);
    assert_answers_over(1, &meter);
    let [primary, secondary] = two_links(["", ""]);
    let renamed = primary.replace("primary", "fibre");
    story.configure(&config(&[renamed, secondary], &[PROBE, "flush_conntrack: true"]));
    let run = story.check();
    assert!(run.stderr.contains("switched from primary to fibre"), "{run:?}");
    assert!(run.stderr.contains("deleted 0 flows"), "{run:?}");
    assert_answers_over(1, &meter);
}

/// conntrack gives up at a flow that has ended since it was listed, and the telephone's would stay where it was.
pub fn flows_that_end_while_others_are_deleted_keep_none_of_them() {
    let story = with_snat("flush_conntrack: true");
    // Whoever asks from a port once is forgotten after a second, as what names are resolved with.
    story.router.sysctl("net.netfilter.nf_conntrack_udp_timeout", "1");
    let is_over = Arc::new(AtomicBool::new(false));
    let (client, over) = (story.client.clone(), Arc::clone(&is_over));
    let asking = spawn(move || {
        client.run(|| {
            while !over.load(Ordering::Relaxed) {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
                let _ = socket.send_to(b"?", (SERVICE, 9));
                sleep(Duration::from_micros(50));
            }
        });
    });
    let meters = registered_over_a_line_that_died(&story);
    let run = story.check_until_active("secondary");
    is_over.store(true, Ordering::Relaxed);
    asking.join().expect("it has asked");
    assert!(run.stderr.contains("flows that still used primary"), "{run:?}");
    meters.iter().for_each(|meter| assert_answers_over(2, meter));
}

pub fn without_flush_conntrack_the_flow_stays_where_it_was() {
    let story = with_snat("flush_conntrack: false");
    let meters = registered_over_a_line_that_died(&story);
    story.check_until_active("secondary");
    let from = Instant::now();
    sleep(Duration::from_millis(800));
    for meter in &meters {
        assert!(meter.longest_silence(from, Instant::now()) > Duration::from_millis(700));
    }
    story.assert_lan_is_served_over(2);
}

pub fn without_conntrack_there_is_a_problem_and_nothing_else() {
    let story = Story::begin(2, &config(&two_links(["", ""]), &[PROBE, "flush_conntrack: true"]));
    // In place of the directories that it may be in, one with nothing but `ip`.
    let bare = story.path("bare");
    fs::create_dir(&bare).unwrap();
    let ip = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"];
    let ip = ip.iter().find_map(|place| fs::canonicalize(place).ok()).expect("the lab needs `ip`");
    fs::copy(ip, bare.join("ip")).unwrap();
    let mut directories: Vec<PathBuf> = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .iter()
        .filter(|directory| Path::new(directory).join("conntrack").exists())
        .map(|directory| fs::canonicalize(directory).unwrap())
        .collect();
    directories.dedup();
    let covers: Vec<_> = directories.iter().map(|directory| (&*bare, &**directory)).collect();
    let bare = |arguments: &[&str]| {
        let run = Run::from(story.wanfo_seeing(arguments, &covers).output().expect("wanfo starts"));
        assert_eq!(run.code, 0, "{run:?}");
        run.stderr
    };
    let cure = "install conntrack (conntrack-tools)";
    let said = bare(&["check"]);
    assert_eq!(said.matches(cure).count(), 1, "{said}");
    assert_eq!(bare(&["check"]), "", "it is said once");
    assert!(story.problems().contains(cure), "{}", story.problems());
    story.pull_cable(1);
    let said = bare(&["check"]);
    assert!(!said.contains("conntrack"), "{said}");
    assert_eq!(story.active(), "secondary");
    assert_carried_by(&story, 2);
    assert!(story.succeeds(&["status"]).stdout.contains(cure));
}

/// The router sends about so many kB to the backup's gateway, which it reaches whatever the default route is.
fn send(story: &Story, kilobytes: usize) {
    let socket = story.router.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    for _ in 0..kilobytes {
        // With the headers of UDP, IP and Ethernet 1000 bytes.
        socket.send_to(&[0; 958], (lab::gateway(2), 9)).expect("there is a route");
        sleep(Duration::from_micros(100));
    }
}

/// A sysfs with the router's interfaces, and so their counters, until dropped. The lab's own /sys has the machine's.
struct Sys(PathBuf);

impl Sys {
    fn of(story: &Story) -> Sys {
        let path = story.path("sys");
        fs::create_dir(&path).expect("the lab's directory takes one more");
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        // It shows the network namespace of the thread that mounts it.
        let mount_it = || mount(Some("sysfs"), &path, Some("sysfs"), flags, None::<&str>);
        story.router.run(mount_it).expect("a sysfs of the lab's own");
        Sys(path)
    }
}

impl Drop for Sys {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

pub fn the_bytes_over_the_backup_are_counted_over_a_new_interface() {
    let story = Story::begin(2, &config(&two_links(["", ""]), &[PROBE, NOTIFY]));
    let sys = Sys::of(&story);
    let check = || {
        let run = Run::from(
            story.wanfo_seeing(&["check"], &[(&sys.0, Path::new("/sys"))]).output().expect("wanfo starts"),
        );
        assert_eq!(run.code, 0, "{run:?}");
        run
    };
    let check_until = |what: &str, condition: &dyn Fn() -> bool| {
        for _ in 0..20 {
            check();
            if condition() {
                return;
            }
        }
        panic!("{what} was not seen: {:#}", story.status());
    };
    check();
    story.pull_cable(1);
    check();
    assert_eq!(story.active(), "secondary");
    send(&story, 300);
    check();
    // The modem is pulled out and put back: its counters begin at 0.
    story.pull_modem(2);
    check();
    story.plug_in_modem(2);
    // What went over it before the first look at it counts as well.
    send(&story, 200);
    check_until("a backup that is up", &|| story.link("secondary")["up"] == true);
    story.plug_in(1);
    check_until("the primary", &|| story.active() == "primary");

    let records = happened(&story, "switched");
    assert!(records[0]["backup_bytes"].is_null(), "{records:?}");
    let bytes = records[1]["backup_bytes"].as_u64().expect("a count");
    assert!((500_000..600_000).contains(&bytes), "{bytes} bytes were counted");
    let mails = spool(&story);
    let page = text(&mails.last().expect("mails")["text"]);
    let volume = page.lines().find_map(|line| line.strip_prefix("Volume: ")).expect("the volume is told");
    let (count, rest) = volume.split_once(' ').expect("a number and a unit");
    assert_eq!(rest, "kB went over secondary meanwhile");
    let told: f64 = count.parse().expect("a number");
    assert!((told - bytes as f64 / 1000.0).abs() < 1.0, "{told} kB of {bytes} bytes");
    let summary = story.succeeds(&["history"]).stdout;
    let count = (bytes as f64 / 1000.0).round();
    assert!(summary.contains(&format!("{count} kB")), "{summary}");
}
