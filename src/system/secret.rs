//! What the admin keeps in a file for root alone: a password, the address of a webhook.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::file;

/// More than any of them has, in bytes.
const LIMIT: u64 = 4096;

/// The text of the file, or why it is of no use. What stands there never gets into a sentence.
pub fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let said = |error: io::Error| format!("{shown} cannot be read: {error}");
    let open = file::open_foreign(path).map_err(said)?;
    let mode = open.metadata().map_err(said)?.permissions().mode();
    if !is_credential(path) && mode & 0o007 != 0 {
        return Err(format!("{shown} is open to everybody on this machine; run `chmod 600 {shown}`"));
    }
    let bytes = file::whole(open, LIMIT).map_err(said)?;
    String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8 text"))
}

/// A systemd credential (systemd.exec(5)). It is there for its service alone, and has an owner and a mode that systemd
/// sees to.
pub fn is_credential(path: &Path) -> bool {
    let given = std::env::var_os("CREDENTIALS_DIRECTORY");
    given
        .iter()
        .map(|it| it.as_os_str())
        .chain([OsStr::new("/run/credentials")])
        .any(|it| path.starts_with(it))
}
