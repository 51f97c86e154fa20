//! Outside: the machine under qemu, and the wire to it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::beats;
use super::inside::{GREETING, Order, Report};
use super::package::{PACKAGES, WORD};
use crate::lab::die_with_parent;
use crate::story::WANFO;

/// It takes 15 s on an idle machine without KVM.
const LONGEST_BOOT: Duration = Duration::from_secs(240);
/// How much of the console is quoted where a machine does not answer.
const QUOTED_LINES: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    Ordinary,
    /// Started with `ipv6.disable=1`.
    WithoutIpv6,
}

/// A machine, started when the first story is asked for. Off again when dropped.
pub struct Machine {
    image: PathBuf,
    kernel: Kernel,
    running: Option<Running>,
}

impl Machine {
    pub fn off(image: &Path, kernel: Kernel) -> Machine {
        Machine { image: image.to_owned(), kernel, running: None }
    }

    /// Has the machine tell a story of so many parts, with a reboot between them. What it prints is printed here.
    ///
    /// # Errors
    /// What was said of the failure in there; else the console's last lines.
    pub fn tell(&mut self, story: &str, parts: usize) -> Result<(), String> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => Running::start(&self.image, self.kernel)?,
        };
        for part in 0..parts {
            if part > 0 {
                running.reboot()?;
            }
            let report =
                running.ask(&Order::Tell { story: story.to_owned(), part, beats: beats::number() })?;
            if !report.passed {
                self.running = Some(running);
                return Err(report.said);
            }
            print!("{}", report.said);
        }
        self.running = Some(running);
        Ok(())
    }
}

struct Running {
    qemu: Pid,
    keeper: Option<JoinHandle<()>>,
    wire: BufReader<UnixStream>,
    /// The console's log and qemu's complaints are in there.
    directory: TempDir,
}

impl Running {
    fn start(image: &Path, kernel: Kernel) -> Result<Running, String> {
        let directory = tempfile::tempdir().expect("a directory for the console's log");
        let (wire, far_end) = UnixStream::pair().expect("a wire");
        let mut qemu = Command::new("qemu-system-x86_64");
        arrange(&mut qemu, image, kernel, directory.path());
        let reader = far_end.try_clone().expect("a second handle");
        qemu.stdin(Stdio::from(OwnedFd::from(reader))).stdout(Stdio::from(OwnedFd::from(far_end)));
        qemu.stderr(File::create(directory.path().join("qemu")).expect("a file"));
        die_with_parent(&mut qemu);
        // Whoever starts it has to live as long as it does.
        let (started, start) = mpsc::channel();
        let keeper = thread::spawn(move || {
            let child = qemu.spawn();
            let _ = started.send(child.as_ref().map(Child::id).map_err(ToString::to_string));
            drop(qemu);
            let _ = child.map(|mut child| child.wait());
        });
        let id = start.recv().expect("the keeper tells").map_err(|error| {
            format!("qemu-system-x86_64 (package qemu-system-x86) did not start: {error}")
        })?;
        let qemu = Pid::from_raw(id.try_into().expect("a process ID"));
        let wire = BufReader::new(wire);
        let mut running = Running { qemu, keeper: Some(keeper), wire, directory };
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
        let file = |name| fs::read(self.directory.path().join(name)).unwrap_or_default();
        let console = String::from_utf8_lossy(&file("console")).into_owned();
        let lines: Vec<&str> = console.lines().collect();
        let quoted = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
        let complaints = String::from_utf8_lossy(&file("qemu")).into_owned();
        format!("the machine gave no reply: {why}\n{complaints}The end of its console:\n{quoted}\n")
    }
}

/// The machine's parts. It gets no network.
fn arrange(qemu: &mut Command, image: &Path, kernel: Kernel, directory: &Path) {
    let source = env!("CARGO_MANIFEST_DIR");
    let built = Path::new(WANFO).parent().expect("a directory").display().to_string();
    let program = std::env::current_exe().expect("this program").display().to_string();
    let more = match kernel {
        Kernel::Ordinary => "",
        Kernel::WithoutIpv6 => "ipv6.disable=1",
    };
    let packages = std::env::var(PACKAGES).unwrap_or_default();
    let words = format!(
        "console=ttyS0 root=/dev/vda rw panic=-1 {more} \
         stories.source={source} stories.built={built} stories.program={program} {WORD}{packages}"
    );
    let of_image = |name: &str| image.join(name).display().to_string();
    let share = |tag: &str, path: &str| {
        format!("local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap")
    };
    // The emulator: KVM is not there on a machine that is itself a guest, or crashes.
    qemu.args(["-accel", "tcg", "-nodefaults", "-display", "none", "-nic", "none"]);
    qemu.args(["-m", "1024", "-smp", "2", "-device", "virtio-rng-pci"]);
    qemu.args(["-kernel", &of_image("kernel"), "-initrd", &of_image("ramdisk"), "-append", &words]);
    qemu.args(["-drive", &format!("file={},format=raw,if=virtio,snapshot=on", of_image("disk"))]);
    qemu.args(["-serial", &format!("file:{}", directory.join("console").display())]);
    qemu.args(["-device", "virtio-serial-pci", "-chardev", "stdio,id=wire,signal=off"]);
    qemu.args(["-device", "virtserialport,chardev=wire,name=stories"]);
    qemu.args(["-virtfs", &share("source", source), "-virtfs", &share("built", &built)]);
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill(self.qemu, Signal::SIGKILL);
        let _ = self.keeper.take().map(JoinHandle::join);
    }
}
