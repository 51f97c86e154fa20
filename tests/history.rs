//! What is remembered over reboots: the file, what it adds up to, and how it is shown.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use wanfo::core::account::{Account, LinkSummary, Present, Span, Standing, account};
use wanfo::core::record::{Event, Record, without_repeats};
use wanfo::core::report::history;
use wanfo::core::since::since;
use wanfo::core::switch::Cause;
use wanfo::core::time::{BootTime, Moment};
use wanfo::system::records::{append, read};

const CURRENT: &str = "history.jsonl";
const OLDER: &str = "history.jsonl.1";

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn wall(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A record `second` seconds after the boot named `boot`; the wall clock is right, and the boot was at midnight of the
/// day in its name.
fn record(boot: &str, second: u64, event: Event) -> Record {
    let at = wall(&format!("{boot}T00:00:00Z")) + seconds(second);
    Record { at, boot_id: boot.to_owned(), boot_ms: BootTime(second * 1000), event }
}

fn started(active: &str) -> Event {
    Event::Started { active: active.to_owned(), links: links() }
}

fn down(link: &str) -> Event {
    Event::LinkDown {
        link: link.to_owned(),
        reason: "no reply from 198.51.100.53".to_owned(),
        heard_ms: None,
    }
}

fn up(link: &str) -> Event {
    Event::LinkUp { link: link.to_owned(), heard_ms: None }
}

/// It begins and ends where these were heard, whenever that is told.
fn outage_of_fibre(last: u64, first: u64) -> [Event; 2] {
    let heard = |second: u64| Some(BootTime(second * 1000));
    let (link, reason) = ("fibre".to_owned(), "no reply".to_owned());
    [
        Event::LinkDown { link: link.clone(), reason, heard_ms: heard(last) },
        Event::LinkUp { link, heard_ms: heard(first) },
    ]
}

fn switched(from: &str, to: &str, backup_bytes: Option<u64>) -> Event {
    Event::Switched {
        from: from.to_owned(),
        to: to.to_owned(),
        cause: Cause::LinkDown,
        reason: format!("{from} is down"),
        forced: false,
        backup_bytes,
    }
}

fn links() -> Vec<String> {
    ["fibre", "cable", "lte"].map(str::to_owned).into()
}

/// `second` seconds after the boot named `boot`, with a run just done.
fn present(boot: &str, second: u64) -> Present<'_> {
    let boot_time = BootTime(second * 1000);
    let wall = wall(&format!("{boot}T00:00:00Z")) + seconds(second);
    Present { boot_id: boot, now: Moment { boot: boot_time, wall }, last_run: Some(boot_time) }
}

const MONDAY: &str = "2026-11-23";
const TUESDAY: &str = "2026-11-24";

/// One line a link: how long it was up, of how long that is known, active; outages and the longest; bytes.
fn summaries(account: &Account) -> Vec<String> {
    let tell = |link: &LinkSummary| {
        let longest = match link.longest_outage {
            None => "-".to_owned(),
            Some(Span::Ended(time)) => time.as_secs().to_string(),
            Some(Span::SoFar(time)) => format!("{} so far", time.as_secs()),
            Some(Span::AtLeast(time)) => format!("{} or more", time.as_secs()),
        };
        format!(
            "{} up {}/{} active {} outages {} longest {longest} bytes {}{}",
            link.link,
            link.up.as_secs(),
            link.known.as_secs(),
            link.active.as_secs(),
            link.outages,
            link.backup_bytes,
            if link.more_bytes { "+" } else { "" }
        )
    };
    account.links.iter().map(tell).collect()
}

