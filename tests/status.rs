//! The screen at three in the morning, in the states that a router can be in: tests/fixtures/status.txt shows each.
//!
//! `WANFO_TEST_WRITE=1 cargo test --test status` writes that file anew; then read it.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::{TimeZone, offset};
use serde_json::{Value, json};
use wanfo::core::account::{Present, account};
use wanfo::core::proofs::Proofs;
use wanfo::core::record::Record;
use wanfo::core::report::overall::{Detail, overall};
use wanfo::core::report::{html, prometheus, text};
use wanfo::core::state::{Loaded, State};
use wanfo::core::time::{BootTime, Moment};

const STATE: &str = include_str!("fixtures/state-v2.json");
const HISTORY: &str = include_str!("fixtures/history.jsonl");
const SCREENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/status.txt");

/// Milliseconds since boot, at 04:26:00.
const NOW: u64 = 900_000_000;
const MINUTE: u64 = 60_000;

fn link(name: &str, number: u8) -> Value {
    let heard = NOW - 1000;
    let target = |host: u8, rtt_ms: f64| json!({"address": format!("198.51.100.{host}"), "heard_at": heard, "rtt_ms": rtt_ms, "error": null});
    json!({
        "name": name, "interface": format!("eth{number}"), "gateway": format!("192.0.2.{number}"), "gateway6": null,
        "gateway_source": "default-route", "gateway6_source": null, "addresses": [], "verdict": "up", "heard_at": heard,
        "asked_at": heard, "unanswered_since": null, "unanswered": 0, "stable_since": null, "up_since": null,
        "relapses": 0, "ever_good": true, "verdict_since": null, "outage_ms": null, "silent_since": null,
        "law": {"silence": {"secs": 6, "nanos": 0}, "stable": {"secs": 60, "nanos": 0}}, "routes_only": false,
        "minutes": {"latest": NOW / MINUTE, "good": u64::MAX, "bad": 0}, "has_targets": true, "probed_at": heard,
        "last_error": null, "targets": [target(number, 8.25), target(number + 100, 21.5)],
    })
}

/// Two lines, and all is well.
fn calm() -> Value {
    let mut state: Value = serde_json::from_str(STATE).unwrap();
    state["links"] = json!([link("primary", 0), link("secondary", 1)]);
    for (key, value) in [
        ("active", json!("primary")),
        ("switched_at", json!(NOW - 3 * 24 * 60 * MINUTE)),
        ("reason", json!("primary is up")),
        ("hold", json!("no")),
        ("switching", json!(null)),
        ("next_switch_after", json!(null)),
        ("usage", json!(null)),
        ("checked_at", json!(NOW - 1000)),
        ("watched_at", json!(NOW - 1000)),
        ("beats", json!([{"secs": 2, "nanos": 0}, {"secs": 2, "nanos": 0}, {"secs": 2, "nanos": 0}])),
        ("problems", json!([])),
    ] {
        state[key] = value;
    }
    state
}

fn down(state: &mut Value, index: usize, minutes_ago: u64) {
    let link = &mut state["links"][index];
    let since = NOW - minutes_ago * MINUTE;
    link["verdict"] = json!("down");
    (link["heard_at"], link["silent_since"]) = (json!(since), json!(since));
    link["verdict_since"] = json!(since + 6000);
    (link["unanswered_since"], link["unanswered"]) = (json!(since + 2000), json!(99));
    link["minutes"]["bad"] = json!((1u64 << (minutes_ago + 1)) - 1);
    link["last_error"] = json!("no reply from 198.51.100.0, no reply from 198.51.100.100");
    for target in link["targets"].as_array_mut().unwrap() {
        (target["rtt_ms"], target["error"], target["heard_at"]) =
            (json!(null), json!("no reply"), json!(since));
    }
}

fn problem(state: &mut Value, code: &str, link: Option<&str>, text: &str) {
    let problem = json!({"code": code, "link": link, "text": text});
    state["problems"].as_array_mut().unwrap().push(problem);
}

