//! The lab does what its users take for granted.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::lab::{self, Lab, Line, Meter, Namespace, SERVICE, SERVICE6};

const NO_PROGRAM: &str = "/nonexistent";

pub fn trials() -> Vec<Trial> {
    trials![self::{
        a_host_has_directories_that_the_machine_lacks,
        a_silent_cut_is_silence_until_the_repair,
        a_pulled_cable_is_no_carrier_until_it_is_plugged_in,
        one_address_falls_silent_on_one_line_only,
        each_of_eight_lines_carries_the_service,
        a_host_with_files_of_its_own_shares_them_with_nobody,
    }]
}

fn a_silent_cut_is_silence_until_the_repair() {
    let lab = Lab::new(2, NO_PROGRAM);
    for service in [IpAddr::from(SERVICE), SERVICE6.into()] {
        let meter = lab.meter(service);
        assert_answers_over(1, &meter);

        lab.cut_silently(1);
        assert_silent(&meter);
        assert!(lab.router.ip("link show wan1").contains("LOWER_UP"));
        assert!(answers(&lab, gateway_like(1, service)));

        lab.repair(1);
        assert_answers_over(1, &meter);
    }
}

fn a_pulled_cable_is_no_carrier_until_it_is_plugged_in() {
    let lab = Lab::new(2, NO_PROGRAM);
    let routes =
        lab.router.ip("-6 address show") + &lab.router.ip("route show") + &lab.router.ip("-6 route show");
    let (meter, meter6) = (lab.meter(SERVICE), lab.meter(SERVICE6));

    lab.pull_cable(1);
    assert!(lab.router.ip("link show wan1").contains("NO-CARRIER"));
    assert_silent(&meter);
    assert_silent(&meter6);

    lab.plug_in(1);
    assert_answers_over(1, &meter);
    assert_answers_over(1, &meter6);
    let after =
        lab.router.ip("-6 address show") + &lab.router.ip("route show") + &lab.router.ip("-6 route show");
    assert_eq!(routes, after);
}

fn one_address_falls_silent_on_one_line_only() {
    let lab = Lab::new(2, NO_PROGRAM);
    let mute: [IpAddr; 2] = [lab::target(1, 1).into(), lab::target6(1, 1).into()];
    let others: [IpAddr; 2] = [lab::target(1, 2).into(), lab::target6(1, 2).into()];
    for (mute, other) in mute.into_iter().zip(others) {
        assert!(answers(&lab, mute));
        lab.silence(1, mute);
        assert!(!answers(&lab, mute));
        assert!(answers(&lab, other));
        lab.router.ip(&format!("route add {mute} via {} dev wan2", gateway_like(2, mute)));
        assert!(answers(&lab, mute));
        lab.router.ip(&format!("route del {mute}"));
        lab.end_silence(1, mute);
        assert!(answers(&lab, mute));
    }
}

fn each_of_eight_lines_carries_the_service() {
    let lab = Lab::new(8, NO_PROGRAM);
    let (meter, meter6) = (lab.meter(SERVICE), lab.meter(SERVICE6));
    for line in 1..=8 {
        for service in [IpAddr::from(SERVICE), SERVICE6.into()] {
            lab.router
                .ip(&format!("route replace {service} via {} dev wan{line}", gateway_like(line, service)));
        }
        assert_answers_over(line, &meter);
        assert_answers_over(line, &meter6);
    }
}

/// The line's gateway in the family of `address`.
fn gateway_like(line: Line, address: IpAddr) -> IpAddr {
    if address.is_ipv4() { lab::gateway(line).into() } else { lab::gateway6(line).into() }
}

/// One ping from the router.
fn answers(lab: &Lab, address: IpAddr) -> bool {
    let patience = Duration::from_millis(500);
    lab.router.run(|| ping_rs::send_ping(&address, patience, &[0; 8], None)).is_ok()
}

fn assert_answers_over(line: Line, meter: &Meter) {
    let deadline = Instant::now() + Duration::from_secs(3);
    while meter.last_answer().is_none_or(|answer| answer.line != line || answer.at.elapsed() > LATE) {
        assert!(Instant::now() < deadline, "no reply over line {line}, last was {:?}", meter.last_answer());
        sleep(Duration::from_millis(20));
    }
}

/// An answer older than this means that the next ones are missing.
const LATE: Duration = Duration::from_millis(100);

fn assert_silent(meter: &Meter) {
    let from = Instant::now();
    sleep(Duration::from_millis(500));
    assert!(meter.longest_silence(from, Instant::now()) > Duration::from_millis(400));
}

fn a_host_with_files_of_its_own_shares_them_with_nobody() {
    let hosts = ["a", "b"].map(Namespace::with_files);
    for host in &hosts {
        host.ip("link add eth0 type bridge");
    }
    hosts[0].ip("link add only type bridge");
    let [a, b] = hosts.each_ref();
    for path in ["/run/wanfo/lab", "/var/lib/wanfo/lab", "/etc/wanfo/lab", "/etc/resolv.conf"] {
        a.write(path, "written in a");
        let shown = a.command("cat").arg(path).output().expect("cat starts").stdout;
        assert_eq!(String::from_utf8_lossy(&shown), "written in a", "{path}");
        for seen in [b.run(|| std::fs::read_to_string(path)), std::fs::read_to_string(path)] {
            assert!(seen.is_err() || seen.is_ok_and(|text| text != "written in a"), "{path} is shared");
        }
    }
    let has = |host: &Namespace, name: &str| host.run(|| std::fs::exists(format!("/sys/class/net/{name}")));
    assert!(has(a, "only").unwrap() && has(b, "eth0").unwrap() && !has(b, "only").unwrap());
}

fn a_host_has_directories_that_the_machine_lacks() {
    let host = Namespace::with_files("host");
    let names = |place: &str| -> BTreeSet<OsString> {
        fs::read_dir(place).expect(place).map(|entry| entry.expect(place).file_name()).collect()
    };
    let before = names("/usr");
    // The second lies beside the first: what was made for one stays when the other comes.
    for place in ["/usr/lacking/a/b", "/usr/lacking/c", "/usr/share"] {
        host.empty(place);
        assert!(host.run(|| names(place)).is_empty(), "{place}");
        host.write(format!("{place}/file"), "the host's");
    }
    assert_eq!(host.run(|| names("/usr/lacking")), ["a", "c"].map(OsString::from).into());
    let mut seen = before.clone();
    seen.insert("lacking".into());
    assert_eq!(host.run(|| names("/usr")), seen);
    assert_eq!(host.run(|| fs::read_link("/usr/bin/sh").ok()), fs::read_link("/usr/bin/sh").ok());
    assert_eq!(host.command("ip").arg("-V").output().expect("`ip` is still there").status.code(), Some(0));
    // And not on the machine.
    assert_eq!(names("/usr"), before);
}
