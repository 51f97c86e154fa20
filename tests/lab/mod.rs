//! A router with its providers, its LAN and an Internet, all in network namespaces of this process.
//!
//! Needs Linux, Rust and iproute2, and no root where the system lets users make user namespaces. Nothing has
//! a name on the machine: namespaces live as long as this process's file descriptors, files lie on a tmpfs
//! that only this process sees, children die with their parent. So two runs cannot collide, and nothing is
//! left behind, even after `kill -9`.
//!
//! ```text
//!   client --- lan [router] wan1 --- customer [provider 1] internet --- line1 [internet]
//!                           wan2 --- customer [provider 2] internet --- line2
//! ```
//!
//! | what | IPv4 | IPv6 |
//! |---|---|---|
//! | line i: provider (gateway), router | .1 and .2 of 192.0.2.16(i-1)/28 | 2001:db8:i::1 and ::2, /64 |
//! | provider i, Internet | .1 and .2 of 192.0.2.(128+4(i-1))/30 | 2001:db8:i:f::1 and ::2, /64 |
//! | LAN: router and client | 192.0.2.241 and .242, /28 | 2001:db8:f::1 and ::2, /64 |
//! | targets 1 to 3 of line i | 198.51.100.i1 to .i3 | 2001:db8:ffff::i1 to ::i3 |
//! | the service | 203.0.113.80 | 2001:db8:ffff::80 |
//!
//! Every address of the Internet can be reached over every line, and what comes from the router's own
//! addresses is answered over the line it came from. LAN addresses are routed, not translated, so only the
//! service answers them over the right line (see `Service`); everything else answers the LAN over line 1.

#![allow(
    dead_code,
    unused_imports,
    reason = "each program of the lab compiles it for itself, and none uses all of it"
)]

mod files;
mod namespace;
mod service;

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, exit};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getegid, geteuid};
use serde_json::Value;
use tempfile::TempDir;

use namespace::time_ahead;
pub use namespace::{Namespace, before_exec, die_with_parent};
pub use service::{Answer, Meter, Service};

/// Where LAN users find the service.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
pub const SERVICE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x80);

pub const LAN: &str = "192.0.2.240/28";
pub const LAN6: &str = "2001:db8:f::/64";
/// How many targets each line has.
const TARGETS: u8 = 3;
/// The metric of routes that swallow packets once the real route is gone.
const BACKSTOP: u32 = 4_278_198_272;

/// Moves this process into namespaces of its own, in which it is root; the first thing in main, since a
/// process with threads may not enter a user namespace (unshare(2)).
///
/// # Errors
/// One sentence: what was refused, why that is likely, and what to do.
pub fn enter() -> Result<()> {
    // The value that PATH has for children is the one that finds `ip` here.
    if Command::new("ip").env("PATH", namespace::search_path()).arg("-V").output().is_err() {
        bail!("the lab needs the program `ip`, and it is not on this machine: install the package iproute2");
    }
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .map_err(|error| refused("new network and mount namespaces", error.into()))?;
    } else {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .map_err(|error| refused("new user, network and mount namespaces", error.into()))?;
        // In this order: gid_map takes nothing from a user before setgroups is denied (user_namespaces(7)).
        let maps = [
            ("setgroups", "deny".into()),
            ("uid_map", format!("0 {user} 1")),
            ("gid_map", format!("0 {group} 1")),
        ];
        for (file, text) in maps {
            let path = format!("/proc/self/{file}");
            fs::write(&path, text).map_err(|error| refused(&format!("writing {path}"), error))?;
        }
    }
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .map_err(|error| refused("making the mounts private", error.into()))?;
    // Takes the lab's files along when the process is gone. It and the others hide what the machine's DHCP clients know.
    files::empty(Path::new("/run")).map_err(|error| refused("mounting a tmpfs on /run", error))?;
    for leases in ["/var/lib/dhcp", "/var/lib/dhclient", "/var/lib/dhcpcd", "/var/lib/dhcpcd5"].map(Path::new)
    {
        if leases.exists() {
            files::empty(leases).map_err(|error| refused("hiding the machine's DHCP leases", error))?;
        }
    }
    // With that of most distributions' users, 002, wanfo would refuse configs and scripts: their group may write.
    umask(Mode::from_bits_truncate(0o022));
    Ok(())
}

