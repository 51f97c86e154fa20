//! The DHCP clients that people have, set up as the example's page says.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::house::House;
use crate::lab;
use crate::site::{EXAMPLES, Running, wait_until};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Networkd,
    NetworkManager,
    Dhcpcd,
    Dhclient,
    Udhcpc,
}

impl Client {
    /// What wanfo calls it.
    pub fn name(self) -> &'static str {
        match self {
            Client::Networkd => "systemd-networkd",
            Client::NetworkManager => "NetworkManager",
            Client::Dhcpcd => "dhcpcd",
            Client::Dhclient => "dhclient",
            Client::Udhcpc => "udhcpc",
        }
    }

    /// Ends the story where it cannot run here.
    pub fn need(self) {
        let and = match self {
            Client::NetworkManager => "dbus-daemon",
            // Debian's script and settings, to which the page adds.
            Client::Udhcpc => "/etc/udhcpc/default.script",
            Client::Dhcpcd => "/etc/dhcpcd.conf",
            Client::Networkd | Client::Dhclient => "ip",
        };
        lab::need(&[self.program(), and.into()]);
        // They do their work as an account of their own.
        if [Client::Networkd, Client::Dhcpcd].contains(&self) && !lab::has_other_users() {
            lab::skip_for_good(&format!("{} needs real root", self.name()));
        }
    }

    fn program(self) -> OsString {
        match self {
            Client::Networkd => "/lib/systemd/systemd-networkd".into(),
            Client::NetworkManager => {
                env::var_os("WANFO_TEST_NETWORKMANAGER").unwrap_or("NetworkManager".into())
            }
            _ => self.name().into(),
        }
    }

    /// Its settings in their places, and the client at work on both lines.
    pub fn start(self, house: &House) -> Vec<Running> {
        let router = &house.router;
        let start = |program: OsString, arguments: &str| {
            let mut command = router.command(&program);
            command.args(arguments.split_whitespace());
            background(&mut command)
        };
        match self {
            Client::Networkd => {
                for line in ["eth0", "eth1"] {
                    house.install(&format!("/etc/systemd/network/10-{line}.network"));
                }
                let mut command = router.command(self.program());
                router.run(|| fs::create_dir("/run/systemd")).expect("an empty /run");
                vec![background(command.env("SYSTEMD_LOG_TARGET", "console"))]
            }
            Client::NetworkManager => {
                // As `nmcli connection modify` leaves them. Where there is no lease any more it waits 45 s for another
                // before it takes the address away.
                for (line, never) in [("eth0", false), ("eth1", true)] {
                    let path = format!("/etc/NetworkManager/system-connections/{line}.nmconnection");
                    router.write(
                        &path,
                        &format!(
                            "[connection]\nid={line}\ntype=ethernet\ninterface-name={line}\n\
                             [ipv4]\nmethod=auto\nnever-default={never}\ndhcp-timeout=4\n[ipv6]\nmethod=disabled\n"
                        ),
                    );
                    // It reads no connection that others can read: passwords may be in there.
                    let mode = fs::Permissions::from_mode(0o600);
                    router.run(|| fs::set_permissions(&path, mode)).expect("the file is ours");
                }
                router.write(
                    "/etc/NetworkManager/NetworkManager.conf",
                    "[main]\nplugins=keyfile\ndhcp=internal\ndns=none\nhostname-mode=none\n",
                );
                router.write("/run/dbus/lab.conf", BUS);
                let bus =
                    start("dbus-daemon".into(), "--config-file=/run/dbus/lab.conf --nofork --nopidfile");
                wait_until("the bus", || router.run(|| Path::new("/run/dbus/system_bus_socket").exists()));
                vec![bus, start(self.program(), "--debug")]
            }
            Client::Dhcpcd => {
                house.append("/etc/dhcpcd.conf");
                router.run(|| fs::create_dir("/var/lib/dhcpcd")).expect("an empty /var/lib");
                // It starts processes that would outlive it, were they not in a namespace that goes with its first process;
                // and that must not be itself, since whoever changes its user is not killed with its parent any more
                // (PR_SET_PDEATHSIG(2const)). There is no udev here that it could ask for interfaces.
                let words = "--pid --fork --kill-child unshare --fork dhcpcd -B -4 --nodev eth0 eth1";
                vec![start("unshare".into(), words)]
            }
            Client::Dhclient => {
                house.install("/etc/dhcp/dhclient-enter-hooks.d/wanfo");
                router.run(|| fs::create_dir("/var/lib/dhcp")).expect("an empty /var/lib");
                vec![start(self.program(), "-4 -d eth0 eth1")]
            }
            Client::Udhcpc => {
                let [original, moved] = ["/etc/udhcpc/default.script", "/etc/udhcpc/debian.script"];
                router.run(|| fs::rename(original, moved)).expect("Debian's script");
                router.write(original, ADMINS_SCRIPT);
                let mode = fs::Permissions::from_mode(0o755);
                router.run(|| fs::set_permissions(original, mode)).expect("the file is ours");
                let hook = format!("{EXAMPLES}/hooks/udhcpc -O staticroutes");
                // Where nobody answers, not for long, and soon again.
                let arguments = |line| format!("-f -i {line} -p /run/{line}.pid -s {hook} -t 3 -T 1 -A 2");
                ["eth0", "eth1"].map(|line| start(self.program(), &arguments(line))).into()
            }
        }
    }

    /// Makes it renew the backup's lease now, where it does not go by what the server says (option 58).
    pub fn renew(self, house: &House) {
        if self == Client::Udhcpc {
            let number = house.router.run(|| fs::read_to_string("/run/eth1.pid")).expect("a process number");
            let udhcpc = Pid::from_raw(number.trim().parse().expect("a number"));
            kill(udhcpc, Signal::SIGUSR1).expect("udhcpc is there");
        }
    }

    /// Whether it gives the interface a link-local address where it gets no lease.
    pub fn falls_back_to_link_local(self) -> bool {
        matches!(self, Client::Dhcpcd | Client::Udhcpc)
    }
}

/// Debian's, and what AstLinux and others do where there is no lease.
const ADMINS_SCRIPT: &str = "#!/bin/sh
[ \"$1\" = leasefail ] && busybox ip address add 169.254.7.8/16 dev $interface
exec /etc/udhcpc/debian.script \"$@\"
";

/// A bus on which everybody may do everything.
const BUS: &str = "<busconfig>
<type>session</type>
<listen>unix:path=/run/dbus/system_bus_socket</listen>
<policy context=\"default\">
<allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>
</policy>
</busconfig>
";

/// Starts a client that may want to tell the host its name: the machine's is not to be touched.
fn background(command: &mut Command) -> Running {
    lab::before_exec(command, || unshare(CloneFlags::CLONE_NEWUTS));
    Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}