#[test]
fn records_add_up_to_a_summary_of_each_link() {
    let monday = |second, event| record(MONDAY, second, event);
    let tuesday = |second, event| record(TUESDAY, second, event);
    let two_outages = vec![
        monday(10, started("fibre")),
        monday(100, down("fibre")),
        monday(101, switched("fibre", "cable", None)),
        monday(200, up("fibre")),
        monday(201, switched("cable", "fibre", Some(5000))),
        monday(300, down("fibre")),
        monday(330, up("fibre")),
    ];
    let reboot = vec![
        monday(10, started("fibre")),
        monday(50, down("fibre")),
        monday(60, switched("fibre", "cable", None)),
        tuesday(20, started("cable")),
        tuesday(120, switched("cable", "fibre", Some(700))),
    ];
    let mut stepped = two_outages.clone();
    // The clock was found to be 30 years behind at second 150.
    stepped[..3].iter_mut().for_each(|record| record.at -= seconds(946_684_800));
    let cases = [
        (
            "two outages",
            two_outages.clone(),
            present(MONDAY, 1010),
            None,
            [
                "fibre up 870/1000 active 900 outages 2 longest 100 bytes 0",
                "cable up 1000/1000 active 100 outages 0 longest - bytes 5000",
                "lte up 1000/1000 active 0 outages 0 longest - bytes 0",
            ],
        ),
        (
            "the clock was stepped by years",
            stepped.clone(),
            present(MONDAY, 1010),
            Some(wall("2026-11-23T00:00:00Z")),
            [
                "fibre up 870/1000 active 900 outages 2 longest 100 bytes 0",
                "cable up 1000/1000 active 100 outages 0 longest - bytes 5000",
                "lte up 1000/1000 active 0 outages 0 longest - bytes 0",
            ],
        ),
        (
            "the period begins within the first outage",
            two_outages.clone(),
            present(MONDAY, 1010),
            Some(wall("2026-11-23T00:02:30Z")),
            [
                "fibre up 780/860 active 809 outages 2 longest 50 bytes 0",
                "cable up 860/860 active 51 outages 0 longest - bytes 5000",
                "lte up 860/860 active 0 outages 0 longest - bytes 0",
            ],
        ),
        (
            "nothing happened in the period",
            two_outages.clone(),
            present(MONDAY, 1010),
            Some(wall("2026-11-23T00:10:10Z")),
            [
                "fibre up 400/400 active 400 outages 0 longest - bytes 0",
                "cable up 400/400 active 0 outages 0 longest - bytes 0",
                "lte up 400/400 active 0 outages 0 longest - bytes 0",
            ],
        ),
        (
            "an outage that lasts, and a third link",
            vec![
                monday(10, started("fibre")),
                monday(100, down("fibre")),
                monday(100, switched("fibre", "cable", None)),
                monday(150, down("cable")),
                monday(150, switched("cable", "lte", Some(40))),
                monday(170, up("cable")),
            ],
            present(MONDAY, 510),
            None,
            [
                "fibre up 90/500 active 90 outages 1 longest 410 so far bytes 0",
                "cable up 480/500 active 50 outages 1 longest 20 bytes 40",
                "lte up 500/500 active 360 outages 0 longest - bytes 0+",
            ],
        ),
        (
            "a reboot in the middle: what lies between is not counted",
            reboot.clone(),
            present(TUESDAY, 220),
            None,
            [
                "fibre up 240/250 active 150 outages 1 longest 10 or more bytes 0",
                "cable up 250/250 active 100 outages 0 longest - bytes 700+",
                "lte up 250/250 active 0 outages 0 longest - bytes 0",
            ],
        ),
        (
            "the period begins while nothing is known",
            reboot.clone(),
            present(TUESDAY, 220),
            Some(wall("2026-11-23T12:00:00Z")),
            [
                "fibre up 200/200 active 100 outages 0 longest - bytes 0",
                "cable up 200/200 active 100 outages 0 longest - bytes 700",
                "lte up 200/200 active 0 outages 0 longest - bytes 0",
            ],
        ),
        (
            "no run left a state: nothing is known after the last record",
            two_outages.clone(),
            Present { last_run: None, ..present(MONDAY, 1010) },
            None,
            [
                "fibre up 190/320 active 220 outages 2 longest 100 bytes 0",
                "cable up 320/320 active 100 outages 0 longest - bytes 5000",
                "lte up 320/320 active 0 outages 0 longest - bytes 0",
            ],
        ),
        (
            "the record of a new boot was lost: nothing is known of the time before it all the same",
            vec![
                monday(10, started("fibre")),
                monday(110, down("lte")),
                tuesday(50, down("cable")),
                tuesday(80, up("cable")),
            ],
            present(TUESDAY, 180),
            None,
            [
                "fibre up 100/100 active 100 outages 0 longest - bytes 0",
                "cable up 200/230 active 0 outages 1 longest 30 bytes 0",
                "lte up 100/100 active 0 outages 1 longest 0 or more bytes 0",
            ],
        ),
        (
            "the state was lost within a boot: nothing is known of the time before",
            vec![
                monday(10, started("fibre")),
                monday(110, down("lte")),
                monday(610, started("fibre")),
                monday(620, down("cable")),
                monday(630, down("cable")),
            ],
            Present { last_run: None, ..present(MONDAY, 1010) },
            Some(wall("2026-11-23T00:01:50Z")),
            [
                "fibre up 20/20 active 20 outages 0 longest - bytes 0",
                "cable up 10/20 active 0 outages 1 longest 10 or more bytes 0",
                "lte up 20/20 active 0 outages 1 longest 0 or more bytes 0",
            ],
        ),
        (
            "the beginning is missing: a link is known from its own first record on",
            two_outages[1..].to_vec(),
            present(MONDAY, 1010),
            None,
            [
                "fibre up 780/910 active 809 outages 2 longest 100 bytes 0",
                "cable up 0/0 active 100 outages 0 longest - bytes 5000",
                "lte up 0/0 active 0 outages 0 longest - bytes 0",
            ],
        ),
    ];
    for (name, records, present, since, expected) in cases {
        let links = links();
        let account = account(&records, &links, &present, since).unwrap();
        assert_eq!(summaries(&account), expected, "{name}");
    }
}

