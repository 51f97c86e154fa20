//! Messages that wait to be sent: `spool` under `paths.state`.
//!
//! ```text
//! spool/ID.json           waits; written whole, renamed into place
//! spool/ID.new            being written
//! spool/lock              held by `wanfo deliver`, and while messages are joined
//! spool/sent/ID           everybody has it
//! spool/failed/ID.json    set aside; moved back to spool/ it is tried anew
//! spool/failed/ID.reason  why
//! ```
//!
//! A run of `check` only puts messages in and waits for no lock. Whatever removes one first leaves its trace in `sent` or
//! `failed`; so there is no moment in which a message that was put once could be put again. The trace of a mail on a
//! topic has that topic in it, and its time of change tells when the mail was sent.
//!
//! While nothing can be sent the spool keeps within bounds: the oldest messages go.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use jiff::{SignedDuration, Timestamp};

use super::store::Lock;
use super::{file, trust};
use crate::core::spool::{Message, Outlook, Waiting};

/// How many traces of messages are kept in `sent` and in `failed`. An id that a run may put again is one of the last
/// few.
const TRACES: usize = 200;

/// What may wait; past either of them a quarter is dropped, so that it is said once and not with each message.
const MOST_WAITING: usize = 500;
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// More than a file of ours has, in bytes.
const FILE_LIMIT: u64 = 8 * 1024 * 1024;

/// A directory that was changed less than this ago may be changed once more within one tick of the file system's clock.
const FRESH: SignedDuration = SignedDuration::from_secs(2);

/// How long a message that could not be read for a fault of the disk, or of our own, is left alone.
const TROUBLE_PAUSE: Duration = Duration::from_secs(30);

/// How long `deliver` waits for a message that is being put in.
const PATIENCE: Duration = Duration::from_secs(1);

/// What `wanfo-deliver.path` watches, under `paths.run`.
const WAKE: &str = "deliver";

/// Held by `wanfo deliver`, and for a moment by a run that joins messages.
const LOCK: &str = "lock";

pub struct Spool {
    directory: PathBuf,
}

impl Spool {
    /// The spool under `paths.state`. Nothing is created before there is something to put.
    pub fn new(state: &Path) -> Spool {
        Spool { directory: state.join("spool") }
    }