/// `enter` for the main of tests: whether it succeeded. If not, one loud line says why, and ends the program where the
/// environment has `WANFO_REQUIRE_LAB=1`.
pub fn entered() -> bool {
    let Err(error) = enter() else { return true };
    if is_required() {
        eprintln!("FAILED: WANFO_REQUIRE_LAB=1 asks for the lab tests, but {error}");
        exit(1);
    }
    eprintln!("!!! SKIPPED, ALL THAT NEEDS THE LAB: {error} !!!");
    false
}

pub fn is_required() -> bool {
    std::env::var_os("WANFO_REQUIRE_LAB").is_some_and(|value| value == "1")
}

/// With this a story ends that cannot be told here: the reason.
pub struct Skipped(pub String);

/// Ends the story, and says so loudly; where the environment has `WANFO_REQUIRE_LAB=1` that is an error.
pub fn skip(reason: &str) -> ! {
    assert!(!is_required(), "WANFO_REQUIRE_LAB=1 asks for every story, but {reason}");
    skip_for_good(reason)
}

/// The same for what no package cures, and so never an error.
pub fn skip_for_good(reason: &str) -> ! {
    eprintln!("!!! SKIPPED: {reason} !!!");
    resume_unwind(Box::new(Skipped(reason.to_owned())))
}

/// Ends the story where one of these programs, or files by their whole path, is not on this machine, or is a device that
/// this user may not open.
pub fn need<P: AsRef<Path>>(programs: &[P]) {
    for device in programs.iter().map(AsRef::as_ref).filter(|program| program.starts_with("/dev")) {
        if let Err(error) = fs::File::options().read(true).write(true).open(device) {
            skip(&format!("there is no {} to be had: {error}", device.display()));
        }
    }
    let places = namespace::search_path();
    let is_there = |program: &Path| std::env::split_paths(&places).any(|place| place.join(program).exists());
    if let Some(missing) = programs.iter().map(AsRef::as_ref).find(|program| !is_there(program)) {
        skip(&format!("there is no {} on this machine", missing.display()));
    }
}

/// Ends the story where there is one user and no other, so that a link can have no uid of its own.
pub fn need_users() {
    if !has_other_users() {
        skip_for_good("this needs real root: the lab has a single uid else");
    }
}

/// A lab without root has one user and no other.
pub fn has_other_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").expect("/proc is mounted");
    map.split_whitespace().nth(2).is_some_and(|mapped| mapped != "1")
}

/// The problems that a status in JSON tells, without what every lab has that is not root's.
pub fn problems(status: &Value) -> Vec<Value> {
    let problems = status["problems"].as_array().expect("problems").iter();
    problems.filter(|problem| problem["code"] != "pinned-by-target" || has_other_users()).cloned().collect()
}

fn refused(what: &str, error: std::io::Error) -> anyhow::Error {
    let switches = [
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user.max_user_namespaces", "0", "10000"),
        ("user.max_net_namespaces", "0", "10000"),
    ];
    let culprit = switches.iter().find(|(key, forbids, _)| {
        let value = fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/")));
        value.is_ok_and(|value| value.trim() == *forbids)
    });
    let advice = match culprit {
        // AppArmor lets the namespace be made but takes the rights in it: the error comes at a later step.
        Some((key, forbids, allows)) if !geteuid().is_root() || key.starts_with("user.") => format!(
            "most likely because {key} is {forbids}; run this as root, or first `sysctl -w {key}={allows}`"
        ),
        _ => "none of kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns and \
              user.max_user_namespaces forbids it, so this is most likely a container without the right; \
              run this on the machine itself, as root if need be, or in a container started with --privileged"
            .to_owned(),
    };
    anyhow!("the lab cannot be built: the kernel refused {what} ({error}); {advice}")
}

/// A line's number, from 1: line 1 is `wan1` on the router.
pub type Line = usize;

