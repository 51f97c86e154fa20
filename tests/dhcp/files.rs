//! Lease files as such: where they lie, who can write them, what is in them. No client is at work.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::census::{self, Census};
use crate::lab::{self, SERVICE};
use crate::site::{Site, shipped, strip};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/leases");

/// eth1 has an address as from DHCP and no default route.
fn site() -> Site {
    lab::need_users();
    let site = Site::of("two-dhcp", &["eth0", "eth1"]);
    strip(&site.router, "eth1");
    site.router.ip("address add 192.0.2.18/28 dev eth1");
    site
}

/// Of each client: its name, the place of its lease for eth1, and a good one, which names 192.0.2.17.
fn places(site: &Site) -> [(&'static str, PathBuf, Vec<u8>); 5] {
    let shown = site.router.ip("-o link show dev eth1");
    let (index, _) = shown.split_once(':').expect("the index comes first");
    [
        ("systemd-networkd", format!("/run/systemd/netif/leases/{index}"), "networkd"),
        ("NetworkManager", format!("/run/NetworkManager/devices/{index}"), "NetworkManager"),
        ("dhcpcd", "/var/lib/dhcpcd/eth1.lease".to_owned(), "dhcpcd.lease"),
        ("dhclient", "/var/lib/dhcp/dhclient.eth1.leases".to_owned(), "dhclient.leases"),
        ("udhcpc", "/run/wanfo/leases/eth1".to_owned(), "udhcpc"),
    ]
    .map(|(client, path, fixture)| {
        let good = fs::read(format!("{FIXTURES}/{fixture}")).expect("a fixture");
        (client, PathBuf::from(path), good)
    })
}

/// Puts something in a place.
type Make<'a> = &'a (dyn Fn(&Path) -> io::Result<()> + Sync);

fn lay(site: &Site, path: &Path, make: impl FnOnce(&Path) -> io::Result<()> + Send) {
    let laid = site.router.run(|| {
        fs::create_dir_all(path.parent().expect("an absolute path"))?;
        make(path)
    });
    laid.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn clear(site: &Site, path: &Path) {
    let cleared = site.router.run(|| match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir(path),
        false => fs::remove_file(path),
    });
    cleared.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[track_caller]
fn assert_known_from(site: &Site, client: &str) {
    site.check();
    let link = site.link("secondary");
    assert_eq!(link["gateway"], "192.0.2.17", "{client}: {link}");
    assert_eq!(link["gateway_source"], client, "{link}");
    assert_eq!(site.problems(), "");
}

#[track_caller]
fn assert_unknown(site: &Site, what: &str) {
    let run = site.check();
    assert!(!run.stderr.contains("panicked"), "{what}: {run:?}");
    let link = site.link("secondary");
    assert!(link["gateway"].is_null() && link["gateway_source"].is_null(), "{what}: {link}");
    assert!(site.problems().contains("no IPv4 gateway is known for eth1"), "{what}: {}", site.problems());
}

pub fn a_run_that_reads_a_lease_is_quiet_and_starts_no_process() {
    let site = site();
    for (client, path, good) in places(&site) {
        lay(&site, &path, |path| fs::write(path, &good));
        assert_known_from(&site, client);
        let quiet = Census { code: 0, stdout: String::new(), stderr: String::new(), started: 0 };
        assert_eq!(census::take(site.wanfo_command(&["check"])), quiet, "{client}");
        clear(&site, &path);
    }
}

pub fn a_lease_file_that_is_no_good_is_ignored_without_harm() {
    let site = site();
    assert_unknown(&site, "no file");
    site.assert_served_over(1, SERVICE);
    for (client, path, good) in places(&site) {
        let half = good[..good.iter().position(|byte| *byte == b'1').unwrap_or(100)].to_vec();
        let elsewhere: Vec<u8> = match client {
            // 192.0.2.99, which nobody has.
            "dhcpcd" => [&good[..19], &[99], &good[20..]].concat(),
            _ => String::from_utf8(good.clone()).expect("text").replace("192.0.2.18", "192.0.2.99").into(),
        };
        let noise: Vec<u8> =
            (0..60_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (what, bytes) in [
            ("half written", half),
            ("of another address", elsewhere),
            ("noise", noise),
            ("empty", Vec::new()),
        ] {
            lay(&site, &path, |path| fs::write(path, bytes));
            assert_unknown(&site, &format!("{client}, {what}"));
            assert!(!site.problems().contains("the lease file"), "{}", site.problems());
            clear(&site, &path);
        }
        let huge = |path: &Path| {
            fs::write(path, &good)?;
            File::options().write(true).open(path)?.set_len(100 << 20)
        };
        let shapes: [(&str, Make, &str); 4] = [
            // Of dhclient's file, which grows, the end is read, and there is nothing in it.
            ("huge", &huge, if client == "dhclient" { "" } else { "more than 65536 bytes" }),
            ("a FIFO", &|path| Ok(mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?), "no regular file"),
            ("a directory", &|path| fs::create_dir(path), "no regular file"),
            ("a link to itself", &|path| symlink(path, path), "round in circles"),
        ];
        for (what, make, why) in shapes {
            lay(&site, &path, make);
            assert_unknown(&site, &format!("{client}, {what}"));
            assert!(site.problems().contains(why), "{client}, {what}: {}", site.problems());
            clear(&site, &path);
        }
        lay(&site, &path, |path| fs::write(path, &good));
        assert_known_from(&site, client);
        clear(&site, &path);
    }
    site.assert_served_over(1, SERVICE);
}

pub fn a_lease_file_that_people_can_write_is_not_obeyed_and_that_is_said() {
    let site = site();
    let [networkd, ..] = places(&site);
    let (client, path, good) = networkd;
    let folder = path.parent().expect("a folder");
    lay(&site, &path, |path| fs::write(path, &good));
    let set = |path: &Path, mode: u32| {
        site.router.run(|| fs::set_permissions(path, Permissions::from_mode(mode))).expect("ours");
    };
    for (spoilt, mode, cure) in
        [(&*path, 0o646, "chmod o-w"), (&*path, 0o664, "chmod g-w"), (folder, 0o777, "chmod go-w")]
    {
        let before = site.router.run(|| fs::metadata(spoilt)).expect("it is there").permissions().mode();
        set(spoilt, mode);
        assert_unknown(&site, cure);
        let said = format!("the lease file {} is not used", path.display());
        assert!(site.problems().contains(&said) && site.problems().contains(cure), "{}", site.problems());
        // Where nobody needs it, it is nobody's problem.
        site.router.ip("route add default via 192.0.2.17 dev eth1 metric 200");
        site.check();
        assert_eq!(site.problems(), "");
        site.router.ip("route del default dev eth1");
        set(spoilt, before);
        assert_known_from(&site, client);
    }
    // Any user, and the account of a daemon.
    let give_to = |user| site.router.run(|| chown(&path, Some(user), None));
    if give_to(54321).is_err() {
        eprintln!("!!! SKIPPED in part: this needs real root !!!");
        return;
    }
    assert_unknown(&site, "somebody's");
    assert!(site.problems().contains("belongs to user 54321"), "{}", site.problems());
    give_to(998).expect("root may give files away");
    assert_known_from(&site, client);
}

pub fn status_says_where_each_gateway_is_known_from() {
    let site = site();
    let config =
        shipped("two-dhcp.yaml").replacen("interface: eth0", "interface: eth0\n    gateway: 192.0.2.1", 1);
    site.router.write("/etc/wanfo/wanfo.yaml", &config);
    let [.., (client, path, good), _] = places(&site);
    lay(&site, &path, |path| fs::write(path, &good));
    assert_known_from(&site, client);
    let primary = site.link("primary");
    assert_eq!(
        (&primary["gateway_source"], &primary["gateway6_source"]),
        (&"config".into(), &"default-route".into())
    );
    assert!(site.link("secondary")["gateway6_source"].is_null());
    let said = [
        "gateway 192.0.2.1 is known from the config",
        "gateway 2001:db8:1::1 is known from the interface's default route",
        "gateway 192.0.2.17 is known from the DHCP lease of dhclient",
    ];
    let [verbose, brief] = [&["status", "-v"][..], &["status"]].map(|words| site.succeeds(words).stdout);
    for said in said {
        assert!(verbose.contains(said) && !brief.contains(said), "{said}\n{verbose}\n{brief}");
    }
}
