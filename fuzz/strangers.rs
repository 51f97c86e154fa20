//! Plays the entry that WANFO_ENTRY names, with whatever libFuzzer comes up with: `.ci/fuzz` starts it.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use strangers::{ENTRIES, SPOKEN};

#[path = "../tests/fixtures/strangers.rs"]
mod strangers;

static PLAY: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("WANFO_ENTRY").unwrap_or_default();
    let mut entries = ENTRIES.iter().chain(SPOKEN);
    match entries.find(|(entry, _)| *entry == wanted) {
        Some((_, play)) => *play,
        None => panic!("WANFO_ENTRY has to be a folder of tests/fixtures/strangers, and is {wanted:?}"),
    }
});

fuzz_target!(|bytes: &[u8]| PLAY(bytes));
