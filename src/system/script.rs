//! The admin's own scripts: told what is going on, and waited for, but not for ever.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::process::{self, Heard, Task, Unfinished};
use super::trust;
use crate::core::script::Ending;

/// What every script finds in its environment.
///
/// HOME is root's, for programs that look for their settings there. The user database is not asked: it may be
/// on the network, which is down just now. A system without the locale C.UTF-8 goes on with C.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LANG", "C.UTF-8"),
    ("HOME", "/root"),
];

/// From SIGTERM, when the time is up, to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How much of a script's output goes to the log: lines, and bytes of each.
const LINES: u32 = 200;
const LINE_LENGTH: usize = 1000;

/// Whether scripts run inside the sandbox of wanfo.service, in which they may not do what root may: the unit says so, or
/// its drop-in action-script.conf. `None`: neither has started us.
pub fn sandboxed() -> Option<bool> {
    match std::env::var("WANFO_SANDBOX").as_deref() {
        Ok("yes") => Some(true),
        Ok("no") => Some(false),
        _ => None,
    }
}

/// Runs a script to its end, no shell in between, and puts what it says into the log as it comes.
///
/// `environment` is added to PATH, LANG and HOME; all else is as in [`process::follow`]. When `limit` has
/// passed, its process group gets SIGTERM, and two seconds later SIGKILL. A process that it leaves in the
/// background goes on, but must have its output sent elsewhere: once the script has ended, the next line it
/// writes meets SIGPIPE.
///
pub fn run(path: &Path, arguments: &[String], environment: &[(String, String)], limit: Duration) -> Ending {
    if let Err(why) = trust::refuse_if_others_can_write(path, "script") {
        return Ending::Refused(why);
    }
    let own = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = [&own, environment].concat();
    let task = Task {
        program: path,
        arguments,
        environment: &environment,
        input: &[],
        heard: Heard::StdoutAndStderr,
        limit,
        grace: GRACE,
    };
    let mut output = Output::of(path);
    let outcome = process::follow(&task, &mut |bytes| output.take(bytes));
    output.finish();
    match outcome {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Ending::Exit(code),
            (None, signal) => Ending::Signal(signal.unwrap_or_default()),
        },
        Err(Unfinished::TimeLimit) => Ending::TimeLimit(limit),
        Err(Unfinished::Error(error)) => explain(path, &error),
    }
}

/// A script's output on its way to the log.
struct Output {
    name: String,
    line: Vec<u8>,
    cut: bool,
    shown: u32,
    dropped: u64,
}

impl Output {
    fn of(path: &Path) -> Output {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Output { name, line: Vec::new(), cut: false, shown: 0, dropped: 0 }
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = LINE_LENGTH - self.line.len();
            self.cut |= text.len() > room;
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < piece.len() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end();
        if text.is_empty() {
            // A blank line says nothing.
        } else if self.shown == LINES {
            self.dropped += 1;
        } else {
            // Nothing that would move a terminal's cursor.
            let text: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
            log::info!("{}: {text}{}", self.name, if self.cut { " [cut]" } else { "" });
            self.shown += 1;
        }
        self.line.clear();
        self.cut = false;
    }

    fn finish(mut self) {
        self.end_line();
        if self.dropped > 0 {
            log::info!("{}: {} more lines are not shown", self.name, self.dropped);
        }
    }
}

/// What execve(2)'s error means for this file. What is not a fault of the file itself may pass.
fn explain(path: &Path, error: &io::Error) -> Ending {
    let script = path.display();
    let could_not = |why: &str| format!("the script {script} could not be run: {why}");
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ending::Refused(could_not(&error.to_string()));
        }
        Err(error) => return Ending::NotStarted(could_not(&error.to_string())),
    };
    let fault = if metadata.is_dir() {
        "it is a directory".to_owned()
    } else if !metadata.is_file() {
        "it is no regular file".to_owned()
    } else if metadata.permissions().mode() & 0o111 == 0 {
        format!("it is not executable; run `chmod 755 {script}`")
    } else {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOEXEC) => {
                "its first line names no interpreter; make it #!/bin/sh, or whichever it is written for"
                    .to_owned()
            }
            Some(Errno::ENOENT) => no_interpreter(path),
            Some(Errno::EACCES) => {
                "its interpreter may not be executed, or its filesystem is mounted noexec".to_owned()
            }
            Some(Errno::ETXTBSY) => return Ending::NotStarted(could_not("somebody has it open for writing")),
            _ => return Ending::NotStarted(could_not(&error.to_string())),
        }
    };
    Ending::Refused(could_not(&fault))
}

/// The script is there, and the program that its first line names is not.
fn no_interpreter(path: &Path) -> String {
    let mut start = Vec::new();
    // As much as the kernel reads of it (BINPRM_BUF_SIZE, linux/binfmts.h). What cannot be read is named by
    // its absence.
    let _ = File::open(path).and_then(|file| file.take(256).read_to_end(&mut start));
    let start = String::from_utf8_lossy(&start);
    let line = start.split('\n').next().unwrap_or_default();
    if line.ends_with('\r') {
        return format!(
            "its lines end with CR LF, as on Windows; run `sed -i 's/\\r$//' {}`",
            path.display()
        );
    }
    match line.strip_prefix("#!").and_then(|rest| rest.split_whitespace().next()) {
        Some(interpreter) => format!("its first line names {interpreter}, which is not on this machine"),
        None => "the loader that it is linked for is not on this machine".to_owned(),
    }
}
