//! Two routers with wanfo, and keepalived between them.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use crate::lab::{self, Namespace, SERVICE};
use crate::site::{Running, Site, end, host, install_wanfo, load_nft, shipped, switch, wait_until};
use crate::story::WANFO;

/// The program of Debian's package keepalived: that of WANFO_TEST_KEEPALIVED, else the installed one.
fn program() -> PathBuf {
    std::env::var_os("WANFO_TEST_KEEPALIVED").map_or("/usr/sbin/keepalived".into(), PathBuf::from)
}

/// In the place of wanfo.timer, until dropped.
struct Timer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Timer {
    fn start(router: &Namespace) -> Timer {
        let stop = Arc::new(AtomicBool::new(false));
        let (router, stopped) = (router.clone(), Arc::clone(&stop));
        let beat = move || {
            while !stopped.load(Relaxed) {
                let run = router.command(WANFO).arg("check").env_remove("JOURNAL_STREAM").output();
                run.expect("wanfo starts");
                sleep(Duration::from_millis(500));
            }
        };
        Timer { stop, thread: Some(thread::spawn(beat)) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn keepalived(router: &Namespace) -> Running {
    let mut command = router.command(program());
    command.args(["--dont-fork", "--vrrp", "--no-syslog"]);
    command.args(["--pid", "/run/keepalived.pid", "--vrrp_pid", "/run/keepalived-vrrp.pid"]);
    Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()))
}

pub fn the_lan_leaves_by_the_router_that_is_better_off() {
    lab::need_users();
    lab::need(&[program()]);
    let b = host("router B");
    let lines = ["eth0", "eth1"].map(|interface| end(&b, interface));
    let site = Site::with_more_ends("two-routers", &["eth0", "eth1"], &lines);
    let a = &site.router;
    for router in [a, &b] {
        router.sysctl("net.ipv4.ip_forward", "1");
        router.sysctl("net.ipv4.conf.all.rp_filter", "1");
        router.sysctl("net.ipv4.ping_group_range", "0 0");
        load_nft(router, &site.file_on_page("/etc/nftables.conf"));
        install_wanfo(router);
    }
    b.write("/etc/wanfo/wanfo.yaml", &shipped("two-routers.yaml"));
    let config = site.file_on_page("/etc/keepalived/keepalived.conf");
    a.write("/etc/keepalived/keepalived.conf", &config);
    assert!(config.contains("priority 150\n"));
    b.write("/etc/keepalived/keepalived.conf", &config.replace("priority 150\n", "priority 140\n"));

    a.ip("link delete lan");
    let switch = switch(&[(a, "lan"), (&b, "lan"), (&site.client, "eth0")]);
    a.ip("address add 192.0.2.241/28 dev lan");
    b.ip("address add 192.0.2.253/28 dev lan");
    site.client.ip("address add 192.0.2.242/28 dev eth0");
    site.client.ip("route add default via 192.0.2.254");

    let gateway_is_on =
        |router: &Namespace| router.ip("-o address show dev lan").contains(" 192.0.2.254/28 ");
    let leaves_by = |router: &Namespace, line| {
        let other = if router.path() == a.path() { &b } else { a };
        let what = format!("the LAN that leaves by line {line}");
        wait_until(&what, || {
            gateway_is_on(router) && !gateway_is_on(other) && site.ask(SERVICE).ok() == Some(line)
        });
    };
    let timer_of_a = Timer::start(a);
    let _timer_of_b = Timer::start(&b);
    let both = [keepalived(a), keepalived(&b)];
    leaves_by(a, 1);

    // A cable is better than LTE, whosesoever router it is.
    site.pull_cable(1);
    leaves_by(&b, 3);
    site.cut_silently(3);
    leaves_by(a, 2);
    // And any line better than none.
    site.pull_cable(2);
    leaves_by(&b, 4);
    site.plug_in(1);
    leaves_by(a, 1);
    // Of a router whose wanfo does not run nobody knows what its lines are worth.
    drop(timer_of_a);
    leaves_by(&b, 4);
    let _timer_of_a = Timer::start(a);
    leaves_by(a, 1);
    // It is off.
    switch.ip("link set port0 down");
    wait_until("the LAN that leaves by the other router", || {
        gateway_is_on(&b) && site.ask(SERVICE).ok() == Some(4)
    });
    both.into_iter().for_each(Running::stop);
}