fn on_the_backup() -> Value {
    let mut state = calm();
    down(&mut state, 0, 3);
    (state["active"], state["switched_at"]) = (json!("secondary"), json!(NOW - 174_000));
    state["reason"] = json!("primary is down: no reply from 198.51.100.0, no reply from 198.51.100.100");
    state["next_switch_after"] = json!(NOW - 114_000);
    state["usage"] = json!({"total": 12_345_678, "last": 0});
    state
}

fn coming_back() -> Value {
    let mut state = on_the_backup();
    let link = &mut state["links"][0];
    (link["stable_since"], link["relapses"]) = (json!(NOW - 83_000), json!(1));
    (link["unanswered"], link["unanswered_since"], link["heard_at"]) =
        (json!(0), json!(null), json!(NOW - 1000));
    link["last_error"] = json!(null);
    link["targets"] = self::link("primary", 0)["targets"].clone();
    state
}

fn screens() -> Vec<(&'static str, Value)> {
    let mut redundancy_lost = calm();
    down(&mut redundancy_lost, 1, 50);
    let mut no_link = calm();
    down(&mut no_link, 0, 14);
    down(&mut no_link, 1, 9);
    problem(&mut no_link, "no-link-up", None, "no link is up; staying on primary until one is");
    let mut held = calm();
    (held["active"], held["forced"], held["hold"]) =
        (json!("secondary"), json!(true), json!("until_failback"));
    (held["switched_at"], held["reason"]) =
        (json!(NOW - 95 * MINUTE), json!("forced by hand (alice, --hold)"));
    held["usage"] = json!({"total": 1_204_000_000, "last": 0});
    let mut vetoed = on_the_backup();
    vetoed["links"][0] = link("primary", 0);
    vetoed["veto"] = json!({"at": NOW - 4000, "hangs": 0, "why": "the exit script /etc/wanfo/exit says not now (exit code 1)"});
    vetoed["outlook"]["pending"] = json!(2);
    let mut broken = calm();
    broken["config_broken"] = json!({"since": NOW - 7 * MINUTE, "is_mailed": true});
    problem(
        &mut broken,
        "config-broken",
        None,
        "the configuration /etc/wanfo/wanfo.yaml is broken: links[0].tragets (line 4): this key is not known here; did you mean targets? `wanfo config` tells everything; until it is mended the last good one counts",
    );
    problem(
        &mut broken,
        "default-elsewhere",
        None,
        "IPv4 takes wan9, not primary: a foreign rule `from all lookup 99` at 100",
    );
    let mut no_cable = calm();
    down(&mut no_cable, 1, 2);
    let error = "interface eth1 has no carrier";
    no_cable["links"][1]["last_error"] = json!(error);
    for target in no_cable["links"][1]["targets"].as_array_mut().unwrap() {
        target["error"] = json!(error);
    }
    problem(
        &mut no_cable,
        "no-carrier",
        Some("secondary"),
        "interface eth1 has no carrier: is the cable plugged in, and the modem on?",
    );
    let mut useless = on_the_backup();
    useless["reason"] = json!(
        "primary is down: answers ping, but no service: DNS example.com at 198.51.100.53 does not answer"
    );
    let check = |name: &str, took_ms: Option<f64>, error: Option<&str>| json!({"check": name, "took_ms": took_ms, "error": error, "failed": u8::from(error.is_some())});
    let (dns, http) = ("DNS example.com at 198.51.100.53", "HTTP www.example.com/alive at 203.0.113.80");
    let redirects = "answers 302 in place of 204 and redirects to login.wifi.example (a captive portal?)";
    useless["links"][0]["targets"] = link("primary", 0)["targets"].clone();
    useless["links"][0]["last_error"] = json!("answers ping, but no service: and so on");
    useless["links"][0]["services"] = json!({
        "asked_at": NOW - 21_000, "failed_rounds": 7, "useless": true,
        "checks": [check(dns, None, Some("does not answer")), check(http, None, Some(redirects))],
    });
    useless["links"][1]["services"] = json!({
        "asked_at": NOW - 4000, "failed_rounds": 0, "useless": false,
        "checks": [check(dns, Some(12.25), None), check(http, Some(101.5), None)],
    });
    let mut stale = calm();
    (stale["checked_at"], stale["links"][0]["probed_at"]) = (json!(NOW - 9000), json!(NOW - 9000));
    let mut not_probed = calm();
    (not_probed["links"][1]["has_targets"], not_probed["links"][1]["targets"]) = (json!(false), json!([]));
    not_probed["links"][0]["unanswered_since"] = json!(NOW - 3100);
    not_probed["links"][0]["heard_at"] = json!(NOW - 3100);
    not_probed["switched_at"] = json!(null);
    let mut blind = calm();
    blind["links"][0]["probed_at"] = json!(NOW - 4 * MINUTE);
    problem(&mut blind, "cannot-probe", None, "no permission to open an ICMP socket; run `sysctl -w …`");
    vec![
        ("calm", calm()),
        ("no redundancy", redundancy_lost),
        ("no link is up", no_link),
        ("on the backup", on_the_backup()),
        ("the primary answers again", coming_back()),
        ("held by hand", held),
        ("a failback that the exit script refuses, two mails that wait", vetoed),
        ("a broken config, and a rule that leads the traffic elsewhere", broken),
        ("no carrier", no_cable),
        ("a line that answers and is of no use", useless),
        ("the timer stopped", stale),
        ("a moment of silence, and a link without targets", not_probed),
        ("no permission to ping", blind),
    ]
}

