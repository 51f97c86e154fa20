//! What every example has to be.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::site::EXAMPLES;
use crate::story::WANFO;

pub fn every_example_is_a_good_config_with_a_page_beside_it() {
    let [configs, pages] = ["yaml", "md"].map(names);
    assert!(!configs.is_empty());
    assert_eq!(configs, pages, "every config has its page, and every page its config");
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the README");
    for name in configs {
        assert!(readme.contains(&format!("| [{name}](examples/{name}.md) |")), "the README lists no {name}");
        let config = Path::new(EXAMPLES).join(format!("{name}.yaml"));
        let output = Command::new(WANFO).arg("config").arg("-c").arg(&config).output().expect("wanfo starts");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The examples' files with this ending, without it.
fn names(ending: &str) -> BTreeSet<String> {
    let files = fs::read_dir(EXAMPLES).expect("the examples").map(|entry| entry.expect("a file").path());
    let ours = files.filter(|path| path.extension().is_some_and(|extension| extension == ending));
    ours.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}
