//! The admin's own scripts: told what is going on, and waited for, but not for ever.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

use super::file;
use super::process::{self, Heard, Task, Unfinished};
use super::trust::{self, Refusal};
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
    match trust::refuse_if_others_can_write(path, "script") {
        Ok(()) => {}
        Err(Refusal::Standing(why)) => return Ending::Refused(why),
        Err(Refusal::Passing(why)) => return Ending::NotStarted(why),
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

/// What would keep this script from running, as far as a look at it tells: the sentence says what to do.
pub fn fault(path: &Path) -> Option<String> {
    match trust::refuse_if_others_can_write(path, "script") {
        Err(Refusal::Standing(why)) => Some(why),
        // It says nothing of the script.
        Err(Refusal::Passing(_)) => None,
        Ok(()) => program_fault(path).map(|why| could_not(path, &why)),
    }
}

/// The same of a program that anybody may own.
pub fn program_fault(path: &Path) -> Option<String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(error.to_string()),
        Err(_) => return None,
    };
    if metadata.is_dir() {
        Some("it is a directory".to_owned())
    } else if !metadata.is_file() {
        Some("it is no regular file".to_owned())
    } else if metadata.permissions().mode() & 0o111 == 0 {
        Some(format!("it is not executable; run `chmod 755 {}`", path.display()))
    } else if geteuid().is_root() && access(path, AccessFlags::X_OK) == Err(Errno::EACCES) {
        // Root may execute whatever has an x, but from a filesystem mounted noexec (access(2)).
        Some(NOT_EXECUTABLE.to_owned())
    } else {
        let start = start_of(path)?;
        match start.get(..2) {
            _ if start.starts_with(b"\x7fELF") => None,
            Some(b"#!") => missing_interpreter(path, &start),
            _ => Some(NO_INTERPRETER.to_owned()),
        }
    }
}

const NO_INTERPRETER: &str =
    "its first line names no interpreter; make it #!/bin/sh, or whichever it is written for";

const NOT_EXECUTABLE: &str = "its interpreter may not be executed, or its filesystem is mounted noexec";

fn could_not(path: &Path, why: &str) -> String {
    format!("the script {} could not be run: {why}", path.display())
}

/// What execve(2)'s error means for this file. What is not a fault of the file itself may pass.
fn explain(path: &Path, error: &io::Error) -> Ending {
    let refused = |why: &str| Ending::Refused(could_not(path, why));
    let number = error.raw_os_error().map(Errno::from_raw);
    match (program_fault(path), number) {
        // The kernel knows other binaries than ELF (binfmt_misc), so for those it has the word.
        (Some(why), _) if why != NO_INTERPRETER => refused(&why),
        (_, Some(Errno::ENOEXEC)) => refused(NO_INTERPRETER),
        (_, Some(Errno::ENOENT)) => refused("the loader that it is linked for is not on this machine"),
        (_, Some(Errno::EACCES)) => refused(NOT_EXECUTABLE),
        (_, Some(Errno::ETXTBSY)) => Ending::NotStarted(could_not(path, "somebody has it open for writing")),
        _ => Ending::NotStarted(could_not(path, &error.to_string())),
    }
}

/// As much as the kernel reads of it (BINPRM_BUF_SIZE, linux/binfmts.h).
fn start_of(path: &Path) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    file::open_foreign(path).ok()?.take(256).read_to_end(&mut start).ok()?;
    Some(start)
}

/// The program that a script's first line names, where it is missing.
fn missing_interpreter(path: &Path, start: &[u8]) -> Option<String> {
    let start = String::from_utf8_lossy(start);
    let line = start.split('\n').next().unwrap_or_default();
    let Some(interpreter) = line.strip_prefix("#!").and_then(|rest| rest.split_whitespace().next()) else {
        return Some(NO_INTERPRETER.to_owned());
    };
    if line.ends_with('\r') {
        return Some(format!(
            "its lines end with CR LF, as on Windows; run `sed -i 's/\\r$//' {}`",
            path.display()
        ));
    }
    match fs::metadata(interpreter) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Some(format!("its first line names {interpreter}, which is not on this machine"))
        }
        Ok(metadata) if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 => {
            Some(NOT_EXECUTABLE.to_owned())
        }
        _ => None,
    }
}