#[test]
fn each_entry_tells_how_long_it_lasted_and_what_it_cost() {
    let records = [
        record(MONDAY, 10, started("fibre")),
        record(MONDAY, 100, down("fibre")),
        record(MONDAY, 101, switched("fibre", "cable", None)),
        record(MONDAY, 200, up("fibre")),
        record(MONDAY, 201, switched("cable", "fibre", Some(5000))),
        record(MONDAY, 300, down("lte")),
        record(TUESDAY, 20, started("fibre")),
        record(TUESDAY, 50, down("fibre")),
    ];
    let links = links();
    let account = account(&records, &links, &present(TUESDAY, 80), None).unwrap();
    let lasted: Vec<_> = account.entries.iter().map(|entry| entry.lasted).collect();
    let ended = |count| Some(Span::Ended(seconds(count)));
    let lost = |count| Some(Span::AtLeast(seconds(count)));
    let so_far = |count| Some(Span::SoFar(seconds(count)));
    assert_eq!(lasted, [ended(91), ended(100), ended(100), None, lost(99), lost(0), so_far(60), so_far(30)]);
    assert_eq!(account.entries[2].backup_bytes, Some(5000));
    assert_eq!(account.entries[3].after, Some(seconds(100)));
    assert_eq!(account.entries[6].unknown_before, Some(seconds(24 * 3600 - 280)));
}

#[test]
fn the_standing_at_the_beginning_follows_from_what_was_before() {
    let records = [
        record(MONDAY, 10, started("fibre")),
        record(MONDAY, 100, down("fibre")),
        record(MONDAY, 101, switched("fibre", "cable", None)),
        record(MONDAY, 200, up("fibre")),
    ];
    let links = links();
    let since = Some(wall("2026-11-23T00:02:00Z"));
    let account = account(&records, &links, &present(MONDAY, 300), since).unwrap();
    assert_eq!((account.outset.active, account.outset.down), (Some("cable"), vec!["fibre"]));
    assert_eq!(account.entries.len(), 1);
    assert_eq!(account.entries[0].after, Some(seconds(100)), "the outage as a whole");
}