#[test]
fn every_state_has_its_screen() {
    let now = Moment { boot: BootTime(NOW), wall: "2026-11-25T03:26:00Z".parse::<Timestamp>().unwrap() };
    let zone = TimeZone::fixed(offset(1));
    let mut shown = String::new();
    for (name, state) in screens() {
        let boot_id = state["boot_id"].as_str().unwrap().to_owned();
        let Loaded::Known(state) = State::load(&state.to_string(), &boot_id) else {
            panic!("{name}: {state}")
        };
        let codes = [false, true].map(|strict| overall(Some(&state), now, strict) as u8);
        shown += &format!("#### {name}; --exit-code {}, --strict {}\n\n", codes[0], codes[1]);
        for line in text::render(Some(&state), &proofs_of(name), now, &zone, Detail::Brief) {
            for row in line.rows(80) {
                assert!(row.chars().count() <= 80, "{row}");
                shown += &(row + "\n");
            }
        }
        shown += "\n";
    }
    if std::env::var_os("WANFO_TEST_WRITE").is_some() {
        fs::write(SCREENS, &shown).unwrap();
    }
    assert_eq!(shown, fs::read_to_string(SCREENS).unwrap());
}

/// Where all is calm somebody has seen to that.
fn proofs_of(screen: &str) -> Proofs {
    let mut proofs = Proofs::default();
    if screen == "calm" {
        proofs.note("secondary", "eth1", "2026-11-21T22:26:00Z".parse().unwrap());
    }
    proofs
}

fn moment() -> Moment {
    Moment { boot: BootTime(NOW), wall: "2026-11-25T03:26:00Z".parse::<Timestamp>().unwrap() }
}

fn state_of(screen: &Value) -> State {
    let Loaded::Known(state) = State::load(&screen.to_string(), screen["boot_id"].as_str().unwrap()) else {
        panic!("{screen}")
    };
    *state
}