/// Where a line ends at the customer's: the host, and what the line is called there.
#[derive(Clone)]
pub struct End {
    pub host: Namespace,
    pub interface: String,
}

/// The whole lab: a router, its lines, its LAN and the Internet. Gone when dropped.
pub struct Lab {
    pub router: Namespace,
    /// The one host of the LAN.
    pub client: Namespace,
    pub internet: Namespace,
    /// Of each line.
    ends: Vec<End>,
    providers: Vec<Namespace>,
    /// How far wanfo's clock is ahead of the machine's, and the time namespace that makes it so.
    ahead: Mutex<(Duration, Option<Arc<OwnedFd>>)>,
    /// Only kept alive: it answers until the lab is dropped.
    _service: Service,
    directory: TempDir,
    binary: PathBuf,
}

/// What one run of wanfo left.
#[derive(Debug)]
pub struct Run {
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Run { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Lab {
    /// A lab with this many lines, 2 to 8, all whole, in which `wanfo` runs the program at `binary`.
    ///
    /// The router has a default route by way of each line, in both families, with metric 100 for line 1, 200
    /// for line 2 and so on, as a DHCP client would set them.
    pub fn new(lines: usize, binary: impl Into<PathBuf>) -> Lab {
        let lab = Lab::closed_to_pings(lines, binary);
        lab.open_to_pings();
        lab
    }

    /// The same, but the router's kernel lets nobody open an ICMP socket, as a new one does.
    pub fn closed_to_pings(lines: usize, binary: impl Into<PathBuf>) -> Lab {
        assert!((2..=8).contains(&lines), "a lab has 2 to 8 lines, not {lines}");
        let router = host(Namespace::new("router"));
        let end = |line| End { host: router.clone(), interface: format!("wan{line}") };
        let lab = Lab::with_ends((1..=lines).map(end).collect(), router, binary);
        lab.await_ipv6();
        lab
    }

    /// IPv6 makes the routes to own addresses some time after these (addrconf_dad_work, net/ipv6/addrconf.c); who compares what
    /// the kernel has must not see them come.
    fn await_ipv6(&self) {
        let interfaces: Vec<&str> =
            self.ends.iter().map(|end| end.interface.as_str()).chain(["lan"]).collect();
        let are_there = || {
            let local = self.router.ip("-6 route show table local");
            let has = |interface: &&str| {
                let of_it = |line: &&str| line.contains(&format!(" dev {interface} "));
                let own = local.lines().filter(|line| line.starts_with("local ")).filter(of_it);
                own.count() >= 2
            };
            interfaces.iter().all(has)
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while namespace::has_ipv6() && !are_there() && Instant::now() < deadline {
            sleep(Duration::from_millis(20));
        }
    }

    /// The same with a line for each of these ends, not all of which need be the router's. Where the router has files of
    /// its own, `wanfo` is configured where it is on a real one.
    pub fn with_ends(ends: Vec<End>, router: Namespace, binary: impl Into<PathBuf>) -> Lab {
        let lines = ends.len();
        let internet = host(Namespace::new("internet"));
        let client = host(Namespace::new("client"));
        router.sysctl("net.ipv4.ip_forward", "1");
        router.sysctl("net.ipv6.conf.all.forwarding", "1");

        let near = |device: &str, host: u8| {
            [
                format!("link set {device} up"),
                format!("address add 192.0.2.{}/28 dev {device}", 240 + host),
                format!("address add 2001:db8:f::{host}/64 dev {device}"),
            ]
        };
        router.ip(&format!("link add lan type veth peer name eth0 netns {}", client.path()));
        router.ip_all(near("lan", 1));
        let routes = ["route add default via 192.0.2.241", "route add default via 2001:db8:f::1"];
        client.ip_all(near("eth0", 2).into_iter().chain(routes.map(str::to_owned)));

        let targets = (1..=lines).flat_map(|line| (1..=TARGETS).map(move |number| (line, number)));
        let mut addresses = vec![format!("{SERVICE}/32"), format!("{SERVICE6}/128")];
        addresses.extend(targets.flat_map(|(line, number)| {
            [format!("{}/32", target(line, number)), format!("{}/128", target6(line, number))]
        }));
        // An IPv6 address is one that a server may bind to once a worker of the kernel's has looked at it, unless told so.
        let at_once = |address: &str| if address.contains(':') { " nodad" } else { "" };
        internet.ip_all(
            addresses.iter().map(|address| format!("address add {address} dev lo{}", at_once(address))),
        );

        let providers = (1..=lines).map(|line| provider(line, &ends[line - 1], &internet)).collect();
        let services: [IpAddr; 2] = [SERVICE.into(), SERVICE6.into()];
        let families = if namespace::has_ipv6() { 2 } else { 1 };
        let service = Service::start(&internet, &services[..families], lines);
        // On the tmpfs that `enter` mounted.
        let directory = tempfile::tempdir_in("/run").expect("a directory on the lab's own tmpfs");
        Lab {
            router,
            client,
            internet,
            ends,
            providers,
            ahead: Mutex::default(),
            _service: service,
            directory,
            binary: binary.into(),
        }
    }

    /// Lets processes on the router ping. There is no way back where the lab runs without root: in a user
    /// namespace only mapped groups may be written, and the default `1 0` names one that is not.
    pub fn open_to_pings(&self) {
        self.router.sysctl("net.ipv4.ping_group_range", "0 0");
    }

    /// The namespace of a line's provider.
    pub fn provider(&self, line: Line) -> &Namespace {
        &self.providers[line - 1]
    }

    /// The line dies somewhere behind the provider's first hop: its gateway answers, all else is silence.
    pub fn cut_silently(&self, line: Line) {
        // Both ways: the Internet's end loses its carrier, and the provider's backstop swallows the rest.
        self.provider(line).ip("link set internet down");
    }

    /// Undoes `cut_silently`.
    pub fn repair(&self, line: Line) {
        far_side(self.provider(line), line);
    }

    /// The customer's end of the line (`wanI`) loses its carrier.
    pub fn pull_cable(&self, line: Line) {
        self.provider(line).ip("link set customer down");
    }

    /// Undoes `pull_cable`.
    pub fn plug_in(&self, line: Line) {
        near_side(self.provider(line), line);
    }

    /// The router's `wanI` vanishes, as a modem on USB does that is pulled out.
    pub fn pull_modem(&self, line: Line) {
        let End { host, interface } = &self.ends[line - 1];
        host.ip(&format!("link delete {interface}"));
    }

    /// Undoes `pull_modem`: a new interface of the old name, whose counters begin at 0.
    pub fn plug_in_modem(&self, line: Line) {
        join(line, &self.ends[line - 1], self.provider(line));
    }

    /// One address of the Internet falls silent on one line; other addresses and other lines go on.
    pub fn silence(&self, line: Line, address: impl Into<IpAddr>) {
        self.provider(line).ip(&format!("route add blackhole {}", address.into()));
    }

    /// Undoes `silence`.
    pub fn end_silence(&self, line: Line, address: impl Into<IpAddr>) {
        self.provider(line).ip(&format!("route del blackhole {}", address.into()));
    }

    /// The provider's end of the line takes another address of the subnet, 192.0.2.(16(line-1)+`host`), and
    /// gives up the one it had. Nobody tells the router.
    pub fn move_gateway(&self, line: Line, host: u8) -> Ipv4Addr {
        let (provider, address) = (self.provider(line), wan(line, host));
        provider.ip("-4 address flush dev customer");
        provider.ip(&format!("address add {address}/28 dev customer"));
        // It went with the address.
        provider.ip(&format!("route replace {LAN} via {}", router_address(line)));
        address
    }

    /// Has the router hide the LAN behind its own addresses, in both families. Needs the program `nft`.
    pub fn masquerade(&self) {
        let rules = "table inet lab { chain out { type nat hook postrouting priority srcnat; \
                     oifname \"wan*\" masquerade; }; }";
        let output = self.router.command("nft").arg(rules).output();
        let output =
            output.unwrap_or_else(|error| panic!("router: `nft` (package nftables) did not start: {error}"));
        assert!(output.status.success(), "router: nft failed: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts the LAN client's meter of the service at `SERVICE` or `SERVICE6`.
    pub fn meter(&self, service: impl Into<IpAddr>) -> Meter {
        Meter::start(&self.client, service.into())
    }

    /// One question of the LAN client to the service: the line that the answer came over. Silence is
    /// `WouldBlock`; whatever else was said instead of an answer is the error that a program would get.
    pub fn ask(&self, service: impl Into<IpAddr>) -> io::Result<Line> {
        service::ask_once(&self.client, service.into())
    }

    /// A path in the lab's own directory, for configs, scripts and what they leave.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the config for `wanfo`, and adds `paths`: run and state files lie in the lab's directory.
    pub fn configure(&self, yaml: &str) {
        let (run, state) = (self.path("run"), self.path("state"));
        let text = format!("{yaml}\npaths: {{run: {}, state: {}}}\n", run.display(), state.display());
        fs::write(self.path("wanfo.yaml"), text).expect("the lab's directory takes a file");
    }

    /// Lets so much time pass for wanfo, for which nobody has to wait: the clock that it goes by is put forward.
    pub fn let_pass(&self, time: Duration) {
        let mut ahead = self.ahead.lock().unwrap();
        ahead.0 += time;
        ahead.1 = Some(Arc::new(time_ahead(ahead.0)));
    }

    /// Sets that clock back to the machine's, as where a snapshot of the router is restored.
    pub fn turn_back(&self) {
        *self.ahead.lock().unwrap() = Default::default();
    }

    /// Runs `wanfo` on the router with these arguments and the config of `configure`, to its end.
    pub fn wanfo<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Run {
        let output = self.wanfo_command(arguments).output();
        output.unwrap_or_else(|error| panic!("{} did not start: {error}", self.binary.display())).into()
    }

    /// The same not yet started, for a test that wants to kill it, or several at once.
    pub fn wanfo_command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = self.router.command(&self.binary);
        command.args(arguments).env_remove("WANFO_CONFIG");
        if !self.router.has_files() {
            // Its counters of bytes are in there.
            namespace::with_own_sys(&mut command);
            command.env("WANFO_CONFIG", self.path("wanfo.yaml"));
        }
        if let Some(clock) = &self.ahead.lock().unwrap().1 {
            namespace::with_clock(&mut command, Arc::clone(clock));
        }
        // Where a systemd unit runs the lab: what wanfo says is read here and by no journal.
        command.env_remove("JOURNAL_STREAM");
        command
    }

    /// The same on a machine where each first file or directory lies in the place of the second.
    pub fn wanfo_seeing<A: AsRef<OsStr>>(&self, arguments: &[A], covers: &[(&Path, &Path)]) -> Command {
        let c_string = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("no zero byte");
        let covers: Vec<_> = covers.iter().map(|(cover, below)| (c_string(cover), c_string(below))).collect();
        let mut command = self.wanfo_command(arguments);
        before_exec(&mut command, move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let nothing = None::<&str>;
            covers.iter().try_for_each(|(cover, below)| {
                mount(Some(cover.as_c_str()), below.as_c_str(), nothing, MsFlags::MS_BIND, nothing)
            })
        });
        command
    }
}

/// A line's gateway: the provider's address on it.
pub fn gateway(line: Line) -> Ipv4Addr {
    wan(line, 1)
}

/// A line's IPv6 gateway.
pub fn gateway6(line: Line) -> Ipv6Addr {
    wan6(line, 1)
}

/// The router's own address on a line.
pub fn router_address(line: Line) -> Ipv4Addr {
    wan(line, 2)
}

/// The router's own IPv6 address on a line.
pub fn router_address6(line: Line) -> Ipv6Addr {
    wan6(line, 2)
}

/// Target 1, 2 or 3 of a line.
pub fn target(line: Line, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 10 * line as u8 + number)
}

/// IPv6 target 1, 2 or 3 of a line.
pub fn target6(line: Line, number: u8) -> Ipv6Addr {
    // Written like the IPv4 one: line 2, target 1 is ::21.
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x10 * line as u16 + u16::from(number))
}

fn wan(line: Line, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 16 * (line as u8 - 1) + host)
}

