//! cron in place of systemd: one start a minute.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};

use crate::lab::{self, SERVICE, SERVICE6};
use crate::site::{Running, Site, install_wanfo, shipped};

/// The router of the example, with wanfo where the crontab looks for it.
fn site() -> Site {
    let site = Site::of("cron", &["eth0", "eth1"]);
    install_wanfo(&site.router);
    site
}

/// The one line of the crontab: its five times, its user, its command.
fn entry() -> (String, String, String) {
    let crontab = shipped("crontab");
    let mut lines = crontab.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let (line, None) = (lines.next().expect("an entry"), lines.next()) else {
        panic!("one entry: {crontab}")
    };
    assert!(!line.contains('%') && crontab.ends_with('\n'), "cron ends a command there: {crontab}");
    let words: Vec<&str> = line.splitn(7, ' ').collect();
    (words[..5].join(" "), words[5].to_owned(), words[6].to_owned())
}

/// What cron makes of the command once a minute (crontab(5)); no log takes what it says.
fn start(site: &Site) -> Output {
    let (_, _, command) = entry();
    let command = command.replace("logger -t wanfo", "cat");
    let mut shell = site.router.command("/bin/sh");
    shell.args(["-c", &command]).env_clear().current_dir("/");
    shell.env("PATH", "/usr/bin:/bin").env("HOME", "/root").env("LOGNAME", "root").env("SHELL", "/bin/sh");
    shell.stdin(Stdio::null()).output().expect("a shell")
}

pub fn one_start_settles_an_outage() {
    let site = site();
    start(&site);
    site.assert_lan_is_served_over(1);
    let quiet = start(&site);
    assert_eq!((quiet.stdout, quiet.stderr), (Vec::new(), Vec::new()));

    site.cut_silently(1);
    let said = start(&site);
    assert_eq!(site.active(), "secondary", "{said:?}");
    assert!(String::from_utf8_lossy(&said.stdout).contains("switched from primary to secondary"), "{said:?}");
    site.assert_lan_is_served_over(2);

    site.repair(1);
    site.comes_back("primary");
    site.assert_lan_is_served_over(1);

    site.pull_cable(1);
    start(&site);
    assert_eq!(site.active(), "secondary");
    site.assert_lan_is_served_over(2);
}

/// The program of Debian's package cron: that of WANFO_TEST_CRON, else the installed one.
fn daemon() -> PathBuf {
    std::env::var_os("WANFO_TEST_CRON").map_or("/usr/sbin/cron".into(), PathBuf::from)
}

/// The other story takes the crontab by its words; here cron itself does.
pub fn cron_itself_starts_it() {
    let (times, user, _) = entry();
    assert_eq!((times.as_str(), user.as_str()), ("* * * * *", "root"));
    // cron gives every job the groups of its user, and in a lab without root nobody may. No package cures that.
    if fs::read_to_string("/proc/self/setgroups").is_ok_and(|word| word.trim() == "deny") {
        lab::skip_for_good("a lab without root, in which cron may start no job; its crontab was only read");
    }
    lab::need(&[daemon()]);
    let site = site();
    // The machine's own jobs are none of the lab's.
    for place in ["/etc/cron.d", "/var/spool/cron/crontabs"] {
        site.router.empty(place);
    }
    site.router.write("/etc/crontab", "");
    site.router.write("/etc/cron.d/wanfo", &shipped("crontab"));
    site.router.run(|| {
        if Path::new("/dev/log").exists() {
            fs::write("/run/nobody-logs", "").unwrap();
            mount(Some("/run/nobody-logs"), "/dev/log", None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .unwrap();
        }
    });
    site.check();
    site.cut_silently(1);
    let _cron = Running::start(site.router.command(daemon()).arg("-f").stdin(Stdio::null()));
    // At most a minute until it starts, and the silence. The status may be ahead of the last of the routes.
    let deadline = Instant::now() + Duration::from_secs(90);
    let services = [IpAddr::from(SERVICE), SERVICE6.into()];
    while site.active() != "secondary" || services.iter().any(|&service| site.ask(service).ok() != Some(2)) {
        assert!(Instant::now() < deadline, "cron started nothing: {:#}", site.status());
        sleep(Duration::from_millis(200));
    }
}
