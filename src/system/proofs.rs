//! The file `proofs.json` under `paths.state`: when each link was last proven. Only `wanfo drill` writes it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::file;
use crate::core::proofs::Proofs;

const FILE: &str = "proofs.json";

/// More bytes than eight links need.
const LIMIT: u64 = 16 * 1024;

/// What is known; it needs no lock, for the file is replaced whole.
pub fn load(directory: &Path) -> Result<Proofs> {
    let path = directory.join(FILE);
    let known = match file::read(&path, LIMIT) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Proofs::default()),
        Err(error) => Err(error),
    };
    known.with_context(|| {
        format!("reading when the links were proven in {}; the next drill writes it anew", path.display())
    })
}

/// On disk when this returns. Call it with the lock held.
pub fn save(directory: &Path, proofs: &Proofs) -> Result<()> {
    let path = directory.join(FILE);
    let saved = (|| {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        file::replace(&path, &serde_json::to_vec(proofs)?, 0o644)
    })();
    saved.with_context(|| {
        format!("writing down the proof in {}; make room there, or see who may write", path.display())
    })
}