    /// Puts a message in, unless it is there, was sent or was set aside already. One on a topic of which people were told
    /// a moment ago waits, together with what else comes on it.
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
        self.create(&self.directory)?;
        self.refuse_if_others_can_write()?;
        match &message.topic {
            None => self.write(&Waiting::new(message.clone()))?,
            Some(_) if message.call.is_some() => self.put_call(message)?,
            Some(topic) => self.put_on_topic(message, topic)?,
        }
        self.keep_within_bounds()
    }

    /// In place of the older ones.
    fn put_call(&self, message: &Message) -> Result<()> {
        let calls = self.calls()?;
        self.write(&Waiting::new(message.clone()))?;
        for older in calls.iter().filter(|waiting| waiting.message.topic == message.topic) {
            self.leave(&self.sent(&older.message.id), "")?;
            remove(&self.waiting(&older.message.id))?;
        }
        Ok(())
    }

    /// What waits for the link script.
    fn calls(&self) -> Result<Vec<Waiting>> {
        let read = self.files()?.into_iter().filter_map(|path| read(&path).ok().flatten());
        Ok(read.filter(|waiting| waiting.message.call.is_some()).collect())
    }

    fn put_on_topic(&self, message: &Message, topic: &str) -> Result<()> {
        let read: Vec<_> = self.files()?.iter().filter_map(|path| read(path).ok().flatten()).collect();
        let Some(earlier) = read.into_iter().rfind(|waiting| waiting.message.topic == message.topic) else {
            let told = self.last_told(topic)?.filter(|told| *told <= message.at);
            let new = Waiting::new(message.clone());
            return self.write(&told.map_or(new, |told| Waiting::after(message.clone(), told)));
        };
        // A delivery that is at work may just be sending the earlier one.
        let lock = Lock::take(&self.directory.join(LOCK), Duration::ZERO).ok().flatten();
        if lock.is_none() || earlier.is_told() {
            return self.write(&Waiting::after(message.clone(), message.at));
        }
        let id = earlier.message.id.clone();
        self.write(&earlier.joined_by(message.clone()))?;
        self.leave(&self.sent(&id), "")?;
        remove(&self.waiting(&id))
    }

    /// When the last mail on this topic was sent.
    fn last_told(&self, topic: &str) -> Result<Option<Timestamp>> {
        let traces = list(&self.directory.join("sent"))?;
        let is_of = |path: &PathBuf| file::read(path, FILE_LIMIT).is_ok_and(|text| text == topic.as_bytes());
        Ok(traces.iter().filter(|path| is_of(path)).filter_map(|path| changed(path).ok().flatten()).max())
    }

    /// Drops the oldest messages of a spool that is full.
    fn keep_within_bounds(&self) -> Result<()> {
        let files = self.files()?;
        // What is larger than any message is none, and for `deliver` to set aside.
        let size = |path: &PathBuf| match fs::symlink_metadata(path) {
            Ok(file) if file.len() <= FILE_LIMIT => file.len(),
            _ => 0,
        };
        let mut bytes: u64 = files.iter().map(size).sum();
        let mut count = files.len();
        if count <= MOST_WAITING && bytes <= MOST_BYTES {
            return Ok(());
        }
        // What cannot be read goes first.
        let at = |path: &PathBuf| read(path).ok().flatten().map(|waiting| waiting.message.at);
        let mut files: Vec<_> = files.into_iter().map(|path| (at(&path), size(&path), path)).collect();
        files.sort();
        let all = count;
        for (_, size, path) in files {
            if count <= MOST_WAITING * 3 / 4 && bytes <= MOST_BYTES * 3 / 4 {
                break;
            }
            remove(&path)?;
            (count, bytes) = (count - 1, bytes - size);
        }
        log::error!(
            "{all} messages wait in {}, more than it holds: the {} oldest are dropped; why they cannot be sent stands in \
             the log of `wanfo deliver`, and what they tell in `wanfo history`",
            self.directory.display(),
            all - count
        );
        Ok(())
    }

    /// How many messages wait.
    pub fn pending(&self) -> Result<usize> {
        Ok(self.files()?.len())
    }

    /// Has `wanfo-deliver.path` start `wanfo deliver`, if a message is due. `outlook` is what the last run left, and is
    /// brought up to date: the messages are read only where the directory has changed, or one is due.
    ///
    /// A message that is damaged counts as due, for `deliver` sets it aside.
    pub fn wake_if_due(&self, run: &Path, outlook: &mut Outlook, now: Timestamp) -> Result<()> {
        let aside = self.directory.join("failed");
        let latest = || Ok::<_, io::Error>(changed(&self.directory)?.max(changed(&aside)?));
        let changed =
            latest().with_context(|| format!("looking at the directory {}", self.directory.display()))?;
        let is_known = changed.is_some() && outlook.changed == changed;
        if is_known && !outlook.is_due(now) {
            return Ok(());
        }
        let (mut due, mut is_troubled) = (Vec::new(), false);
        for path in self.files()? {
            match read(&path) {
                Ok(Some(waiting)) => due.push(waiting.due_at(now)),
                Ok(None) => {}
                Err(Unread::Damaged(_)) => due.push(now),
                Err(Unread::Trouble(_)) => {
                    due.push(now.checked_add(TROUBLE_PAUSE)?);
                    is_troubled = true;
                }
            }
        }
        let is_fresh =
            |changed: Timestamp| (SignedDuration::ZERO..FRESH).contains(&now.duration_since(changed));
        *outlook = Outlook {
            pending: due.len(),
            set_aside: list(&aside)?.iter().filter(|path| path.extension() == Some("json".as_ref())).count(),
            next: due.into_iter().min(),
            changed: changed.filter(|changed| !is_fresh(*changed)),
        };
        if !(outlook.is_due(now) || is_known && is_troubled) {
            return Ok(());
        }
        let path = run.join(WAKE);
        // PathChanged= looks at the close of a file that was open for writing (systemd.path(5)).
        file::open(&path, OpenOptions::new().create(true).truncate(true).write(true))
            .with_context(|| format!("writing {}, which starts `wanfo deliver`", path.display()))?;
        Ok(())
    }

    /// Takes the lock of `wanfo deliver`; `None`: another one is at work.
    pub fn lock(self) -> Result<Option<Delivery>> {
        self.refuse_if_others_can_write()?;
        let lock = Lock::take(&self.directory.join(LOCK), PATIENCE)?;
        let Some(lock) = lock else { return Ok(None) };
        self.keep_within_bounds()?;
        Ok(Some(Delivery { spool: self, _lock: lock }))
    }

    /// What stands here is told to people in the router's name, and written by root.
    fn refuse_if_others_can_write(&self) -> Result<()> {
        trust::refuse_if_others_can_write(&self.directory, "directory").map_err(Error::new)
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

    fn replace(&self, path: &Path, text: &str) -> Result<()> {
        file::replace(path, text.as_bytes(), 0o600).with_context(|| {
            format!("writing {}; is there room on the disk, and may it be written?", path.display())
        })
    }

    fn leave(&self, path: &Path, text: &str) -> Result<()> {
        self.create(path.parent().unwrap_or(&self.directory))?;
        self.replace(path, text)
    }
}

