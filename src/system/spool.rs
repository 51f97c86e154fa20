//! Messages that wait to be sent: `spool` under `paths.state`.
//!
//! ```text
//! spool/ID.json           waits; written whole, renamed into place
//! spool/ID.new            being written
//! spool/lock              held by `wanfo deliver`
//! spool/sent/ID           everybody has it
//! spool/failed/ID.json    set aside; moved back to spool/ it is tried anew
//! spool/failed/ID.reason  why
//! ```
//!
//! A run of `check` only puts messages in and holds no lock. Whatever removes one first leaves its trace in `sent` or
//! `failed`; so there is no moment in which a message that was put once could be put again.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use super::store::Lock;
use crate::core::spool::Message;
use crate::core::spool::Waiting;

/// How many traces of messages are kept in `sent` and in `failed`. An id that a run may put again is one of the last
/// few.
const TRACES: usize = 200;

/// What `wanfo-deliver.path` watches, under `paths.run`.
const WAKE: &str = "deliver";

pub struct Spool {
    directory: PathBuf,
}

impl Spool {
    /// The spool under `paths.state`. Nothing is created before there is something to put.
    pub fn new(state: &Path) -> Spool {
        Spool { directory: state.join("spool") }
    }

    /// Puts a message in, unless it is there, was sent or was set aside already.
    ///
    /// # Errors
    /// The message is not in the spool, and should be put again; or its id is no id.
    pub fn put(&self, message: &Message) -> Result<()> {
        if !is_id(&message.id) {
            bail!("{:?} cannot name a message: it may have letters, digits, '-' and '_'", message.id);
        }
        // In this order: `deliver` leaves the trace first and removes the message then.
        let places = [self.waiting(&message.id), self.sent(&message.id), self.failed(&message.id)];
        if places.iter().any(|place| place.exists()) {
            return Ok(());
        }
        self.write(&Waiting::new(message.clone()))
    }

    /// How many messages wait.
    pub fn pending(&self) -> Result<usize> {
        Ok(self.files()?.len())
    }

    /// Has `wanfo-deliver.path` start `wanfo deliver`, if a message is due.
    ///
    /// A message that cannot be read counts as due, for `deliver` sets it aside.
    pub fn wake(&self, run: &Path, now: Timestamp) -> Result<()> {
        let is_due = |path: &PathBuf| match read(path) {
            Ok(Some(waiting)) => waiting.is_due(now),
            Ok(None) => false,
            Err(_) => true,
        };
        if !self.files()?.iter().any(is_due) {
            return Ok(());
        }
        let path = run.join(WAKE);
        // PathChanged= looks at the close of a file that was open for writing (systemd.path(5)).
        fs::write(&path, "")
            .with_context(|| format!("writing {}, which starts `wanfo deliver`", path.display()))
    }

    /// Takes the lock of `wanfo deliver`; `None`: another one is at work.
    pub fn lock(self) -> Result<Option<Delivery>> {
        self.create(&self.directory)?;
        let lock = Lock::take(&self.directory.join("lock"), Duration::ZERO)?;
        Ok(lock.map(|lock| Delivery { spool: self, _lock: lock }))
    }

    fn waiting(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }

    fn sent(&self, id: &str) -> PathBuf {
        self.directory.join("sent").join(id)
    }

    fn failed(&self, id: &str) -> PathBuf {
        self.directory.join("failed").join(format!("{id}.json"))
    }

    /// The messages' files, oldest name first; no directory is an empty one.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = list(&self.directory)?;
        files.retain(|path| path.extension() == Some(OsStr::new("json")));
        files.sort();
        Ok(files)
    }

    /// Creates the spool or a directory in it; what is told of the lines is the admin's business alone. The directory
    /// around it may be for everybody.
    fn create(&self, directory: &Path) -> Result<()> {
        let around = directory.parent().map_or(Ok(()), fs::create_dir_all);
        let created = around.and_then(|()| DirBuilder::new().recursive(true).mode(0o700).create(directory));
        created.with_context(|| {
            format!(
                "creating the directory {}; may `paths.state` be written, and is this root?",
                directory.display()
            )
        })
    }

    fn write(&self, waiting: &Waiting) -> Result<()> {
        self.create(&self.directory)?;
        let text = serde_json::to_string(waiting).context("putting a message into words")?;
        self.replace(&self.waiting(&waiting.message.id), &text)
    }

    /// Writes a file whole, and has it on the disk when this returns: power may go with the line.
    fn replace(&self, path: &Path, text: &str) -> Result<()> {
        let new = path.with_extension("new");
        let written = (|| {
            let mut file =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            sync_directory_of(path)
        })();
        if written.is_err() {
            // Half a file must not take up what little room there is.
            let _ = fs::remove_file(&new);
        }
        written.with_context(|| {
            format!("writing {}; is there room on the disk, and may it be written?", path.display())
        })
    }
}

