//! The configuration file; and the last good one, which the runs keep under `paths.run`, so that a typo in the file costs
//! nobody his failover.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, absolute};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::geteuid;

use super::store::Store;
use super::{file, trust};
use crate::core::config::{Config, Paths, Routing, read};

/// Nobody writes that much by hand; a log file or a device named by mistake must not eat the router's memory.
const LIMIT: u64 = 1 << 20;

/// Of the name of a file and its text.
const KEPT: &str = "config.yaml";
const KEPT_BEING_WRITTEN: &str = "config.yaml.new";
const KEPT_LIMIT: u64 = LIMIT + 8192;

/// A good configuration.
pub struct Settings {
    pub config: Config,
    /// As it is kept.
    text: String,
    mode: u32,
}

/// A configuration file that is no good.
pub struct Broken {
    /// Why, in one line.
    pub gist: String,
    /// Everything that is wrong, on lines of their own.
    pub problems: String,
    /// Where the runs had their state, as far as can be told; of a file that cannot be read, or not be trusted, the default.
    pub paths: Paths,
    /// Which number their routes bear, as far as can be told in the same way.
    pub protocol: u8,
    /// The caller may not read it, which says nothing to root.
    pub is_denied: bool,
    first_line: String,
}

/// Reads the file.
pub fn read(path: &Path) -> Result<Settings, Box<Broken>> {
    let shown = path.display();
    let first_line = first_line(path);
    let unread = |why: String| {
        let (gist, first_line) = (why.clone(), first_line.clone());
        let (paths, protocol) = (Paths::default(), Routing::default().protocol);
        Box::new(Broken { gist, problems: why, paths, protocol, is_denied: false, first_line })
    };
    let no_use = |error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::InvalidData => "",
            io::ErrorKind::NotFound => "; `wanfo init` proposes one, or name another file with --config",
            _ => "; name another file with --config",
        };
        let is_denied = error.kind() == io::ErrorKind::PermissionDenied && !geteuid().is_root();
        let broken = unread(format!("cannot read the configuration {shown}: {error}{advice}"));
        Box::new(Broken { is_denied, ..*broken })
    };
    let file = open(path).map_err(no_use)?;
    let mode = file.metadata().map_err(no_use)?.mode();
    // Whoever can write it has the scripts that it names run by root.
    let trusted = trust(&file, path, "configuration");
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(no_use)?;
    if let Err(why) = trusted {
        // It may lead to what a run has kept of it, which is trusted for itself, and has to say the same.
        let paths = read::paths_of(&String::from_utf8_lossy(&bytes));
        let led = Broken { paths, ..*unread(why.clone()) };
        let agrees = led.kept().is_ok_and(|kept| kept.is_some_and(|kept| kept.config.paths == led.paths));
        return Err(if agrees { Box::new(led) } else { unread(why) });
    }
    let broken_text = |bytes: &[u8], why: &str| {
        let text = String::from_utf8_lossy(bytes);
        let (paths, protocol) = (read::paths_of(&text), read::protocol_of(&text));
        Box::new(Broken { paths, protocol, ..*unread(format!("the configuration {shown} {why}")) })
    };
    if bytes.len() as u64 > LIMIT {
        return Err(broken_text(&bytes, &format!("has more than {LIMIT} bytes")));
    }
    let text =
        String::from_utf8(bytes).map_err(|error| broken_text(error.as_bytes(), "is not UTF-8 text"))?;
    match read::parse(&text) {
        Ok(config) => {
            let text = first_line + text.trim_start_matches('\u{feff}');
            Ok(Settings { config, text, mode })
        }
        Err(problems) => {
            let list: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
            let more = match list.len() {
                1 => String::new(),
                count => format!(", and {} more", count - 1),
            };
            let first = list[0].trim_start();
            Err(Box::new(Broken {
                gist: format!(
                    "the configuration {shown} is broken: {first}{more}; `wanfo config` tells everything"
                ),
                problems: format!(
                    "the configuration {shown} has {} problem(s):\n{}",
                    list.len(),
                    list.join("\n")
                ),
                paths: read::paths_of(&text),
                protocol: read::protocol_of(&text),
                is_denied: false,
                first_line,
            }))
        }
    }
}

