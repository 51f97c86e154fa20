//! `cargo run --release --example demo`: a router with two providers has a bad day, told in less than 45 s.
//!
//! The real `wanfo` runs in a lab of network namespaces (see tests/lab/mod.rs), so the machine's own network
//! is never touched, and no root is needed where users may make user namespaces.

#[path = "../tests/lab/mod.rs"]
mod lab;

use std::cell::Cell;
use std::env;
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::process::{Command, ExitCode, exit};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::{Lab, Line, Meter, SERVICE, SERVICE6};
use serde_json::Value;

/// How often `wanfo check` runs; a systemd timer would start it every few seconds.
const BEAT: Duration = Duration::from_millis(500);
/// The longest that any step may take: five steps, and the demo ends within 45 s.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long the line is left alone before the next step, and how long the meter watches after a switch.
const CALM: Duration = Duration::from_millis(1500);

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nwanfo demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    let binary = built_wanfo()?;
    lab::enter()?;
    // The lab, made for tests, panics where it breaks; whichever thread that is, the demo is over.
    std::panic::set_hook(Box::new(|panic| {
        let words = panic.payload().downcast_ref::<String>().map_or("no reason given", String::as_str);
        eprintln!("\nwanfo demo: the lab broke: {words}");
        exit(1);
    }));

    println!("\nwanfo demo: a router with two providers, a LAN and an Internet, all inside this process.\n");
    let story = Story { start: Instant::now(), colour: colour_wanted() };
    let lab = Lab::new(2, binary);
    lab.configure(&config());
    story.say("The lab is built. The router has two lines: fibre on wan1, lte on wan2. A LAN user asks");
    story.more("the Internet something every 50 ms, over IPv4 and IPv6. wanfo check runs twice a second.");

    let day = Day { meter: lab.meter(SERVICE), meter6: lab.meter(SERVICE6), lab: &lab, story: &story };
    day.check()?;
    let stop = AtomicBool::new(false);
    let complaint = Mutex::new(None);
    let events = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let next = Instant::now() + BEAT;
                *complaint.lock().unwrap() = day.check().err();
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let events = day.pass();
        stop.store(true, Relaxed);
        events
    });
    // What went wrong with the check itself is the better reason for what was not seen.
    let events = match complaint.into_inner().unwrap() {
        Some(complaint) => events.context(complaint),
        None => events,
    }?;

    story.heading("What the LAN user noticed");
    println!("{:<47}{:>17}{:>17}{:>17}", "", "switched after", "silent on IPv4", "silent on IPv6");
    for Event { what, at, after, silent, silent6 } in events {
        let [at, after, silent, silent6] =
            [at, after, silent, silent6].map(|time| format!("{:.1} s", time.as_secs_f64()));
        println!("{at:>8}  {what:<37}{after:>17}{silent:>17}{silent6:>17}");
    }
    drop(day);
    drop(lab);
    story.heading("What is left behind: nothing");
    println!(
        "  Every interface, route and file of the lab belonged to namespaces that only this process held."
    );
    println!("  They had no name on this machine and end with it; your own network was never touched.\n");
    Ok(())
}

/// The program next to this one (target/release/wanfo for target/release/examples/demo), built under cargo.
fn built_wanfo() -> Result<PathBuf> {
    let demo = env::current_exe().context("cannot tell where the demo's own program lies")?;
    let profile = demo.ancestors().nth(2).context("the demo does not lie in cargo's target directory")?;
    let binary = profile.join("wanfo");
    if let (Some(cargo), Some(target)) = (env::var_os("CARGO"), profile.parent()) {
        // The one profile whose directory has another name (The Cargo Book, Profiles).
        let name = profile.file_name().filter(|name| *name != "debug").unwrap_or("dev".as_ref());
        println!("Building wanfo, which takes a minute the first time.");
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--bin", "wanfo", "--manifest-path"]);
        build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        build.arg("--profile").arg(name).arg("--target-dir").arg(target);
        lab::die_with_parent(&mut build);
        let built = build.status().context("cannot start cargo to build wanfo")?;
        ensure!(built.success(), "cargo could not build wanfo; its own words stand above");
    }
    ensure!(
        binary.exists(),
        "there is no {}: start the demo with `cargo run --release --example demo`",
        binary.display()
    );
    Ok(binary)
}

/// Short delays, so that the day takes less than a minute; real ones are in the examples next to this file.
fn config() -> String {
    let link = |line: Line, name: &str| {
        format!(
            "  - name: {name}\n    interface: wan{line}\n    gateway: {}\n    gateway6: \"{}\"\n    \
             targets: [\"{}\", \"{}\"]\n    quorum: 1\n    delay: 3s\n    standby_interval: 0s\n",
            lab::gateway(line),
            lab::gateway6(line),
            lab::target(line, 1),
            lab::target6(line, 1),
        )
    };
    let links = link(1, "fibre") + &link(2, "lte");
    format!("links:\n{links}probe:\n  timeout: 300ms\n  threshold: 3\n")
}

