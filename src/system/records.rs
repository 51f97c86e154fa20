//! The history file under `paths.state`: JSON lines that are only ever added, and one older file of them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::file;
use crate::core::record::{Record, without_repeats};

const FILE: &str = "history.jsonl";
const OLDER: &str = "history.jsonl.1";

/// A file of more bytes than this is put aside as the older one. A record takes some 200, so that the two hold
/// thousands of them and never more than about 1 MiB of flash.
const LIMIT: u64 = 512 * 1024;

/// As many lines that cannot be read are told of.
const MOST_WARNINGS: usize = 50;

/// Adds records. Call it with the lock held: two that add at one time could both put the file aside.
///
/// They go out in one write(2) and are on disk when this returns. A crash in between leaves whole lines and at most
/// one broken one, at the end, which the next call closes.
pub fn append(directory: &Path, records: &[Record]) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let path = directory.join(FILE);
    let mut lines = Vec::new();
    for record in records {
        serde_json::to_writer(&mut lines, record).context("putting the history into words")?;
        lines.push(b'\n');
    }
    add(directory, &path, lines).with_context(|| {
        format!("writing the history to {}; make room there, or see who may write", path.display())
    })
}

fn add(directory: &Path, path: &Path, mut lines: Vec<u8>) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    if fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() > LIMIT) {
        let older = directory.join(OLDER);
        fs::rename(path, &older).with_context(|| format!("putting it aside as {}", older.display()))?;
    }
    let mut file = file::open(path, OpenOptions::new().create(true).read(true).append(true).mode(0o644))?;
    let length = file.metadata()?.len();
    if length > 0 {
        let mut last = [0];
        file.read_exact_at(&mut last, length - 1)?;
        if last != *b"\n" {
            lines.insert(0, b'\n');
        }
    }
    let written = file.write(&lines);
    if !matches!(written, Ok(count) if count == lines.len()) {
        // What did go out would stand there twice once the caller tries again.
        let _ = file.set_len(length);
    }
    let written = written?;
    if written < lines.len() {
        bail!("only {written} of {} bytes could be written", lines.len());
    }
    file.sync_data()?;
    if length == 0 {
        // The file is new, and its name must outlive a power cut as well (fsync(2)).
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Everything that is remembered, oldest first, and a sentence for each line that cannot be read. It needs no lock.
///
/// # Errors
/// A file is there and cannot be read.
pub fn read(directory: &Path) -> Result<(Vec<Record>, Vec<String>)> {
    // The current file is opened first: if it is put aside meanwhile, it is met again as the older one, and not missed.
    let current = open(directory, FILE)?;
    let older = open(directory, OLDER)?.filter(|older| {
        let is = |file: &File| file.metadata().map(|file| (file.dev(), file.ino())).ok();
        current.as_ref().is_none_or(|current| is(current) != is(older))
    });
    let (mut records, mut warnings) = (Vec::new(), Vec::new());
    for (name, file) in [(OLDER, older), (FILE, current)] {
        let Some(file) = file else { continue };
        let path = directory.join(name);
        // The last records to be added may have taken it past its limit.
        let (bytes, is_cut) = file::tail(file, 2 * LIMIT)
            .with_context(|| format!("reading the history in {}", path.display()))?;
        if is_cut {
            warnings.push(format!("{} is larger than a history gets; only its end is read", path.display()));
        }
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            match serde_json::from_slice(line) {
                Ok(record) => records.push(record),
                Err(_) if line.trim_ascii().is_empty() || warnings.len() >= MOST_WARNINGS => {}
                Err(error) => warnings.push(format!(
                    "line {} of {} cannot be read and is left out: {error}",
                    index + 1,
                    path.display()
                )),
            }
        }
    }
    Ok((without_repeats(records), warnings))
}

fn open(directory: &Path, name: &str) -> Result<Option<File>> {
    let path = directory.join(name);
    match file::open(&path, OpenOptions::new().read(true)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("opening the history in {}", path.display())),
    }
}
