//! What the runs asked and heard, kept and played again.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::lab::Run;
use crate::story::{Story, config, two_links};

const RECORDED: &str = "probe: {silence: 2s, record: true}";

fn recorded() -> Story {
    let story = Story::begin(2, &config(&two_links(["", ""]), &[RECORDED]));
    story.check();
    story
}

/// The same lines by another config.
fn replay(story: &Story, probe: &str) -> Run {
    let text = fs::read_to_string(story.path("wanfo.yaml")).unwrap().replace(RECORDED, probe);
    let other = story.path("other.yaml");
    fs::write(&other, text).unwrap();
    story.succeeds(&["replay", "-c", other.to_str().unwrap()])
}

fn files(story: &Story) -> Vec<(String, u64)> {
    let entries = fs::read_dir(story.path("run")).unwrap().map(Result::unwrap);
    let named =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()));
    let mut files: Vec<_> = named.filter(|(name, _)| name.starts_with("rounds")).collect();
    files.sort();
    files
}

pub fn a_failover_that_was_recorded_is_shown_and_a_longer_silence_would_have_had_none() {
    let story = recorded();
    story.check();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.repair(1);
    story.check_until_active("primary");

    let kernel = story.kernel();
    let same = story.succeeds(&["replay"]);
    assert_eq!(same.stderr, "");
    let rows: Vec<&str> = same.stdout.lines().filter(|line| line.contains(" -> ")).collect();
    let [there, back] = rows[..] else { panic!("{same:?}") };
    assert!(there.ends_with("primary -> secondary") && back.ends_with("secondary -> primary"), "{same:?}");
    assert!(
        rows.iter().all(|row| row.starts_with("20") && row[21..].starts_with("20")),
        "on both sides: {same:?}"
    );
    assert!(same.stdout.contains("primary is down: no reply from 198.51.100.11"), "{same:?}");

    let patient = replay(&story, "probe: {silence: 40s}");
    let rows: Vec<&str> = patient.stdout.lines().filter(|line| line.contains(" -> ")).collect();
    assert!(rows.len() == 2 && rows.iter().all(|row| row[21..].starts_with('-')), "{patient:?}");
    assert!(
        patient.stdout.contains("Switches that came: 2; that would have come by this config: none."),
        "{patient:?}"
    );

    // On another machine, by anybody, from a copy.
    let copy = story.path("copy");
    fs::copy(story.path("run/rounds.jsonl"), &copy).unwrap();
    fs::remove_dir_all(story.path("run")).unwrap();
    assert_eq!(story.succeeds(&["replay", copy.to_str().unwrap()]).stdout, same.stdout);
    assert!(!story.path("run").exists(), "a replay makes nothing");
    assert_eq!(story.kernel(), kernel);
    let without = story.wanfo(&["replay"]);
    assert!(without.code == 1 && without.stderr.contains("set `probe.record: true`"), "{without:?}");
}

pub fn a_recording_is_bounded_in_size_and_time_and_one_run_costs_little() {
    let story = recorded();
    let size = |story: &Story| files(story).iter().map(|(_, size)| size).sum::<u64>();
    let before = size(&story);
    (0..10).for_each(|_| drop(story.check()));
    let each = (size(&story) - before) / 10;
    println!("{each} bytes a run, {:.1} MB a day", each as f64 * 43_200.0 / 1e6);
    assert!(each < 100, "{each} bytes a run");
    assert_eq!(files(&story).len(), 1);

    for expected in [2, 3, 3] {
        story.let_pass(Duration::from_secs(12 * 3600));
        story.check();
        assert_eq!(files(&story).len(), expected, "{:?}", files(&story));
    }
    // All of them are played.
    assert!(story.succeeds(&["replay"]).stdout.starts_with("3 runs, "), "{:?}", story.succeeds(&["replay"]));

    // Many lines fill it sooner.
    let current = story.path("run/rounds.jsonl");
    let line = fs::read_to_string(&current).unwrap().lines().last().unwrap().to_owned() + "\n";
    let mut file = OpenOptions::new().append(true).open(&current).unwrap();
    file.write_all(line.repeat(2 * 1024 * 1024 / line.len() + 1).as_bytes()).unwrap();
    story.check();
    let sizes: Vec<u64> = files(&story).iter().map(|(_, size)| *size).collect();
    assert!(sizes[0] < 10_000 && sizes[1] > 2 * 1024 * 1024, "{sizes:?}");
}

/// Where it cannot be kept that is a problem, told once; and the line is left all the same.
pub fn a_recording_that_cannot_be_kept_holds_up_nothing() {
    let story = recorded();
    let current = story.path("run/rounds.jsonl");
    fs::remove_file(&current).unwrap();
    fs::create_dir(&current).unwrap();
    let run = story.check();
    assert!(
        run.stderr.contains("problem: keeping the recording in")
            && run.stderr.contains("`probe.record: false`"),
        "{run:?}"
    );
    assert_eq!(story.check().stderr, "", "said again");
    assert!(story.problems().contains("it is no regular file"), "{}", story.problems());
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    fs::remove_dir(&current).unwrap();
    assert!(story.check().stderr.contains("no longer a problem: recording not kept"));
    story.check();

    // A run was killed while it wrote: the next one begins a line of its own.
    let torn = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, &text[..text.len() - 30]).unwrap();
    };
    torn(&current);
    story.check();
    let replayed = story.succeeds(&["replay"]);
    assert!(replayed.stderr.contains("rounds.jsonl is left out: it cannot be read"), "{replayed:?}");
    let text = fs::read_to_string(&current).unwrap();
    let is_sight = |line: &&str| {
        serde_json::from_str(line).is_ok_and(|line: serde_json::Value| line["facts"].is_object())
    };
    let sights = text.lines().filter(is_sight);
    assert_eq!(sights.count(), 2, "it has lost the name of what was seen, and says that anew: {text}");
    story.check();
    torn(&current);
    let replayed = story.succeeds(&["replay"]);
    assert!(replayed.stderr.contains("it is torn, as a killed run leaves it"), "{replayed:?}");

    // Somebody else's file, and one of a later version, are put aside.
    for text in ["garbage\n", "{\"wanfo_recording\":9}\n"] {
        fs::write(&current, text).unwrap();
        story.check();
        let replayed = story.succeeds(&["replay"]);
        assert!(replayed.stderr.contains("rounds.jsonl.1 cannot be played: it"), "{replayed:?}");
    }
    let unreadable = story.path("copy");
    fs::write(&unreadable, vec![b'x'; 9 << 20]).unwrap();
    let refused = story.wanfo(&["replay", unreadable.to_str().unwrap()]);
    assert!(refused.code == 1 && refused.stderr.contains("it has more than 8388608 bytes"), "{refused:?}");
    assert_eq!(story.wanfo(&["replay", "-c", "/run/nowhere.yaml"]).code, 2);
}

pub fn without_the_key_nothing_is_recorded() {
    let story = Story::of_two_links();
    story.check();
    assert_eq!(files(&story), []);
    story.configure(&config(&two_links(["", ""]), &[RECORDED]));
    story.succeeds(&["check", "--dry-run"]);
    assert_eq!(files(&story), []);
    story.succeeds(&["force-failover"]);
    let mode = fs::metadata(story.path("run/rounds.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "everybody may play it");
    assert!(
        fs::read_to_string(story.path("run/rounds.jsonl")).unwrap().contains("\"by_hand\":{\"failover\"")
    );
}
