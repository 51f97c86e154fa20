//! What strangers say: every entry hears what it has heard before, and what is like it, and anything.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lab::Namespace;
use libtest_mimic::{Arguments, Trial};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestError, TestRunner};
use strangers::{ENTRIES, Entry, SPOKEN};

mod lab;
#[path = "fixtures/strangers.rs"]
mod strangers;

const FOLDER: &str = "tests/fixtures/strangers";

fn main() {
    let mut entries = ENTRIES.to_vec();
    if lab::entered() {
        Namespace::of_the_machine().ip("link set lo up");
        entries.extend(SPOKEN);
    }
    let (said_before, like_it) = (entries.clone(), entries);
    let trials = vec![
        Trial::test("every_entry_has_a_folder_with_something_to_begin_with", || {
            every_entry_has_a_folder_with_something_to_begin_with();
            Ok(())
        }),
        Trial::test("what_was_said_before_does_no_harm", move || {
            what_was_said_before_does_no_harm(&said_before);
            Ok(())
        }),
        Trial::test("neither_does_anything_like_it_nor_anything_at_all", move || {
            neither_does_anything_like_it_nor_anything_at_all(&like_it);
            Ok(())
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// What is known of an entry, by the name of its file.
fn known(entry: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER).join(entry);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn every_entry_has_a_folder_with_something_to_begin_with() {
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER)).unwrap();
    let folders: BTreeSet<_> =
        folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    let entries = || ENTRIES.iter().chain(SPOKEN);
    assert_eq!(folders, entries().map(|(entry, _)| (*entry).to_owned()).collect());
    for (entry, _) in entries() {
        assert!(!known(entry).is_empty(), "{entry}");
    }
}

fn what_was_said_before_does_no_harm(entries: &[Entry]) {
    for (entry, play) in entries {
        for (path, bytes) in known(entry) {
            println!("{}", path.display());
            play(&bytes);
        }
    }
}

/// What means something to one format or another, and numbers without sense.
const ODD: &str = "[\\[\\]{}()<>:,&*!|%@`'\"#~?$\\\\;=\t\n\r\u{0}\u{1b}\u{85}\u{2028}\u{feff}é0-9a-z. -]{0,6}\
    |18446744073709551615|-9223372036854775808|1e300|null|\n---\n|\r\n\r\n\
    |\n(if|fi|config|option|list|export|package) ";

/// A piece of something is cut out, and something else stands there.
#[derive(Debug, Clone)]
struct Edit {
    at: Index,
    cut: usize,
    paste: Paste,
}

#[derive(Debug, Clone)]
enum Paste {
    Bytes(Vec<u8>),
    /// A piece of one that is known, perhaps of the same.
    Piece(Index, Index, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let paste = prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..5).prop_map(Paste::Bytes),
        2 => ODD.prop_map(|text| Paste::Bytes(text.into_bytes())),
        1 => (any::<Index>(), any::<Index>(), 0..400usize)
            .prop_map(|(file, from, length)| Paste::Piece(file, from, length)),
    ];
    let cut = prop_oneof![3 => 0..6usize, 1 => 0..60usize, 1 => Just(usize::MAX)];
    let edit = (any::<Index>(), cut, paste).prop_map(|(at, cut, paste)| Edit { at, cut, paste });
    prop::collection::vec(edit, 1..8)
}

fn edited(known: &[Vec<u8>], file: Index, edits: &[Edit]) -> Vec<u8> {
    let mut bytes = file.get(known).clone();
    for Edit { at, cut, paste } in edits {
        let start = at.index(bytes.len() + 1);
        let end = start.saturating_add(*cut).min(bytes.len());
        let paste = match paste {
            Paste::Bytes(bytes) => bytes.clone(),
            Paste::Piece(file, from, length) => {
                let file = file.get(known);
                file.iter().skip(from.index(file.len() + 1)).take(*length).copied().collect()
            }
        };
        bytes.splice(start..end, paste);
    }
    bytes
}

/// Nothing of it panics, and what the entry asserts holds. What does not is kept in a file.
fn neither_does_anything_like_it_nor_anything_at_all(entries: &[Entry]) {
    let next = AtomicUsize::new(0);
    let failures = || {
        let mut failures = Vec::new();
        while let Some((entry, play)) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
            failures.extend(try_out(entry, *play).err());
        }
        failures
    };
    let count = thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(failures)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn try_out(entry: &str, play: fn(&[u8])) -> Result<(), String> {
    let known: Vec<Vec<u8>> = known(entry).into_iter().map(|(_, bytes)| bytes).collect();
    let like_it = (any::<Index>(), edits()).prop_map(move |(file, edits)| edited(&known, file, &edits));
    let anything = prop::collection::vec(any::<u8>(), 0..300);
    let bytes = prop_oneof![9 => like_it, 1 => anything];
    // The slowest is a POST to a webhook, which reads every certificate of this machine first.
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) };
    let tried = TestRunner::new(config).run(&bytes, |bytes| {
        play(&bytes);
        Ok(())
    });
    tried.map_err(|error| match error {
        TestError::Fail(why, bytes) => {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("strangers-{entry}"));
            fs::write(&path, bytes).unwrap();
            format!(
                "{entry}: {why}; it is kept in {}, and is to be a file in {FOLDER}/{entry}",
                path.display()
            )
        }
        TestError::Abort(why) => format!("{entry}: {why}"),
    })
}