fn wan6(line: Line, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, line as u16, 0, 0, 0, 0, host)
}

/// Between provider (1) and Internet (2).
pub fn transit(line: Line, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 128 + 4 * (line as u8 - 1) + host)
}

pub fn transit6(line: Line, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, line as u16, 0xf, 0, 0, 0, host)
}

/// Gives a new namespace settings of its own: it starts with the machine's IPv4 settings.
pub fn host(host: Namespace) -> Namespace {
    for which in ["all", "default"] {
        host.sysctl(&format!("net.ipv4.conf.{which}.rp_filter"), "0");
        host.sysctl(&format!("net.ipv4.conf.{which}.ignore_routes_with_linkdown"), "0");
        // Duplicate address detection takes a second or two, in which a router with a tentative link-local
        // address forwards no IPv6 at all: it has no address to ask for its neighbour from.
        host.sysctl(&format!("net.ipv6.conf.{which}.accept_dad"), "0");
    }
    host
}

/// Makes a line: its provider, joined to the customer and to the Internet, and the routes of all three.
fn provider(line: Line, end: &End, internet: &Namespace) -> Namespace {
    let provider = host(Namespace::new(&format!("provider {line}")));
    provider.sysctl("net.ipv4.ip_forward", "1");
    provider.sysctl("net.ipv6.conf.all.forwarding", "1");
    // All customers, then the world: without these a cut line would send ICMP errors, or packets in circles.
    let all = ["192.0.2.0/24", "0.0.0.0/0", "2001:db8::/44", "::/0"];
    provider.ip_all(all.map(|prefix| format!("route add blackhole {prefix} metric {BACKSTOP}")));
    join(line, end, &provider);

    internet.ip_all([
        format!("link add line{line} type veth peer name internet netns {}", provider.path()),
        format!("link set line{line} up"),
    ]);
    far_side(&provider, line);
    let (via, via6, metric) = (transit(line, 1), transit6(line, 1), 100 * line);
    internet.ip_all([
        format!("address add {}/30 dev line{line}", transit(line, 2)),
        format!("address add {}/64 dev line{line}", transit6(line, 2)),
        format!("route add {}/28 via {via} dev line{line}", wan(line, 0)),
        format!("route add {}/64 via {via6} dev line{line}", wan6(line, 0)),
        // One way back to the LAN per line, for the service's sockets, each of which sees only its own device's.
        format!("route add {LAN} via {via} dev line{line} metric {metric}"),
        format!("route add {LAN6} via {via6} dev line{line} metric {metric}"),
    ]);
    provider
}

