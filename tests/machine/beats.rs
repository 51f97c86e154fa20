//! Whether the timer's beat is kept: one start after the other, a second apart.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::package::run;
use super::router::{self, Installed, begin, journal, journal_after, links, property};

/// How many starts are counted; as many as this says, where it is set.
pub const BEATS: &str = "WANFO_BEATS";
const SAMPLE: u32 = 60;

const BEAT: Duration = Duration::from_secs(1);
/// What each run adds, and nobody else writes.
const RECORDING: &str = "/run/wanfo/rounds.jsonl";

pub fn number() -> u32 {
    std::env::var(BEATS)
        .map_or(SAMPLE, |text| text.parse().unwrap_or_else(|error| panic!("{BEATS}: {error}")))
}

/// When the runs that were made to their end began, by the machine's clock.
fn runs() -> Vec<Duration> {
    let text = fs::read_to_string(RECORDING).unwrap_or_default();
    // The last may not be whole yet.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    // The others tell what was seen of the machine.
    let rounds =
        lines.filter(|line| line["at"].is_u64() && line["seen"].is_string() && line["facts"].is_null());
    rounds.map(|round| Duration::from_millis(round["at"].as_u64().expect("a time"))).collect()
}

/// The longest of a few starts, by systemd's clock.
fn longest_start() -> Duration {
    let at = |name| {
        let time = property("wanfo.service", &format!("{name}TimestampMonotonic"));
        Duration::from_micros(time.parse().expect("a number"))
    };
    let starts = (0..5).map(|_| {
        run("systemctl start wanfo.service");
        at("InactiveEnter") - at("InactiveExit")
    });
    starts.max().expect("some")
}

pub fn starts_a_second_apart_lose_no_beat() {
    let _lab = router::lab();
    let installed = Installed::with(&links(["", ""]));
    begin();
    run("systemctl stop wanfo.timer");
    // An emulated machine may be too slow for such a beat, and then it says nothing of the timer.
    let beat = BEAT.max(Duration::from_secs((2.0 * longest_start().as_secs_f64()).ceil() as u64));
    installed.drop_in(
        "wanfo.timer",
        "beat",
        &format!(
            "[Timer]\nOnBootSec=\nOnUnitActiveSec=\nOnActiveSec=1ms\nOnUnitActiveSec={}s\n",
            beat.as_secs()
        ),
    );
    let (before, known) = (journal().len(), runs().len());
    run("systemctl start wanfo.timer");
    let number = number() as usize;
    // The first follows upon no beat.
    let wanted = known + 1 + number;
    // Each may be late by a tenth (AccuracySec=).
    let deadline = Instant::now() + beat * number as u32 * 2 + Duration::from_secs(30);
    while runs().len() < wanted {
        assert!(Instant::now() < deadline, "{} of {number} starts", runs().len().saturating_sub(known + 1));
        sleep(Duration::from_millis(500));
    }
    let runs = &runs()[known..wanted];
    let longest = runs.windows(2).map(|pair| pair[1] - pair[0]).max().expect("more than one");
    let took = runs[number] - runs[0];
    println!(
        "  {number} starts in {:.1} s, {} s apart; {:.2} s at most between two",
        took.as_secs_f64(),
        beat.as_secs(),
        longest.as_secs_f64()
    );
    // Where one is lost, the next comes two beats after the one before.
    assert!(longest < 2 * beat, "{runs:?}");
    println!("  none lost");
    assert_eq!(property("wanfo.service", "Result"), "success");
    let said = journal_after(before);
    assert!(said.iter().all(|line| line.starts_with("Started wanfo.timer")), "{said:?}");
}
