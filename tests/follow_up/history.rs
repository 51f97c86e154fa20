//! What is remembered of it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;

use super::*;
use crate::lab::Run;
use crate::story::{PROBE, Story, config, link, two_links};

/// The kinds of records, in their order.
fn kinds(story: &Story) -> Vec<String> {
    history_of(story).iter().map(|record| text(&record["event"]).to_owned()).collect()
}

/// Everything under `paths.state`, with the times of the last change.
fn files(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("a directory that can be read");
        let metadata = entry.metadata().expect("a file");
        files.push(format!("{:?} {:?}", entry.path(), metadata.modified().expect("a time")));
        if metadata.is_dir() {
            files.extend(self::files(&entry.path()));
        }
    }
    files.sort();
    files
}

fn with_everything(story: &Story) -> String {
    let action = script(story, "action", "echo $1 >>HERE/calls; exit 5");
    let action = format!("action_script: {}", action.display());
    config(&two_links(["", ""]), &[PROBE, NOTIFY, &action])
}

pub fn the_history_tells_what_happened_and_nothing_else() {
    let story = Story::of_two_links();
    story.configure(&with_everything(&story));
    assert_eq!(kinds(&story), Vec::<String>::new());
    assert_eq!(story.succeeds(&["history"]).stdout, "Nothing has been recorded yet.\n");
    story.check();
    assert_eq!(kinds(&story), ["started"]);
    let [started] = &history_of(&story)[..] else { panic!("one record") };
    assert_eq!(
        (&started["active"], &started["links"]),
        (&json!("primary"), &json!(["primary", "secondary"]))
    );
    let assert_quiet = || {
        let before = files(&story.path("state"));
        for _ in 0..3 {
            assert_eq!(story.check().stderr, "");
        }
        assert_eq!(files(&story.path("state")), before, "a quiet run wears no flash");
    };
    assert_quiet();

    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    assert_quiet();
    story.repair(1);
    story.check_until_active("primary");
    assert_quiet();
    story.pull_cable(2);
    story.check();
    let expected =
        ["started", "link_down", "switched", "script", "link_up", "switched", "script", "link_down"];
    assert_eq!(kinds(&story), expected);
    let records = history_of(&story);
    let why = "no reply from 198.51.100.11";
    assert_eq!((&records[1]["link"], &records[1]["reason"]), (&json!("primary"), &json!(why)));
    assert_eq!(records[2]["reason"], format!("primary is down: {why}"));
    assert_eq!((&records[3]["state"], &records[3]["outcome"]), (&json!("SECONDARY"), &json!("exit code 5")));
    assert_eq!(records[4]["link"], "primary");
    assert_eq!(
        (&records[7]["link"], &records[7]["reason"]),
        (&json!("secondary"), &json!("interface wan2 has no carrier"))
    );
    assert!(records.windows(2).all(|pair| pair[0]["boot_ms"].as_u64() <= pair[1]["boot_ms"].as_u64()));
    let page = story.succeeds(&["history"]).stdout;
    for words in ["switch primary -> secondary", "switch secondary -> primary", "primary DOWN", "exit code 5"]
    {
        assert!(page.contains(words), "{words:?} is not in:\n{page}");
    }
}

pub fn the_history_outlives_a_reboot() {
    let story = Story::of_two_links();
    story.configure(&with_everything(&story));
    story.check();
    story.pull_cable(1);
    story.check();
    assert_eq!((kinds(&story).len(), spool(&story).len()), (4, 1));

    // The kernel has none of our routes, /run is empty, and the kernel says that it is another boot.
    story.succeeds(&["down"]);
    assert_eq!(kinds(&story)[4..], ["taken_out"], "up to then the links were watched");
    let (before, mails) = (history_of(&story), spool(&story));
    fs::remove_dir_all(story.path("run")).unwrap();
    fs::write(story.path("boot_id"), "00000000-0000-4000-8000-000000000000\n").unwrap();
    let after_boot = |arguments: &[&str]| {
        let covers = [(&*story.path("boot_id"), Path::new("/proc/sys/kernel/random/boot_id"))];
        let run = Run::from(story.wanfo_seeing(arguments, &covers).output().expect("wanfo starts"));
        assert_eq!(run.code, 0, "{run:?}");
        run
    };
    after_boot(&["check"]);
    after_boot(&["check"]);
    let records = history_of(&story);
    assert_eq!(records[..5], before);
    let kinds: Vec<&str> = records[5..].iter().map(|record| text(&record["event"])).collect();
    assert_eq!(kinds, ["started", "link_down", "switched", "script"]);
    assert!(records[5..].iter().all(|record| record["boot_id"] == "00000000-0000-4000-8000-000000000000"));
    let page = after_boot(&["history"]).stdout;
    assert_eq!(page.matches("switch primary -> secondary").count(), 2, "{page}");
    // What waits in the spool was not lost either, nor taken for the new one.
    assert_eq!(spool(&story).len(), 2);
    assert!(spool(&story).contains(&mails[0]));
}

