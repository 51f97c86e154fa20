//! Inside the machine: one story after the other, as they are asked for.

use std::env::current_exe;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The end of the wire between outside and inside, a port of virtio-serial.
const PORT: &str = "/dev/virtio-ports/stories";
/// Longer than any story takes on a slow machine. Outside waits a little longer still.
pub const LONGEST_STORY_SECONDS: u64 = 360;

/// How a story ended.
#[derive(Serialize, Deserialize)]
pub struct Report {
    pub passed: bool,
    /// What it printed; with its complaints and the end of the journal where it did not pass.
    pub said: String,
}

pub fn serve() {
    let port = OpenOptions::new().read(true).write(true).open(PORT).expect("the port to outside");
    let mut answers = port.try_clone().expect("a second handle");
    for name in BufReader::new(port).lines() {
        let report = tell(&name.expect("the name of a story"));
        let line = serde_json::to_string(&report).expect("text");
        writeln!(answers, "{line}").expect("outside listens");
    }
    // Outside is gone, and with it whoever would end this machine.
    let _ = Command::new("systemctl").args(["poweroff", "--force", "--force"]).status();
}

/// In a process of its own: a story may enter namespaces, panic, or hang.
fn tell(name: &str) -> Report {
    let mut story = Command::new("timeout");
    story.args(["--kill-after=5", &LONGEST_STORY_SECONDS.to_string()]);
    story.arg(current_exe().expect("this program")).args(["--story", name]);
    let output = story.output().expect("this program starts");
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