/// The spool, locked for delivery.
pub struct Delivery {
    spool: Spool,
    _lock: Lock,
}

impl Delivery {
    /// The messages that are due. One that cannot be read is set aside, with a log line, and keeps no other from
    /// being sent.
    pub fn due(&self, now: Timestamp) -> Result<Vec<Waiting>> {
        let mut due = Vec::new();
        for path in self.spool.files()? {
            match read(&path) {
                Ok(Some(waiting)) if self.spool.sent(&waiting.message.id).exists() => remove(&path)?,
                Ok(Some(waiting)) if waiting.is_due(now) => due.push(waiting),
                Ok(_) => {}
                Err(reason) => self.set_aside_unread(&path, &reason)?,
            }
        }
        Ok(due)
    }

    pub fn save(&self, waiting: &Waiting) -> Result<()> {
        self.spool.write(waiting)
    }

    /// Everybody has the message.
    pub fn finish(&self, waiting: &Waiting) -> Result<()> {
        let trace = self.spool.sent(&waiting.message.id);
        self.leave(&trace, "")?;
        remove(&self.spool.waiting(&waiting.message.id))
    }

    /// Puts a message where it is no longer tried. Moved back it goes to those who have not got it.
    pub fn set_aside(&self, waiting: &Waiting, reason: &str) -> Result<()> {
        let fresh = Waiting { sent_to: waiting.sent_to.clone(), ..Waiting::new(waiting.message.clone()) };
        let text = serde_json::to_string(&fresh).context("putting a message into words")?;
        let aside = self.spool.failed(&waiting.message.id);
        self.leave(&aside.with_extension("reason"), &format!("{reason}\n"))?;
        self.leave(&aside, &text)?;
        remove(&self.spool.waiting(&waiting.message.id))?;
        log::error!("the mail {:?} is set aside as {}: {reason}", waiting.message.subject, aside.display());
        Ok(())
    }

    fn set_aside_unread(&self, path: &Path, reason: &str) -> Result<()> {
        let directory = self.spool.directory.join("failed");
        let aside = directory.join(path.file_name().unwrap_or_default());
        self.leave(&aside.with_extension("reason"), &format!("{reason}\n"))?;
        fs::rename(path, &aside)
            .with_context(|| format!("moving {} to {}", path.display(), directory.display()))?;
        log::error!("{} is no message and is set aside as {}: {reason}", path.display(), aside.display());
        Ok(())
    }

    /// Removes all traces but the newest.
    pub fn prune(&self) -> Result<()> {
        let directory = &self.spool.directory;
        // A message set aside has two files.
        for (directory, most) in [(directory.join("sent"), TRACES), (directory.join("failed"), 2 * TRACES)] {
            let mut files = list(&directory)?;
            // What was set aside unread may be anything.
            files.retain(|path| !path.is_dir());
            if files.len() <= most {
                continue;
            }
            let age = |path: &PathBuf| fs::symlink_metadata(path).and_then(|file| file.modified()).ok();
            let mut files: Vec<_> = files.into_iter().map(|path| (age(&path), path)).collect();
            files.sort();
            for (_, path) in &files[..files.len() - most] {
                remove(path)?;
            }
        }
        Ok(())
    }

    fn leave(&self, path: &Path, text: &str) -> Result<()> {
        self.spool.create(path.parent().unwrap_or(&self.spool.directory))?;
        self.spool.replace(path, text)
    }
}

/// What stands in a file of the spool; `None`: it has gone meanwhile.
fn read(path: &Path) -> Result<Option<Waiting>, String> {
    let text = match fs::symlink_metadata(path) {
        // A pipe would be waited for without end.
        Ok(file) if !file.is_file() => return Err("it is no regular file".to_owned()),
        Ok(_) => fs::read_to_string(path),
        Err(error) => Err(error),
    };
    let text = match text {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| error.to_string())?,
    };
    let waiting: Waiting = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match path.file_stem().and_then(OsStr::to_str) {
        Some(stem) if stem == waiting.message.id && is_id(stem) => Ok(Some(waiting)),
        _ => Err(format!("its id is {:?}, which is not its name", waiting.message.id)),
    }
}

fn is_id(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !id.is_empty() && id.len() <= 200 && id.bytes().all(fits)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other,
    };
    let paths = entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    paths.with_context(|| format!("reading the directory {}", directory.display()))
}

fn remove(path: &Path) -> Result<()> {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory_of(path),
    };
    removed.with_context(|| format!("removing {}", path.display()))
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
