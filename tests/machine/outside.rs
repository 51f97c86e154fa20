//! Outside: the machine, emulated or in a container, and the wire to it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::container::{self, Cgroup};
use super::inside::{GREETING, Order, Report};
use super::package::PACKAGES;
use super::shown::Shown;
use super::{beats, emulator};
use crate::lab::die_with_parent;

/// It takes 15 s on an idle machine without KVM.
const LONGEST_BOOT: Duration = Duration::from_secs(240);
/// How much of the console is quoted where a machine does not answer.
const QUOTED_LINES: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Emulated,
    /// Started with `ipv6.disable=1`.
    WithoutIpv6,
    /// With this machine's kernel, and at its speed. Emulated where there is no container to be had.
    Container,
}

/// A machine, started when the first story is asked for. Off again when dropped.
pub struct Machine {
    image: PathBuf,
    kind: Kind,
    running: Option<Running>,
}

impl Machine {
    pub fn off(image: &Path, kind: Kind) -> Machine {
        Machine { image: image.to_owned(), kind, running: None }
    }

    /// Has the machine tell a story of so many parts, with a reboot between them. What it prints is printed here.
    ///
    /// # Errors
    /// What was said of the failure in there; else the console's last lines.
    pub fn tell(&mut self, story: &str, parts: usize) -> Result<(), String> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.start()?,
        };
        for part in 0..parts {
            if part > 0 {
                running.reboot()?;
            }
            let packages = std::env::var(PACKAGES).unwrap_or_default();
            let order = Order::Tell { story: story.to_owned(), part, beats: beats::number(), packages };
            let report = running.ask(&order)?;
            if !report.passed {
                self.running = Some(running);
                return Err(report.said);
            }
            print!("{}", report.said);
        }
        self.running = Some(running);
        Ok(())
    }

    fn start(&mut self) -> Result<Running, String> {
        if self.kind == Kind::Container {
            match Running::contained(&self.image) {
                Ok(running) => return Ok(running),
                Err(why) => eprintln!("!!! No container here; an emulated machine, which is slow: {why} !!!"),
            }
            self.kind = Kind::Emulated;
        }
        Running::emulated(&self.image, self.kind == Kind::WithoutIpv6)
    }
}

struct Running {
    /// The emulator, or who keeps the container.
    process: Pid,
    keeper: Option<JoinHandle<()>>,
    wire: BufReader<UnixStream>,
    shown: Shown,
    /// Goes when all in it has ended.
    _cgroup: Option<Cgroup>,
}

impl Running {
    fn emulated(image: &Path, without_ipv6: bool) -> Result<Running, String> {
        let shown = Shown::of_this_machine();
        let qemu = emulator::command(image, without_ipv6, &shown);
        Running::start(qemu, shown, None)
    }

    fn contained(image: &Path) -> Result<Running, String> {
        let (shown, cgroup) = (Shown::of_this_machine(), Cgroup::new()?);
        let nspawn = container::command(image, &cgroup, &shown);
        Running::start(nspawn, shown, Some(cgroup))
    }

    fn start(mut command: Command, shown: Shown, cgroup: Option<Cgroup>) -> Result<Running, String> {
        let name = command.get_program().display().to_string();
        let wire = UnixListener::bind(shown.wire()).expect("a wire");
        command.stderr(File::create(shown.complaints()).expect("a file"));
        die_with_parent(&mut command);
        // Whoever starts it has to live as long as it does.
        let (started, start) = mpsc::channel();
        let keeper = thread::spawn(move || {
            let child = command.spawn();
            let _ = started.send(child.as_ref().map(Child::id).map_err(ToString::to_string));
            drop(command);
            let _ = child.map(|mut child| child.wait());
        });
        let id = start.recv().expect("the keeper tells").map_err(|error| {
            format!("{name} (package qemu-system-x86 or systemd-container) did not start: {error}")
        })?;
        let process = Pid::from_raw(id.try_into().expect("a process ID"));
        // Where nobody takes the wire up, the end of it is read.
        let (near_end, _) = UnixStream::pair().expect("a wire");
        let mut running =
            Running { process, keeper: Some(keeper), wire: BufReader::new(near_end), shown, _cgroup: cgroup };
        let deadline = Instant::now() + LONGEST_BOOT;
        while poll(&mut [PollFd::new(wire.as_fd(), PollFlags::POLLIN)], PollTimeout::from(1000u16)) == Ok(0) {
            let is_over = running.keeper.as_ref().is_none_or(JoinHandle::is_finished);
            if is_over || Instant::now() > deadline {
                return Err(running.silence("nobody took the wire up"));
            }
        }
        running.wire = BufReader::new(wire.accept().expect("who asks for it").0);
        running.await_boot(LONGEST_BOOT)?;
        Ok(running)
    }

    fn ask(&mut self, order: &Order) -> Result<Report, String> {
        self.say(order)?;
        let answer = self.listen(order.patience() + Duration::from_secs(30))?;
        serde_json::from_str(&answer).map_err(|error| self.silence(&format!("{error} in {answer}")))
    }

    /// What is on its disk stays.
    fn reboot(&mut self) -> Result<(), String> {
        self.say(&Order::Reboot)?;
        // It goes down first, which takes as long on a slow machine.
        self.await_boot(2 * LONGEST_BOOT)
    }

    fn await_boot(&mut self, patience: Duration) -> Result<(), String> {
        match self.listen(patience)? {
            greeting if greeting.trim_end() == GREETING => Ok(()),
            other => Err(self.silence(&format!("no greeting: {other}"))),
        }
    }

    fn say(&mut self, order: &Order) -> Result<(), String> {
        let line = serde_json::to_string(order).expect("text");
        writeln!(self.wire.get_mut(), "{line}").map_err(|error| self.silence(&error.to_string()))
    }

    fn listen(&mut self, patience: Duration) -> Result<String, String> {
        self.wire.get_ref().set_read_timeout(Some(patience)).expect("a timeout that is not zero");
        let mut line = String::new();
        match self.wire.read_line(&mut line) {
            Ok(0) => Err(self.silence("it went off")),
            Ok(_) => Ok(line),
            Err(error) => Err(self.silence(&error.to_string())),
        }
    }

    fn silence(&self, why: &str) -> String {
        let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let console = text(self.shown.console());
        let lines: Vec<&str> = console.lines().collect();
        let quoted = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
        let complaints = text(self.shown.complaints());
        format!("the machine gave no reply: {why}\n{complaints}The end of its console:\n{quoted}\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill(self.process, Signal::SIGKILL);
        let _ = self.keeper.take().map(JoinHandle::join);
    }
}