/// The cable between customer and provider, and what the two have on it.
fn join(line: Line, end: &End, provider: &Namespace) {
    let End { host, interface } = end;
    host.ip_all([
        format!("link add {interface} type veth peer name customer netns {}", provider.path()),
        format!("link set {interface} up"),
    ]);
    near_side(provider, line);
    let metric = 100 * line;
    host.ip_all([
        format!("address add {}/28 dev {interface}", router_address(line)),
        format!("address add {}/64 dev {interface}", router_address6(line)),
        format!("route add default via {} dev {interface} metric {metric}", gateway(line)),
        format!("route add default via {} dev {interface} metric {metric}", gateway6(line)),
    ]);
}

/// The provider's end of it up, with what `link set down` takes away: its routes, and its IPv6 addresses.
fn near_side(provider: &Namespace, line: Line) {
    provider.ip_all([
        "link set customer up".to_owned(),
        format!("address replace {}/28 dev customer", gateway(line)),
        format!("address replace {}/64 dev customer", gateway6(line)),
        format!("route replace {LAN} via {}", router_address(line)),
        format!("route replace {LAN6} via {}", router_address6(line)),
    ]);
}

/// The same on the side of the Internet.
fn far_side(provider: &Namespace, line: Line) {
    provider.ip_all([
        "link set internet up".to_owned(),
        format!("address replace {}/30 dev internet", transit(line, 1)),
        format!("address replace {}/64 dev internet", transit6(line, 1)),
        format!("route replace default via {}", transit(line, 2)),
        format!("route replace default via {}", transit6(line, 2)),
    ]);
}
