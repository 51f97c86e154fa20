//! What a machine sees of this one, and where its wire and its console end here.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::story::WANFO;

pub struct Shown {
    /// The sources and what was built of them, seen in there at the same paths.
    pub source: String,
    pub built: String,
    /// This program, which is started in there.
    pub program: String,
    /// For the files of one machine. Goes when dropped.
    pub directory: TempDir,
}

impl Shown {
    pub fn of_this_machine() -> Shown {
        let path = |path: &Path| path.display().to_string();
        Shown {
            source: env!("CARGO_MANIFEST_DIR").to_owned(),
            built: path(Path::new(WANFO).parent().expect("a directory")),
            program: path(&std::env::current_exe().expect("this program")),
            directory: tempfile::tempdir().expect("a directory for the console's log"),
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// This end of it, a socket.
    pub fn wire(&self) -> PathBuf {
        self.file("wire")
    }

    /// What the machine shows on it.
    pub fn console(&self) -> PathBuf {
        self.file("console")
    }

    /// What whoever runs it complains of.
    pub fn complaints(&self) -> PathBuf {
        self.file("complaints")
    }
}