/// The moment at which the files in `tests/fixtures` are looked at.
fn fixture_present() -> Present<'static> {
    let boot = BootTime(90_000_000);
    Present {
        boot_id: "e3f1c2a4-6d8b-4b1f-8a7e-5c9d0e2f4a61",
        now: Moment { boot: BootTime(90_004_000), wall: wall("2026-11-23T06:30:04Z") },
        last_run: Some(boot),
    }
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn fixture_records() -> Vec<Record> {
    fixture("history.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Central European Time, with its rule for summer time.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

#[track_caller]
fn assert_is_fixture(name: &str, text: &str) {
    assert!(text == fixture(name), "tests/fixtures/{name} says something else than:\n{text}");
}

#[test]
fn people_like_to_read_it() {
    let (records, links) = (fixture_records(), links());
    let whole = account(&records, &links, &fixture_present(), None);
    assert_is_fixture("history.txt", &history::text(whole.as_ref(), &berlin()));
    // In the outage of fibre, a minute before cable goes down as well.
    let since = Some(wall("2026-11-20T16:27:00Z"));
    let part = account(&records, &links, &fixture_present(), since);
    assert_is_fixture("history-since.txt", &history::text(part.as_ref(), &berlin()));
}

#[test]
fn nothing_is_wider_than_100_columns_and_no_control_character_gets_out() {
    let name = "n".repeat(32);
    let reason = "\u{1b}[2J".to_owned() + &"x".repeat(500) + " no reply".repeat(30).as_str();
    let records = [
        record(MONDAY, 10, started(&name)),
        record(MONDAY, 20, Event::LinkDown { link: name.clone(), reason: reason.clone(), heard_ms: None }),
        record(
            MONDAY,
            30,
            Event::Switched {
                cause: Cause::LinkDown,
                from: "m".repeat(32),
                to: name.clone(),
                reason,
                forced: true,
                backup_bytes: Some(u64::MAX),
            },
        ),
        record(MONDAY, 40, switched(&name, &"m".repeat(32), Some(999_999))),
        record(MONDAY, 50, up(&name)),
    ];
    let links = ["m".repeat(32), name.clone()].to_vec();
    let account = account(&records, &links, &present(MONDAY, 20_000_000), None);
    let text = history::text(account.as_ref(), &TimeZone::UTC);
    assert!(text.contains("1.00 MB"), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn json_lines_are_the_records_as_they_were_written() {
    let (records, links) = (fixture_records(), links());
    let json = |since| history::json(account(&records, &links, &fixture_present(), since).as_ref());
    let read_back: Vec<Record> = json(None).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read_back, records);
    assert_eq!(json(Some(wall("2026-11-22T12:00:00Z"))).lines().count(), 2);
    assert_eq!(history::json(None), "");
}

#[test]
fn since_takes_moments_days_local_times_and_spans() {
    let now = wall("2026-11-23T12:00:00Z");
    for (text, expected) in [
        ("2026-11-22T14:03:11Z", "2026-11-22T14:03:11Z"),
        ("2026-11-22T14:03:11+02:00", "2026-11-22T12:03:11Z"),
        ("2026-11-22", "2026-11-21T23:00:00Z"),
        ("2026-07-01", "2026-06-30T22:00:00Z"),
        ("2026-11-22 14:03", "2026-11-22T13:03:00Z"),
        ("2h", "2026-11-23T10:00:00Z"),
        ("3d", "2026-11-20T12:00:00Z"),
        ("99999years", "-009999-01-02T01:59:59Z"),
    ] {
        assert_eq!(since(text, now, &berlin()), Ok(wall(expected)), "{text}");
    }
    for text in ["", "yesterday", "2026-13-01", "14:03", "-2h", "5", "\u{1b}[2J"] {
        let problem = since(text, now, &berlin()).unwrap_err();
        assert!(problem.contains("2026-11-22T14:03:11Z") && !problem.contains('\u{1b}'), "{problem}");
    }
}

fn many(count: u64) -> Vec<Record> {
    (0..count).map(|second| record(MONDAY, second, down("fibre"))).collect()
}

#[test]
fn what_is_appended_is_read_and_needs_no_root() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("lib/wanfo");
    assert_eq!(read(&state).unwrap(), (vec![], vec![]), "no history yet");
    append(&state, &[]).unwrap();
    assert!(!state.exists(), "nothing to write, nothing written");
    let records = fixture_records();
    append(&state, &records[..3]).unwrap();
    append(&state, &records[3..]).unwrap();
    assert_eq!(read(&state).unwrap(), (records, vec![]));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join(CURRENT))), (0o755, 0o644));
}

#[test]
fn what_a_killed_run_writes_again_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let records = fixture_records();
    append(folder.path(), &records[..4]).unwrap();
    append(folder.path(), &records[1..]).unwrap();
    assert_eq!(read(folder.path()).unwrap(), (records.clone(), vec![]));
    // The wall clock may have been set in between.
    let again = Record { at: Timestamp::UNIX_EPOCH, ..records[3].clone() };
    assert_eq!(without_repeats([records[3].clone(), again]).len(), 1);
    let next_boot = Record { boot_id: "another".to_owned(), ..records[3].clone() };
    assert_eq!(without_repeats([records[3].clone(), next_boot]).len(), 2);
}

#[test]
fn there_are_two_files_at_most_and_none_grows_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let records = many(20_000);
    for chunk in records.chunks(100) {
        append(folder.path(), chunk).unwrap();
    }
    let sizes: Vec<u64> =
        [OLDER, CURRENT].iter().map(|name| folder.path().join(name).metadata().unwrap().len()).collect();
    assert!(sizes.iter().all(|size| *size < 560 * 1024), "{sizes:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    let (kept, warnings) = read(folder.path()).unwrap();
    assert!(warnings.is_empty());
    assert!(kept.len() > 2000);
    assert_eq!(kept, records[records.len() - kept.len()..], "the latest, in order");
}

