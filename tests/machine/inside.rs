//! Inside the machine: one story after the other, as they are asked for.

use std::env::current_exe;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::beats::BEATS;
use super::package::PACKAGES;

/// The end of the wire between outside and inside in an emulated machine, a port of virtio-serial.
const PORT: &str = "/dev/virtio-ports/stories";
/// The same in a container, a socket.
pub const DOOR: &str = "/stories";
/// Longer than any part of a story takes on a slow machine, but for the beats that are counted in it.
const LONGEST_STORY: Duration = Duration::from_secs(600);
/// What the machine says first after each boot.
pub const GREETING: &str = "ready";

/// What is asked for, one line each.
#[derive(Serialize, Deserialize)]
pub enum Order {
    /// A part of a story, counted from 0. Between two of them is a reboot.
    Tell {
        story: String,
        part: usize,
        beats: u32,
        /// Where the packages are, if there are any.
        packages: String,
    },
    Reboot,
}

impl Order {
    /// For so long it is waited for in there. Outside waits a little longer still.
    pub fn patience(&self) -> Duration {
        match self {
            Order::Tell { beats, .. } => LONGEST_STORY + Duration::from_secs(4) * *beats,
            Order::Reboot => LONGEST_STORY,
        }
    }
}

/// How a story ended.
#[derive(Serialize, Deserialize)]
pub struct Report {
    pub passed: bool,
    /// What it printed; with its complaints and the end of the journal where it did not pass.
    pub said: String,
}

pub fn serve() {
    let (orders, mut answers): (Box<dyn Read>, Box<dyn Write>) = match UnixStream::connect(DOOR) {
        Ok(door) => (Box::new(door.try_clone().expect("a second handle")), Box::new(door)),
        Err(_) => {
            let port = OpenOptions::new().read(true).write(true).open(PORT).expect("the port to outside");
            (Box::new(port.try_clone().expect("a second handle")), Box::new(port))
        }
    };
    writeln!(answers, "{GREETING}").expect("outside listens");
    for line in BufReader::new(orders).lines() {
        let order: Order = serde_json::from_str(&line.expect("an order")).expect("an order");
        match &order {
            Order::Tell { story, part, beats, packages } => {
                let more = [(BEATS, beats.to_string()), (PACKAGES, packages.clone())];
                let report = tell(story, *part, more, order.patience());
                let line = serde_json::to_string(&report).expect("text");
                writeln!(answers, "{line}").expect("outside listens");
            }
            // It ends this program among others.
            Order::Reboot => drop(Command::new("systemctl").arg("reboot").status()),
        }
    }
    // Outside is gone, and with it whoever would end this machine.
    let _ = Command::new("systemctl").args(["poweroff", "--force", "--force"]).status();
}

/// In a process of its own: a story may enter namespaces, panic, or hang.
fn tell(name: &str, part: usize, more: [(&str, String); 2], patience: Duration) -> Report {
    let mut story = Command::new("timeout");
    story.args(["--kill-after=5", &patience.as_secs().to_string()]);
    story.arg(current_exe().expect("this program")).args(["--story", name, &part.to_string()]);
    let output = story.envs(more).output().expect("this program starts");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    let passed = output.status.success();
    if !passed {
        let mut journal = Command::new("journalctl");
        journal.args(["-b", "-n", "60", "--no-pager", "-o", "short-monotonic"]);
        said += &String::from_utf8_lossy(&output.stderr);
        said += &format!("({})\nThe end of the journal:\n", output.status);
        said += &String::from_utf8_lossy(&journal.output().expect("journalctl starts").stdout);
    }
    Report { passed, said }
}