/// Where the runs have their state.
pub fn paths(read: &Result<Settings, Box<Broken>>) -> &Paths {
    match read {
        Ok(settings) => &settings.config.paths,
        Err(broken) => &broken.paths,
    }
}

impl Settings {
    /// Keeps a good configuration for the runs that find a bad one. Nothing is written where it is kept already, as the
    /// last good one is.
    pub fn keep(&self, _locked: &Store) -> Result<()> {
        let directory = &self.config.paths.run;
        let [path, new] = [KEPT, KEPT_BEING_WRITTEN].map(|name| directory.join(name));
        if file::read(&path, KEPT_LIMIT).is_ok_and(|kept| kept == self.text.as_bytes()) {
            return Ok(());
        }
        // Who may not read the one may not read the other.
        let mode = self.mode & 0o644 | 0o600;
        let written = (|| {
            let _ = fs::remove_file(&new);
            let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&new)?;
            file.write_all(self.text.as_bytes())?;
            fs::rename(&new, &path)
        })();
        written.with_context(|| format!("keeping a copy of the configuration as {}", path.display()))
    }
}

impl Broken {
    /// The last good one that a run kept of the same file.
    pub fn last_good(&self) -> Option<Settings> {
        self.kept().unwrap_or_else(|why| {
            let directory = self.paths.run.display();
            log::warn!("the last good configuration in {directory}/{KEPT} is of no use: {why}");
            None
        })
    }

    /// Whether no run goes by this file, so that it is another one that the state is of.
    pub fn is_no_run_s(&self) -> bool {
        matches!(self.kept(), Ok(None))
    }

    /// It is trusted as the file itself was: it has to belong to root and be written by nobody else now.
    fn kept(&self) -> Result<Option<Settings>, String> {
        let path = self.paths.run.join(KEPT);
        if fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        let file = file::open(&path, OpenOptions::new().read(true)).map_err(|error| error.to_string())?;
        trust(&file, &path, "kept configuration")?;
        let mode = file.metadata().map_err(|error| error.to_string())?.mode();
        let bytes = file::whole(file, KEPT_LIMIT).map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
        // Of two files that share their `paths` none stands in for the other.
        if !text.starts_with(&self.first_line) {
            return Ok(None);
        }
        let config = read::parse(&text).map_err(|problems| problems[0].to_string())?;
        Ok(Some(Settings { config, text, mode }))
    }
}

/// Forgets the one that is kept.
pub fn forget(directory: &Path) -> Result<()> {
    let path = directory.join(KEPT);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// What a kept one begins with. The rest is the file as it was, for an admin to take back.
fn first_line(path: &Path) -> String {
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("# The last good {:?}, kept by wanfo.\n", path.display().to_string())
}

/// A regular file; or a pipe without a name, by which whoever starts us hands it over (`-c /dev/stdin`, `-c <(...)`).
fn open(path: &Path) -> io::Result<File> {
    file::open_foreign(path).or_else(|error| {
        if error.kind() != io::ErrorKind::InvalidData {
            return Err(error);
        }
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        if !is_nameless_pipe(&file) {
            return Err(error);
        }
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
        Ok(file)
    })
}

/// proc_pid_fd(5).
fn is_nameless_pipe(file: &File) -> bool {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .is_ok_and(|target| target.to_string_lossy().starts_with("pipe:["))
}

/// Judges the open file: what stands at its path may be another one by now.
fn trust(file: &File, path: &Path, what: &str) -> Result<(), String> {
    let judged = match is_nameless_pipe(file) {
        true => trust::refuse_if_others_can_write(path, what),
        false => trust::refuse_if_others_can_write_open(file, path, what),
    };
    judged.map_err(|refusal| refusal.to_string())
}