#[test]
fn a_crash_at_any_byte_of_the_last_record_spoils_no_other() {
    let records = &fixture_records()[..3];
    let whole: Vec<String> =
        records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect();
    let before = whole[0].len();
    for length in before..=before + whole[1].len() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CURRENT), &whole.concat()[..length]).unwrap();
        append(folder.path(), &records[2..]).unwrap();
        let (read, warnings) = read(folder.path()).unwrap();
        let is_whole = length >= before + whole[1].len() - 1;
        let expected: Vec<Record> = match is_whole {
            true => records.to_vec(),
            false => vec![records[0].clone(), records[2].clone()],
        };
        assert_eq!(read, expected, "cut at byte {length}");
        let is_broken = !is_whole && length > before;
        assert_eq!(warnings.len(), usize::from(is_broken), "cut at byte {length}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.starts_with("line 2 of /")), "{warnings:?}");
    }
}

#[test]
fn a_full_disk_leaves_no_half_a_record() {
    use nix::sys::resource::{Resource, setrlimit};
    // A limit on the size of files stands for it: a write beyond is cut short. It is set in a process of its own, which
    // is this test once more.
    if let Some(folder) = std::env::var_os("WANFO_TEST_FULL_DISK") {
        let size = Path::new(&folder).join(CURRENT).metadata().unwrap().len();
        setrlimit(Resource::RLIMIT_FSIZE, size + 100, size + 100).unwrap();
        append(Path::new(&folder), &fixture_records()[1..]).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let records = fixture_records();
    append(folder.path(), &records[..1]).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_full_disk_leaves_no_half_a_record"])
        .env("WANFO_TEST_FULL_DISK", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("only 100 of"), "{said}");
    assert_eq!(read(folder.path()).unwrap(), (records[..1].to_vec(), vec![]));
}

#[test]
fn something_else_in_its_place_is_an_error_and_no_panic() {
    for name in [CURRENT, OLDER] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(name)).unwrap();
        let error = format!("{:#}", read(folder.path()).unwrap_err());
        assert!(error.contains(name) && error.contains("regular file"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(CURRENT)).unwrap();
    let error = format!("{:#}", append(folder.path(), &many(1)).unwrap_err());
    assert!(error.contains(CURRENT) && error.contains("regular file"), "{error}");
}

fn wanfo(folder: &Path, arguments: &[&str]) -> Output {
    let config = folder.join("wanfo.yaml");
    let paths = format!("paths: {{run: {0}/run, state: {0}/state}}", folder.display());
    let links = "links: [{name: fibre, interface: eth0}, {name: cable, interface: eth1}]";
    fs::write(&config, format!("{links}\n{paths}\n")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_wanfo"))
        .arg("--config")
        .arg(config)
        .arg("history")
        .args(arguments)
        .env("TZ", "UTC")
        .output()
        .unwrap()
}

#[test]
fn the_command_shows_what_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let empty = wanfo(folder.path(), &[]);
    assert_eq!((empty.status.code(), stdout(&empty).as_str()), (Some(0), "Nothing has been recorded yet.\n"));
    append(&folder.path().join("state"), &fixture_records()).unwrap();
    let text = wanfo(folder.path(), &[]);
    assert!(stdout(&text).contains("Fri 2026-11-20, UTC (UTC+00:00)"), "{}", stdout(&text));
    let json = wanfo(folder.path(), &["--format", "json"]);
    assert_eq!(stdout(&json), fixture("history.jsonl"));
    let later = wanfo(folder.path(), &["--format", "json", "--since", "2026-11-22 12:00"]);
    assert_eq!(stdout(&later).lines().count(), 2);
    let wrong = wanfo(folder.path(), &["--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2));
}

/// What a history file may hold besides good lines.
const ODD: &str = "[\\[\\]{}:,\"\\\\a-z0-9. \u{0}é-]{0,40}";

fn any_event() -> impl Strategy<Value = Event> {
    let name = || "[a-z]{1,2}|[^\n]{0,40}";
    prop_oneof![
        (name(), prop::collection::vec(name(), 0..4))
            .prop_map(|(active, links)| Event::Started { active, links }),
        (name(), name(), name(), any::<bool>(), any::<Option<u64>>()).prop_map(
            |(from, to, reason, forced, backup_bytes)| Event::Switched {
                cause: Cause::LinkDown,
                from,
                to,
                reason,
                forced,
                backup_bytes
            }
        ),
        (name(), name()).prop_map(|(link, reason)| Event::LinkDown { link, reason, heard_ms: None }),
        name().prop_map(|link| Event::LinkUp { link, heard_ms: None }),
        prop::collection::vec(name(), 0..7).prop_map(|changes| Event::Repaired { changes }),
        Just(Event::Watched),
        any::<u64>().prop_map(|watched| Event::TakenOut { watched_ms: BootTime(watched) }),
        any::<u64>().prop_map(|since| Event::NotWatched { since_ms: BootTime(since) }),
    ]
}

/// Records as no honest run writes them: any time, any order.
fn any_records() -> impl Strategy<Value = Vec<Record>> {
    let at = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
    let boot_ms = prop_oneof![0u64..100_000, Just(u64::MAX), Just(1 << 63), any::<u64>()];
    let record = (at, "[ab]", boot_ms, any_event()).prop_map(|(at, boot_id, boot_ms, event)| Record {
        at: Timestamp::from_second(at).unwrap(),
        boot_id,
        boot_ms: BootTime(boot_ms),
        event,
    });
    prop::collection::vec(record, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_records_can_be_told(
        records in any_records(), since in prop::option::of(any::<i32>()), run in any::<Option<u64>>(),
    ) {
        let since = since.map(|second| Timestamp::from_second(second.into()).unwrap());
        let now = Moment { boot: BootTime(run.unwrap_or(5).saturating_add(9)), wall: Timestamp::UNIX_EPOCH };
        let present = Present { boot_id: "b", now, last_run: run.map(BootTime) };
        let links = links();
        let account = account(&records, &links, &present, since);
        prop_assert_eq!(account.is_some(), !records.is_empty());
        let text = history::text(account.as_ref(), &berlin());
        for summary in account.iter().flat_map(|account| &account.links) {
            prop_assert!(summary.up <= summary.known);
        }
        prop_assert!(text.ends_with('\n'));
    }

    #[test]
    fn good_lines_survive_among_any_others(
        records in any_records(), odd in prop::collection::vec((any::<prop::sample::Index>(), ODD), 0..6),
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let records = without_repeats(records);
        let mut lines: Vec<String> = records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
        for (at, odd) in odd {
            lines.insert(at.index(lines.len() + 1), odd);
        }
        let folder = tempfile::tempdir().unwrap();
        let bytes = [lines.join("\n").as_bytes(), b"\n", &tail].concat();
        fs::write(folder.path().join(CURRENT), bytes).unwrap();
        prop_assert_eq!(&read(folder.path()).unwrap().0, &records);
        let more = record(TUESDAY, 5, up("lte"));
        append(folder.path(), std::slice::from_ref(&more)).unwrap();
        prop_assert_eq!(read(folder.path()).unwrap().0, [records, vec![more]].concat());
    }
}

#[test]
fn an_outage_lasts_from_the_last_sign_of_life_to_the_next() {
    let [down, up] = outage_of_fibre(94, 200);
    let records = [
        record(MONDAY, 10, started("fibre")),
        record(MONDAY, 100, down),
        record(MONDAY, 100, switched("fibre", "cable", None)),
        record(MONDAY, 260, up),
    ];
    let links = links();
    let account = account(&records, &links, &present(MONDAY, 300), None).unwrap();
    let fibre = &account.links[0];
    assert_eq!((fibre.longest_outage, fibre.outages), (Some(Span::Ended(seconds(106))), 1));
    assert_eq!((fibre.up, fibre.known), (seconds(84 + 100), seconds(290)));
    assert_eq!(account.entries[3].after, Some(seconds(106)));
    // Who carried the traffic is the run's doing.
    assert_eq!(fibre.active, seconds(90));
}

#[test]
fn time_in_which_nobody_watched_is_no_time_up() {
    let again = Event::NotWatched { since_ms: BootTime(100_000) };
    let records = [record(MONDAY, 10, started("fibre")), record(MONDAY, 4000, again)];
    let links = links();
    let account = account(&records, &links, &present(MONDAY, 4100), None).unwrap();
    assert_eq!((account.links[0].up, account.links[0].known), (seconds(190), seconds(190)));
    assert_eq!(account.entries[1].unknown_before, Some(seconds(3900)));
    let strip = account.strip("fibre", 41);
    assert_eq!([strip[0], strip[20], strip[40]], [Standing::Active, Standing::Unknown, Standing::Active]);
}

#[test]
fn an_edit_of_the_config_tells_nothing_of_the_links_that_stay() {
    let changed =
        Event::LinksChanged { active: "cable".to_owned(), links: vec!["cable".into(), "fibre".into()] };
    let records = [
        record(MONDAY, 10, started("fibre")),
        record(MONDAY, 50, down("fibre")),
        record(MONDAY, 100, changed),
    ];
    let links = links();
    let account = account(&records, &links, &present(MONDAY, 200), None).unwrap();
    let fibre = account.links.iter().find(|summary| summary.link == "fibre").unwrap();
    assert_eq!((fibre.up, fibre.known), (seconds(40), seconds(190)), "it is down still");
}

#[test]
fn a_link_that_an_edit_of_the_config_makes_active_is_up_and_one_that_is_gone_is_forgotten_in_time() {
    let renamed = switched("fibre", "glass", None);
    let now: Vec<String> = ["glass", "cable", "lte"].map(str::to_owned).into();
    let changed = Event::LinksChanged { active: "glass".to_owned(), links: now.clone() };
    let records = [
        record(MONDAY, 10, started("fibre")),
        record(MONDAY, 100, renamed),
        record(MONDAY, 100, changed),
        record(MONDAY, 150, Event::Watched),
    ];
    let of_all = account(&records, &now, &present(MONDAY, 300), None).unwrap();
    assert_eq!(
        summaries(&of_all),
        [
            "glass up 200/200 active 200 outages 0 longest - bytes 0",
            "cable up 290/290 active 0 outages 0 longest - bytes 0",
            "lte up 290/290 active 0 outages 0 longest - bytes 0",
            "fibre up 90/90 active 90 outages 0 longest - bytes 0+",
        ]
    );
    let since = Some(wall("2026-11-23T00:02:00Z"));
    let later = account(&records, &now, &present(MONDAY, 300), since).unwrap();
    let links: Vec<_> = later.links.iter().map(|summary| summary.link).collect();
    assert_eq!(links, ["glass", "cable", "lte"], "nothing is known of fibre in that period");
}

#[test]
fn the_bar_begins_and_ends_an_outage_where_the_table_does() {
    let [down, up] = outage_of_fibre(100, 200);
    let records = [
        record(MONDAY, 0, started("cable")),
        record(MONDAY, 150, down),
        record(MONDAY, 300, up),
        record(MONDAY, 350, Event::Watched),
    ];
    let links = links();
    let account = account(&records, &links, &present(MONDAY, 400), None).unwrap();
    assert_eq!(account.links[0].longest_outage, Some(Span::Ended(seconds(100))));
    assert_eq!(
        account.strip("fibre", 8),
        [Standing::Up, Standing::Up, Standing::Down, Standing::Down]
            .into_iter()
            .chain([Standing::Up; 4])
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_calm_time_before_a_reboot_or_before_it_was_taken_out_is_known() {
    let links = links();
    let hours = |count: u64| count * 3600;
    let of_last = |event: Event, second: u64| {
        let records = [
            record(MONDAY, 10, started("fibre")),
            record(MONDAY, hours(6) + 10, Event::Watched),
            record(MONDAY, hours(12) + 10, event),
            record(TUESDAY, 20, started("fibre")),
        ];
        let account = account(&records, &links, &present(TUESDAY, second), None).unwrap();
        (account.links[0].up.as_secs(), history::text(Some(&account), &TimeZone::UTC))
    };
    let (up, page) = of_last(Event::Watched, 120);
    assert_eq!(up, hours(12) + 100);
    assert!(page.contains("nobody watched for the 12h before"), "{page}");
    assert_eq!(page.matches("watched").count(), 3, "a calm time is no line of the page: {page}");
    // The runs had stopped an hour before.
    let taken_out = Event::TakenOut { watched_ms: BootTime((hours(11) + 10) * 1000) };
    let (up, page) = of_last(taken_out, 120);
    assert_eq!(up, hours(11) + 100);
    assert!(page.contains(" 12:00:10  taken out by `wanfo down`\n"), "{page}");
}