/// A page that a web server may hand to anybody: it fetches nothing, runs nothing, and no name gets to be markup.
#[test]
fn the_page_for_a_browser_stands_alone() {
    for (name, mut screen) in screens() {
        screen["links"][1]["last_error"] = json!("<script>alert(1)</script> & \"more\"");
        screen["links"][0]["targets"][0]["error"] = json!("<b>");
        let page = html::render(Some(&state_of(&screen)), &proofs_of(name), None, moment(), &TimeZone::UTC);
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{name}");
        for forbidden in ["<script", "<b>", "http:", "https:", "src=", "href="] {
            assert!(!page.contains(forbidden), "{name}: {forbidden}");
        }
        assert_eq!(page.matches("<div").count(), page.matches("</div>").count(), "{name}");
        // A space at the beginning of a row would be a row of its own on a phone, before a word that has no room behind it.
        assert!(!page.lines().any(|line| line.starts_with("<div") && line.contains("\"> ")), "{name}");
    }
    assert!(
        html::render(None, &Proofs::default(), None, moment(), &TimeZone::UTC).contains("Nothing is known")
    );
}

/// As people read it: in a browser, on a phone and at a desk, by day and by night. Everything there is to click is clicked.
#[test]
fn the_page_for_a_browser_can_be_read_on_a_phone_and_at_a_desk_by_day_and_by_night() {
    let Some(chromium) = std::env::var_os("WANFO_TEST_CHROMIUM") else {
        assert!(std::env::var_os("WANFO_REQUIRE_LAB").is_none(), "WANFO_TEST_CHROMIUM is not set");
        eprintln!("SKIPPED the browser: WANFO_TEST_CHROMIUM does not say where chromium-headless-shell is");
        return;
    };
    let records: Vec<Record> = HISTORY.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let present = Present { boot_id: "a later one", now: moment(), last_run: None };
    let day = account(&records, &[], &present, None).unwrap();
    let known = screens().into_iter().map(|(name, screen)| {
        html::render(Some(&state_of(&screen)), &proofs_of(name), Some(&day), moment(), &TimeZone::UTC)
    });
    let nothing = html::render(None, &Proofs::default(), None, moment(), &TimeZone::UTC);
    let pages: Vec<String> = known.chain([nothing]).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut frames = String::new();
    for (number, page) in pages.iter().enumerate() {
        fs::write(folder.path().join(format!("{number}.html")), page).unwrap();
        for (width, height) in [(390, 844), (1280, 800)] {
            frames += &format!(
                "<iframe name=\"page {number}\" src=\"{number}.html\" width={width} height={height}></iframe>\n"
            );
        }
    }
    let desk = folder.path().join("desk.html");
    let clicks = include_str!("fixtures/clicks.js");
    let text = format!("<!DOCTYPE html><meta charset=\"utf-8\">{frames}<script>{clicks}</script>");
    fs::write(&desk, text).unwrap();
    for (scheme, name) in [(1, "light"), (0, "dark")] {
        let mut browser = Command::new(&chromium);
        // Without --disable-web-security nobody looks into a frame of another file.
        browser.args([
            "--no-sandbox",
            "--disable-gpu",
            "--disable-web-security",
            "--virtual-time-budget=60000",
        ]);
        browser.arg(format!("--blink-settings=preferredColorScheme={scheme}"));
        browser.arg(format!("--user-data-dir={}", folder.path().join(name).display()));
        let output = browser.arg("--dump-dom").arg(format!("file://{}", desk.display())).output().unwrap();
        let dom = String::from_utf8_lossy(&output.stdout);
        let title = dom.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        let (found, _) =
            title.unwrap_or_else(|| panic!("{dom}\n{}", String::from_utf8_lossy(&output.stderr)));
        let (all, faults) = found.split_once('\n').unwrap_or((found, ""));
        assert_eq!(faults, "", "{name}");
        // Each page is seen twice, and what there is to click is clicked twice.
        let (seen, clicked) = (2 * pages.len(), 4 * (pages.len() - 1));
        assert_eq!(all, format!("{name}: {clicked} clicks, {seen} fetched again"));
    }
}