pub fn a_repair_that_comes_back_is_recorded_once() {
    let story = Story::of_two_links();
    story.check();
    let disturb = || {
        story.router.ip("route flush table 5301");
        let run = story.check();
        assert!(
            run.stderr.contains("brought the kernel's routes in line again"),
            "it is said each time: {run:?}"
        );
    };
    for _ in 0..3 {
        disturb();
    }
    let [record] = &happened(&story, "repaired")[..] else { panic!("one record: {:?}", kinds(&story)) };
    let changes = record["changes"].to_string();
    assert!(changes.contains("table 5301") && changes.contains("192.0.2.1"), "{changes}");

    // Ten minutes later.
    let mut state = state(&story);
    let at = state["repair_recorded_at"].as_u64().expect("a time");
    let Some(ten_minutes_before) = at.checked_sub(600_000) else {
        return eprintln!(
            "!!! SKIPPED: the beat of repairs, this machine is up for less than ten minutes !!!"
        );
    };
    state["repair_recorded_at"] = json!(ten_minutes_before);
    fs::write(story.path("run/state.json"), state.to_string()).unwrap();
    disturb();
    disturb();
    assert_eq!(happened(&story, "repaired").len(), 2);
}

/// A small tmpfs on `paths.state`, until dropped.
struct Disk(PathBuf);

impl Disk {
    fn of(story: &Story) -> Disk {
        let path = story.path("state");
        fs::create_dir_all(&path).expect("the lab's directory takes one more");
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).expect("a tmpfs");
        Disk(path)
    }

    fn set_read_only(&self, read_only: bool) {
        let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() } | MsFlags::MS_REMOUNT;
        mount(None::<&str>, &self.0, None::<&str>, flags, None::<&str>).expect("a tmpfs of the lab's own");
    }

    fn set_full(&self, full: bool) {
        let filler = self.0.join("filler");
        match full {
            true => {
                assert!(fs::write(filler, vec![1; 1 << 20]).is_err(), "a tmpfs of this size is full by now")
            }
            false => fs::remove_file(filler).expect("the filler is there"),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

pub fn with_the_state_read_only_the_switch_stands_and_is_told_later() {
    told_later(Disk::set_read_only, "Read-only file system");
}

pub fn with_the_disk_full_the_switch_stands_and_is_told_later() {
    told_later(Disk::set_full, "No space left on device");
}

fn told_later(spoil: fn(&Disk, bool), error: &str) {
    let story = Story::of_two_links();
    story.configure(&with_everything(&story));
    let disk = Disk::of(&story);
    story.check();
    spoil(&disk, true);
    let fails = |awaited: &str| {
        let run = story.wanfo(&["check"]);
        assert_eq!(run.code, 1, "{run:?}");
        for words in [error, story.path("state").to_str().unwrap()] {
            assert!(run.stderr.contains(words), "{words:?} is not in {run:?}");
        }
        assert_eq!(story.active(), awaited);
    };
    story.pull_cable(1);
    fails("secondary");
    assert_carried_by(&story, 2);
    fails("secondary");
    // And back, with the first one still to be told.
    story.plug_in(1);
    story.await_answer(1);
    fails("primary");
    fails("primary");
    assert_carried_by(&story, 1);
    assert_eq!(lines(&story.path("calls")), ["SECONDARY", "PRIMARY"]);

    spoil(&disk, false);
    story.check();
    assert_eq!(story.check().stderr, "");
    assert_eq!(lines(&story.path("calls")), ["SECONDARY", "PRIMARY"]);
    let there = ("primary".to_owned(), "secondary".to_owned());
    let back = (there.1.clone(), there.0.clone());
    assert_eq!(switches(&story), [there, back]);
    assert_eq!(
        kinds(&story),
        ["started", "link_down", "switched", "script", "link_up", "switched", "script"]
    );
    let subjects = subjects(&story);
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    assert!(subjects[0].starts_with("Primary WAN link failed on '"), "{subjects:?}");
    assert!(subjects[1].starts_with("Primary WAN link OK on '"), "{subjects:?}");
    assert_eq!(story.status()["notifications_pending"], 2);
    assert!(state(&story)["pending"]["mails"].as_array().is_some_and(Vec::is_empty));
}

pub fn what_is_to_be_told_outlives_a_change_of_the_config() {
    let links = [link(1, "fibre", ""), link(2, "cable", ""), link(3, "lte", "")];
    let story = Story::begin(3, &config(&links, &[PROBE, NOTIFY]));
    let disk = Disk::of(&story);
    story.check();
    disk.set_read_only(true);
    story.pull_cable(1);
    assert_eq!(story.wanfo(&["check"]).code, 1);
    assert_eq!(story.active(), "cable");
    // The link that is active is taken out of the config.
    story.configure(&config(&[links[0].clone(), links[2].clone()], &[PROBE, NOTIFY]));
    disk.set_read_only(false);
    story.check();
    assert!(switches(&story).contains(&("fibre".to_owned(), "cable".to_owned())), "{:?}", history_of(&story));
    let subject = format!("fibre WAN link failed on '{}'. Switched to cable link.", host());
    assert!(subjects(&story).contains(&subject), "{:?}", subjects(&story));
}