fn colour_wanted() -> bool {
    // https://no-color.org: set and not empty.
    stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What is told, with the seconds since the start.
struct Story {
    start: Instant,
    colour: bool,
}

impl Story {
    fn say(&self, sentence: &str) {
        let time = format!("{:6.1} s", self.start.elapsed().as_secs_f64());
        println!("{}  {sentence}", self.painted("2", &time));
    }

    /// The next line of a sentence, or of a program's output.
    fn more(&self, line: &str) {
        println!("          {line}");
    }

    fn bad(&self, sentence: &str) {
        self.say(&self.painted("31", sentence));
    }

    fn good(&self, sentence: &str) {
        self.say(&self.painted("32", sentence));
    }

    fn heading(&self, words: &str) {
        println!("\n{}", self.painted("1", words));
    }

    /// `style`: the number of an SGR sequence (ECMA-48).
    fn painted(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The bad day of the router, and who watches it.
struct Day<'a> {
    lab: &'a Lab,
    story: &'a Story,
    meter: Meter,
    meter6: Meter,
}

/// One line of the final table.
struct Event {
    what: &'static str,
    /// Since the start of the story.
    at: Duration,
    /// From the event to the switch, as `wanfo status` told it.
    after: Duration,
    /// The longest time in which the LAN user heard nothing.
    silent: Duration,
    silent6: Duration,
}

impl Day<'_> {
    fn pass(&self) -> Result<[Event; 4]> {
        let (lab, story) = (self.lab, self.story);
        self.both_lines_work()?;
        story.good(
            "Both lines work, and the LAN user is answered over fibre. This is what wanfo status says:",
        );
        println!();
        for line in self.status_in("text")?.lines() {
            story.more(line);
        }
        println!();
        thread::sleep(CALM);

        story
            .bad("CUT: fibre dies behind the provider's first hop. Its gateway answers, all else is silent.");
        let cut = self.switch("fibre dies silently: over to lte", "lte", 2, || lab.cut_silently(1))?;
        thread::sleep(CALM);
        story.say("REPAIR: fibre works again. wanfo goes back once its counter is 0 and lte's 3 s are over.");
        let repair = self.switch("fibre is repaired: back to fibre", "fibre", 1, || lab.repair(1))?;
        thread::sleep(CALM);
        story.bad("CABLE PULLED: wan1 has no carrier. There is nothing to confirm.");
        let pulled = self.switch("the cable is pulled: over to lte", "lte", 2, || lab.pull_cable(1))?;
        thread::sleep(CALM);
        story.say("CABLE BACK: wan1 has carrier again.");
        let plugged = self.switch("the cable is back: back to fibre", "fibre", 1, || lab.plug_in(1))?;
        Ok([cut, repair, pulled, plugged])
    }

    /// Does something to the line, and waits until both wanfo and the LAN user are on the line `to`.
    fn switch(&self, what: &'static str, to: &str, line: Line, act: impl FnOnce()) -> Result<Event> {
        let failed_rounds = |status: &Value| status["links"][0]["failed_rounds"].as_u64();
        let counted = Cell::new(failed_rounds(&self.wait("a status", |_| true)?));
        let start = Instant::now();
        act();
        let status = self.wait(&format!("a switch to {to}"), |status| {
            let count = failed_rounds(status);
            if let Some(count) = count.filter(|_| count != counted.replace(count)) {
                self.story.say(&format!(
                    "  failed rounds of fibre: {count} of {}",
                    status["links"][0]["threshold"]
                ));
            }
            status["active"] == to
        })?;
        let after = start.elapsed();
        self.story.good(&format!(
            "SWITCHED to {to} after {:.1} s. The reason that wanfo gives:",
            after.as_secs_f64()
        ));
        self.story.more(status["reason"].as_str().unwrap_or("none"));
        self.wait(&format!("answers to the LAN user over {to}"), |_| self.answered_over(line))?;
        thread::sleep(CALM);
        let now = Instant::now();
        let (silent, silent6) =
            (self.meter.longest_silence(start, now), self.meter6.longest_silence(start, now));
        self.story.say(&format!(
            "The LAN user is answered over {to}, and heard nothing for {:.1} s (IPv6: {:.1} s).",
            silent.as_secs_f64(),
            silent6.as_secs_f64()
        ));
        Ok(Event { what, at: start - self.story.start, after, silent, silent6 })
    }

    fn both_lines_work(&self) -> Result<()> {
        self.wait("two working lines", |status| {
            let up = |number: usize| status["links"][number]["up"] == true;
            status["active"] == "fibre" && up(0) && up(1) && self.answered_over(1)
        })?;
        Ok(())
    }

    /// The status that satisfies the condition, and an error once nobody would wait any longer.
    fn wait(&self, awaited: &str, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        let start = Instant::now();
        loop {
            let text = self.status_in("json")?;
            let status = serde_json::from_str(&text)
                .with_context(|| format!("`wanfo status --format json` printed no JSON but {text:?}"))?;
            if condition(&status) {
                return Ok(status);
            }
            if start.elapsed() > PATIENCE {
                bail!(
                    "{awaited} was expected within {PATIENCE:?} and not seen; the last status was {status}"
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The LAN user's latest answers, young ones, came over this line in both families.
    fn answered_over(&self, line: Line) -> bool {
        [&self.meter, &self.meter6].into_iter().all(|meter| {
            meter.last_answer().is_some_and(|answer| answer.line == line && answer.at.elapsed() < BEAT)
        })
    }

    fn check(&self) -> Result<()> {
        let run = self.lab.wanfo(&["check"]);
        ensure!(run.code == 0, "`wanfo check` ended with {}: {}", run.code, run.stderr.trim());
        Ok(())
    }

    fn status_in(&self, format: &str) -> Result<String> {
        let run = self.lab.wanfo(&["status", "--format", format]);
        ensure!(run.code == 0, "`wanfo status` ended with {}: {}", run.code, run.stderr.trim());
        Ok(run.stdout)
    }
}