/// The metrics, as Prometheus' own `promtool check metrics` takes them.
#[test]
fn the_metrics_are_what_prometheus_expects() {
    let known = screens().into_iter().map(|(name, screen)| {
        (name, prometheus::render(Some(&state_of(&screen)), &proofs_of(name), moment()))
    });
    for (name, metrics) in known.chain([("no run", prometheus::render(None, &Proofs::default(), moment()))]) {
        let mut families = std::collections::BTreeSet::new();
        for line in metrics.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(family) => assert!(families.insert(family), "{name}: {family} comes twice"),
                None => {
                    assert!(line.starts_with("# HELP wanfo_") || line.starts_with("wanfo_"), "{name}: {line}")
                }
            }
        }
        let Some(promtool) = std::env::var_os("WANFO_TEST_PROMTOOL") else {
            assert!(std::env::var_os("WANFO_REQUIRE_LAB").is_none(), "WANFO_TEST_PROMTOOL is not set");
            eprintln!("SKIPPED promtool: WANFO_TEST_PROMTOOL does not say where it is");
            continue;
        };
        let mut check =
            Command::new(promtool).args(["check", "metrics"]).stdin(Stdio::piped()).spawn().unwrap();
        check.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
        assert!(check.wait().unwrap().success(), "{name}:\n{metrics}");
    }
}

/// How long the first run took is no beat: under cron the next one comes a minute later.
#[test]
fn one_run_makes_no_beat() {
    let mut state = State::fresh("boot", "primary", BootTime(1000));
    state.note_run(BootTime(7000));
    assert_eq!(state.beat(), None);
    state.links = state_of(&calm()).links;
    state.note_run(BootTime(67_000));
    assert_eq!(state.beat(), Some(Duration::from_secs(60)));
}

#[test]
fn the_alert_rules_are_rules() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/monitoring/alerts.yaml");
    let known = prometheus::render(Some(&state_of(&calm())), &proofs_of("calm"), moment());
    let text = fs::read_to_string(rules).unwrap();
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let metrics = text.split(|letter| !is_letter(letter)).filter(|word| word.starts_with("wanfo_"));
    for metric in metrics.filter(|metric| !["wanfo_stale", "wanfo_problems"].contains(metric)) {
        assert!(known.contains(&format!("# TYPE {metric} gauge")), "there is no {metric}");
    }
    if let Some(promtool) = std::env::var_os("WANFO_TEST_PROMTOOL") {
        let day = concat!(env!("CARGO_TARGET_TMPDIR"), "/alerts-at-work.yaml");
        fs::write(day, include_str!("fixtures/alerts-at-work.yaml").replace("RULES", rules)).unwrap();
        for words in [["check", "rules", rules], ["test", "rules", day]] {
            let output = Command::new(&promtool).args(words).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    }
}

/// Three beats without a run; a run may stay until a link's silence is long enough; under cron the beat is a minute.
#[test]
fn a_run_is_missed_after_three_beats() {
    let now = Moment { boot: BootTime(NOW), wall: Timestamp::UNIX_EPOCH };
    let stale_after = |beats: [u64; 3], silence: u64| {
        (1..400).find(|age| {
            let mut state = calm();
            state["beats"] = json!(beats.map(Duration::from_secs));
            state["checked_at"] = json!(NOW - age * 1000);
            state["links"][0]["law"]["silence"]["secs"] = json!(silence);
            let boot_id = state["boot_id"].as_str().unwrap().to_owned();
            let Loaded::Known(state) = State::load(&state.to_string(), &boot_id) else { panic!("a state") };
            overall(Some(&state), now, false) as u8 == 3
        })
    };
    assert_eq!(stale_after([2, 2, 2], 6), Some(9));
    assert_eq!(stale_after([10, 10, 10], 6), Some(31));
    assert_eq!(stale_after([60, 60, 60], 6), Some(181));
    assert_eq!(stale_after([1, 60, 60], 6), Some(181), "a check by hand in between");
    assert_eq!(stale_after([2, 3600, 2], 6), Some(9), "the timer was stopped for an hour");
    assert_eq!(stale_after([2, 2, 2], 45), Some(48));
    assert_eq!(stale_after([2, 2, 2], u64::MAX), Some(181), "nobody has set that");
}
