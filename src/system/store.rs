//! The lock and the state file under `paths.run`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use fs2::FileExt;
use nix::errno::Errno;

use super::{file, trust};
use crate::core::state::{Loaded, State};

const LOCK: &str = "lock";
const STATE: &str = "state.json";
const STATE_BEING_WRITTEN: &str = "state.json.new";
const STATE_SET_ASIDE: &str = "state.json.bad";

const HOLD: &str = "hold";
/// A link's name has at most 32 characters.
const HOLD_LIMIT: u64 = 256;

/// The least size of the state file, in bytes; blanks behind the JSON make it up.
const RESERVE: usize = 16 * 1024;

/// More than any state has, with all the mails and records that may wait in it.
const LIMIT: u64 = 16 * 1024 * 1024;

/// How often a command that waits for the lock tries again.
const LOCK_BEAT: Duration = Duration::from_millis(20);

/// The state directory, locked. Only its holder can write.
pub struct Store {
    directory: PathBuf,
    _lock: Lock,
}

/// An exclusive lock, for as long as it lives.
///
/// It is on a file of its own, which is never replaced nor deleted: a lock on a file that is replaced excludes nobody.
/// It goes with the process, and no child inherits it (O_CLOEXEC, which std sets on every file).
pub struct Lock {
    _file: File,
}

/// Reads the state without the lock. It is replaced whole, so there is always one to read.
pub fn peek(directory: &Path, boot_id: &str) -> Result<Loaded> {
    let path = directory.join(STATE);
    match file::read(&path, LIMIT) {
        Ok(bytes) => Ok(match String::from_utf8(bytes) {
            Ok(text) => State::load(&text, boot_id),
            Err(_) => Loaded::Damaged("it is no text".to_owned()),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Loaded::Nothing),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Loaded::Damaged(error.to_string())),
        Err(error) => Err(error).with_context(|| format!("reading the state in {}", path.display())),
    }
}

/// Under which boot the last run was. In a sandbox with `ProcSubset=pid` (systemd.exec(5)) the kernel cannot be asked for this one.
pub fn boot_of_last_run(directory: &Path) -> Option<String> {
    let bytes = file::read(&directory.join(STATE), LIMIT).ok()?;
    State::boot_of(&String::from_utf8(bytes).ok()?)
}

/// The link of a `force-failover --hold`, as it outlives a reboot.
pub fn load_hold(directory: &Path) -> Result<Option<String>> {
    let path = directory.join(HOLD);
    match file::read(&path, HOLD_LIMIT) {
        Ok(name) => {
            Ok(Some(String::from_utf8_lossy(&name).trim().to_owned()).filter(|name| !name.is_empty()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading the hold in {}", path.display())),
    }
}

/// Writes it down, on disk when this returns, or removes it.
pub fn save_hold(directory: &Path, link: Option<&str>) -> Result<()> {
    let path = directory.join(HOLD);
    let saved = match link {
        Some(link) => (|| {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
            file::replace(&path, format!("{link}\n").as_bytes(), 0o644)
        })(),
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| file::sync_directory_of(&path)),
        },
    };
    saved.with_context(|| {
        format!("keeping the hold in {}; make room there, or see who may write", path.display())
    })
}

impl Store {
    /// Takes the lock, waiting for at most `patience`; `None`: another run holds it still.
    pub fn lock(directory: &Path, patience: Duration) -> Result<Option<Store>> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(|error| {
            anyhow!("creating the directory {}: {error}{}", directory.display(), advice(&error))
        })?;
        // What stands here decides over routes, and is written by root.
        trust::refuse_if_others_can_write(directory, "directory")?;
        let lock = Lock::take(&directory.join(LOCK), patience)?;
        Ok(lock.map(|lock| Store { directory: directory.to_owned(), _lock: lock }))
    }

    /// What the last run left. A file that cannot be used is kept aside, so that somebody can look at it; where even
    /// that fails, the run goes on all the same: a line may be down.
    pub fn load(&self, boot_id: &str) -> Result<Loaded> {
        let loaded = peek(&self.directory, boot_id)?;
        if let Loaded::Damaged(reason) = &loaded {
            let [path, aside] = [STATE, STATE_SET_ASIDE].map(|name| self.directory.join(name));
            let kept = match fs::rename(&path, &aside) {
                Ok(()) => format!("keeping the file as {}", aside.display()),
                Err(error) => format!("the file could not be kept as {}: {error}", aside.display()),
            };
            log::warn!(
                "the state in {} cannot be used: {reason}; starting afresh from the kernel's own routes, and {kept}",
                path.display()
            );
        }
        Ok(loaded)
    }

    /// Replaces the state whole: a reader sees the old one or the new one, also when we are killed in between.
    pub fn save(&self, state: &State) -> Result<()> {
        let mut text = serde_json::to_string(state).context("putting the state into words")?;
        // The file always has the room that an outage, with all its reasons, will need: see `overwrite`.
        text += &" ".repeat(RESERVE.saturating_sub(text.len()));
        let [path, new] = [STATE, STATE_BEING_WRITTEN].map(|name| self.directory.join(name));
        let written = (|| {
            // Whatever a run that was killed, or somebody else, left in its place.
            let _ = fs::remove_file(&new);
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o644).open(&new)?;
            file.write_all(text.as_bytes())?;
            // No fsync: the directory is a tmpfs, and a state from before a reboot is of no use.
            fs::rename(&new, &path)
        })();
        let written = written.or_else(|error| {
            // Half a file must not take up what little room there is.
            let _ = fs::remove_file(&new);
            overwrite(&path, text).map_err(|_| error)
        });
        written.with_context(|| {
            format!(
                "writing the state to {}; make room there, or see who may write: without it wanfo forgets what it \
                 counted",
                path.display()
            )
        })
    }

    /// Forgets everything.
    pub fn forget(&self) -> Result<()> {
        let path = self.directory.join(STATE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Lock {
    /// Takes the lock, waiting for at most `patience`; `None`: somebody else holds it still.
    pub fn take(path: &Path, patience: Duration) -> Result<Option<Lock>> {
        let mut how = OpenOptions::new();
        let file = file::open(path, how.create(true).truncate(false).write(true).mode(0o600));
        let file =
            file.map_err(|error| anyhow!("opening the lock {}: {error}{}", path.display(), advice(&error)))?;
        let deadline = Instant::now() + patience;
        loop {
            match FileExt::try_lock_exclusive(&file) {
                Ok(()) => return Ok(Some(Lock { _file: file })),
                Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {}
                Err(error) => return Err(error).with_context(|| format!("locking {}", path.display())),
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(LOCK_BEAT);
        }
    }
}

/// Writes the state over the old one, in the room that this has already: neither a full disk nor something that stands in the
/// place of the new one must keep the router from leaving a dead line.
///
/// One write, padded with blanks to the old length, so that there is no moment with the end of the old text behind the
/// new one. Should the machine fail in the midst of it, the next run finds a damaged state and starts afresh.
fn overwrite(path: &Path, mut text: String) -> io::Result<()> {
    let mut file = file::open(path, OpenOptions::new().write(true))?;
    let metadata = file.metadata()?;
    // stat(2) counts blocks of 512 bytes.
    if text.len() as u64 > metadata.blocks() * 512 {
        return Err(io::Error::from(Errno::ENOSPC));
    }
    let padding = (metadata.len() as usize).saturating_sub(text.len());
    text += &" ".repeat(padding);
    file.write_all(text.as_bytes())
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run wanfo as root",
        io::ErrorKind::InvalidData => "; move away what is there",
        _ => "; see `paths.run` in the config",
    }
}