/// The spool, locked for delivery.
pub struct Delivery {
    spool: Spool,
    _lock: Lock,
}

impl Delivery {
    /// The first change that is due to be told to the link script.
    pub fn next_call(&self, now: Timestamp) -> Result<Option<Waiting>> {
        let is_next =
            |waiting: &Waiting| waiting.is_due(now) && !self.spool.sent(&waiting.message.id).exists();
        let calls = self.spool.calls()?.into_iter().filter(is_next);
        Ok(calls.min_by_key(|waiting| (waiting.message.at, waiting.message.id.clone())))
    }

    /// The messages for people: those that are due, those that are not yet, and what keeps others from being read for now. One
    /// that is damaged is set aside, with a log line; neither keeps any other from being sent.
    pub fn messages(&self, now: Timestamp) -> Result<(Vec<Waiting>, Vec<Waiting>, Vec<String>)> {
        let (mut due, mut later, mut troubles) = (Vec::new(), Vec::new(), Vec::new());
        for path in self.spool.files()? {
            match read(&path) {
                Ok(Some(waiting)) if self.spool.sent(&waiting.message.id).exists() => remove(&path)?,
                Ok(Some(waiting)) if waiting.message.call.is_none() => {
                    if waiting.is_due(now) {
                        due.push(waiting)
                    } else {
                        later.push(waiting)
                    }
                }
                Ok(_) => {}
                Err(Unread::Damaged(reason)) => self.set_aside_damaged(&path, &reason)?,
                Err(Unread::Trouble(error)) => {
                    troubles.push(format!("{} waits, but cannot be read: {error}", path.display()));
                }
            }
        }
        Ok((due, later, troubles))
    }

    pub fn save(&self, waiting: &Waiting) -> Result<()> {
        self.spool.write(waiting)
    }

    /// Everybody has the message.
    pub fn finish(&self, waiting: &Waiting) -> Result<()> {
        let trace = self.spool.sent(&waiting.message.id);
        self.spool.leave(&trace, waiting.message.topic.as_deref().unwrap_or_default())?;
        remove(&self.spool.waiting(&waiting.message.id))
    }

    /// Puts a message where it is no longer tried. Moved back it goes to those who have not got it.
    pub fn set_aside(&self, waiting: &Waiting, reason: &str) -> Result<()> {
        let Waiting { message, earlier, sent_to, .. } = waiting.clone();
        let fresh = Waiting { earlier, sent_to, ..Waiting::new(message) };
        let text = serde_json::to_string(&fresh).context("putting a message into words")?;
        let aside = self.spool.failed(&waiting.message.id);
        self.spool.leave(&aside.with_extension("reason"), &format!("{reason}\n"))?;
        self.spool.leave(&aside, &text)?;
        remove(&self.spool.waiting(&waiting.message.id))?;
        log::error!(
            "the message {:?} is set aside as {}: {reason}",
            waiting.message.subject,
            aside.display()
        );
        Ok(())
    }

    fn set_aside_damaged(&self, path: &Path, reason: &str) -> Result<()> {
        let directory = self.spool.directory.join("failed");
        let aside = directory.join(path.file_name().unwrap_or_default());
        self.spool.leave(&aside.with_extension("reason"), &format!("{reason}\n"))?;
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
}

/// Why a message was not read.
enum Unread {
    /// It is none, and never will be.
    Damaged(String),
    /// The disk, or we ourselves, may do better another time.
    Trouble(io::Error),
}

/// What stands in a file of the spool; `None`: it has gone meanwhile.
fn read(path: &Path) -> Result<Option<Waiting>, Unread> {
    let bytes = match file::read(path, FILE_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(Unread::Damaged(error.to_string()));
        }
        Err(error) => return Err(Unread::Trouble(error)),
    };
    let waiting: Waiting =
        serde_json::from_slice(&bytes).map_err(|error| Unread::Damaged(error.to_string()))?;
    match path.file_stem().and_then(OsStr::to_str) {
        Some(stem) if stem == waiting.message.id && is_id(stem) => Ok(Some(waiting)),
        _ => Err(Unread::Damaged(format!("its id is {:?}, which is not its name", waiting.message.id))),
    }
}

/// When a directory or file was changed; `None`: there is none.
fn changed(path: &Path) -> io::Result<Option<Timestamp>> {
    match fs::metadata(path).and_then(|metadata| metadata.modified()) {
        Ok(time) => Ok(Timestamp::try_from(time).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
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
        Ok(()) => file::sync_directory_of(path),
    };
    removed.with_context(|| format!("removing {}", path.display()))
}
