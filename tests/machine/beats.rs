//! Whether the timer's beat is kept: one start after the other, a second apart.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};
use serde_json::Value;

use super::package::run;
use super::router::{self, Installed, begin, journal, journal_after, links, property};

/// How many starts are counted; as many as this says, where it is set.
pub const BEATS: &str = "WANFO_BEATS";
const SAMPLE: u32 = 20;

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

/// What all that was done in the unit took the last time, before the program was in its place too, in milliseconds.
fn unit_cpu() -> f64 {
    property("wanfo.service", "CPUUsageNSec").parse::<f64>().expect("CPUAccounting= is the default") / 1e6
}

/// What a run takes that is started here, in milliseconds.
fn bare_cpu() -> f64 {
    const RUNS: u32 = 20;
    let all = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage");
        (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e3
    };
    let before = all();
    (0..RUNS).for_each(|_| drop(run("wanfo check")));
    (all() - before) / f64::from(RUNS)
}

/// What process 1 has taken since the boot, in milliseconds: the 14th and 15th word in the kernel's ticks (proc_pid_stat(5)).
fn manager_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/1/stat").expect("proc(5)");
    let (_, after_name) = stat.rsplit_once(") ").expect("proc_pid_stat(5)");
    let ticks = after_name.split(' ').skip(11).take(2).map(|word| word.parse::<f64>().expect("a number"));
    let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().expect("sysconf(3)") as f64;
    ticks.sum::<f64>() * 1e3 / a_second
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
    let (manager, clock) = (manager_cpu(), Instant::now());
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
    // Where one is lost, the next comes two beats after the one before. An emulator that waits for a processor loses some.
    let lost = runs.windows(2).filter(|pair| pair[1] - pair[0] >= 2 * beat).count();
    println!("  {lost} lost");
    assert!(lost * 10 <= number, "{runs:?}");
    assert_eq!(property("wanfo.service", "Result"), "success");
    let said = journal_after(before);
    assert!(said.iter().all(|line| line.starts_with("Started wanfo.timer")), "{said:?}");
    let (in_the_unit, of_the_manager) = (unit_cpu(), manager_cpu() - manager);
    let starts = clock.elapsed().as_secs_f64() / beat.as_secs_f64();
    // And a run that is under way, which has the lock.
    run("systemctl stop wanfo.timer wanfo.service");
    println!(
        "  CPU of a start: {:.1} ms of systemd's own, {in_the_unit:.1} ms in the unit with its sandbox; {:.1} ms of a run without",
        of_the_manager / starts,
        bare_cpu()
    );
}
