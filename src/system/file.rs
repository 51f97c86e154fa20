//! Opening a file in whose place somebody may have put something else: a FIFO that is waited for without end, a device,
//! a file that fills the memory. And replacing one so that it is whole at any time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

/// Opens a file of wanfo's own, which is never a symbolic link.
///
/// # Errors
/// Of the kind `InvalidData`: there is something, and it is no regular file.
pub fn open(path: &Path, how: &mut OpenOptions) -> io::Result<File> {
    open_with(path, how, libc::O_NOFOLLOW)
}

/// Opens a file of the admin's or of another program's for reading; a link leads to it as well.
///
/// # Errors
/// As above.
pub fn open_foreign(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().read(true), 0)
}

/// What stands in a file of wanfo's own.
///
/// # Errors
/// Of the kind `InvalidData`: there is something, and it is no regular file or has more bytes than `limit`.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    whole(open(path, OpenOptions::new().read(true))?, limit)
}

/// The same of a file of the admin's or of another program's.
///
/// # Errors
/// As above.
pub fn read_foreign(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    whole(open_foreign(path)?, limit)
}

/// The last bytes of a file, `limit` at most, and whether that is not all.
pub fn tail(mut file: File, limit: u64) -> io::Result<(Vec<u8>, bool)> {
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok((bytes, size > limit))
}

/// Writes a file of wanfo's own whole, and has it on the disk when this returns: power may go with the line.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    let written = (|| {
        // Whatever a run that was killed, or somebody else, left in its place.
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_directory_of(path)
    })();
    if written.is_err() {
        // Half a file must not take up what little room there is.
        let _ = fs::remove_file(&new);
    }
    written
}

/// Has it on the disk that a file in it was made, renamed or removed.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn open_with(path: &Path, how: &mut OpenOptions, flags: i32) -> io::Result<File> {
    let no_file = || io::Error::new(io::ErrorKind::InvalidData, "it is no regular file");
    // O_NONBLOCK: a FIFO with nobody at its other end would hold us up. It means nothing to a regular file (open(2)).
    match how.custom_flags(libc::O_NONBLOCK | flags).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(no_file()),
        // A link; a FIFO that nobody reads, or a socket; a directory.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO | libc::EISDIR)) => {
            Err(no_file())
        }
        Err(error) => Err(error),
    }
}

/// What stands in an open file.
///
/// # Errors
/// Of the kind `InvalidData`: it has more bytes than `limit`.
pub fn whole(file: File, limit: u64) -> io::Result<Vec<u8>> {
    // Its size is no more than a hint: files of /proc have none.
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::with_capacity(size.min(limit) as usize + 1);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {limit} bytes"))),
        false => Ok(bytes),
    }
}
