//! Plays the entry that WANFO_ENTRY names, with whatever libFuzzer comes up with: `.ci/fuzz` starts it.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use strangers::ENTRIES;

#[path = "../tests/fixtures/strangers.rs"]
mod strangers;

static PLAY: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("WANFO_ENTRY").unwrap_or_default();
    match ENTRIES.iter().find(|(entry, _)| *entry == wanted) {
        Some((_, play)) => *play,
        None => panic!(
            "WANFO_ENTRY has to be one of {:?}",
            ENTRIES.iter().map(|(entry, _)| entry).collect::<Vec<_>>()
        ),
    }
});

fuzz_target!(|bytes: &[u8]| PLAY(bytes));
