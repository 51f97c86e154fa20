//! The recording under `paths.run`: a file that is only ever added to, and two older ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::file;
use crate::core::recorder::{Kept, Recorder};
use crate::core::recording::{Head, Recording};
use crate::core::state::State;
use crate::core::time::Moment;
use crate::core::world::Order;

/// The one that is added to comes last.
const FILES: [&str; 3] = ["rounds.jsonl.2", "rounds.jsonl.1", "rounds.jsonl"];

/// A file of more bytes is put aside. All of it is RAM: a quiet run of two lines takes some 70 bytes, half a day 1.5 MB.
const LIMIT: u64 = 2 * 1024 * 1024;

/// So is one that is older, so that the three hold a day at least and a day and a half at most.
const HALF_A_DAY: Duration = Duration::from_secs(12 * 3600);

/// More than all three have, for who puts them together in one.
const MOST_TO_READ: u64 = 4 * LIMIT;

/// Adds what a run asked and heard. Call it with the lock held.
pub fn append(
    directory: &Path,
    recorder: &Recorder,
    order: &Order,
    state: &State,
    now: Moment,
) -> Result<()> {
    let path = directory.join(FILES[2]);
    let advice = || {
        format!("keeping the recording in {}; make room there, or set `probe.record: false`", path.display())
    };
    add(directory, &path, recorder, order, state, now).with_context(advice)
}

fn add(
    directory: &Path,
    path: &Path,
    recorder: &Recorder,
    order: &Order,
    state: &State,
    now: Moment,
) -> Result<()> {
    let open = || {
        let mut how = OpenOptions::new();
        file::open(path, how.create(true).read(true).append(true).mode(0o644))
    };
    let mut file = open()?;
    let mut known = look(&file)?;
    let is_over = |known: &Known| {
        let age = known.kept.as_ref().map(|kept| now.boot.since(kept.head.at));
        let is_old = age.is_some_and(|age| age.is_none_or(|age| age >= HALF_A_DAY));
        let is_foreign = known.kept.as_ref().is_none_or(|kept| kept.head.boot_id != order.machine.boot_id);
        known.length > 0 && (known.length > LIMIT || is_old || is_foreign)
    };
    if is_over(&known) {
        for pair in FILES.windows(2) {
            let [older, newer] = [pair[0], pair[1]].map(|name| directory.join(name));
            match fs::rename(&newer, &older) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        file = open()?;
        known = look(&file)?;
    }
    let mut lines = recorder.lines(known.kept.as_ref(), order, state, now)?;
    if known.is_torn {
        lines.insert(0, '\n');
    }
    let written = file.write(lines.as_bytes());
    if !matches!(written, Ok(count) if count == lines.len()) {
        // Half a line is of no use to anybody, and takes up what little room there is.
        let _ = file.set_len(known.length);
    }
    let written = written?;
    if written < lines.len() {
        bail!("only {written} of {} bytes could be written", lines.len());
    }
    Ok(())
}

/// What there is before a run is added.
struct Known {
    length: u64,
    kept: Option<Kept>,
    /// A run was killed while it wrote.
    is_torn: bool,
}

/// Reads the first line and the end, and nothing between.
fn look(file: &File) -> io::Result<Known> {
    const FIRST_LINE: usize = 256;
    const END: &[u8] = b",\"seen\":\"01234567\"}\n";
    let length = file.metadata()?.len();
    let room = |most: usize| vec![0; usize::try_from(length).unwrap_or(most).min(most)];
    let (mut first, mut end) = (room(FIRST_LINE), room(END.len()));
    file.read_exact_at(&mut first, 0)?;
    let from = length - end.len() as u64;
    file.read_exact_at(&mut end, from)?;
    let first = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let end = String::from_utf8_lossy(&end);
    let seen = end.strip_prefix(",\"seen\":\"").and_then(|end| end.strip_suffix("\"}\n"));
    let kept = Head::read(first).ok().map(|head| Kept { head, seen: seen.map(str::to_owned) });
    Ok(Known { length, kept, is_torn: length > 0 && !end.ends_with('\n') })
}

/// The files of the recording, the oldest first.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    FILES.iter().map(|name| directory.join(name)).filter(|path| path.exists()).collect()
}

/// Reads these files. It needs no lock.
pub fn read(files: &[PathBuf]) -> Recording {
    let mut recording = Recording::default();
    for path in files {
        let name = path.display().to_string();
        match file::read_foreign(path, MOST_TO_READ) {
            Ok(bytes) => recording.add(&name, &bytes),
            Err(error) => recording.left_out.push(format!("{name} cannot be read: {error}")),
        }
    }
    recording
}
