//! The bad day of the router, and who watches it.

use std::cell::Cell;
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::deliver::Deliverer;
use crate::lab::{Lab, Line, Meter};
use crate::relay::{Mail, Relay};
use crate::story::Story;

/// How often `wanfo check` runs; a systemd timer would start it every few seconds.
pub const BEAT: Duration = Duration::from_millis(500);
/// The longest that anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(8);
/// When nothing is waited for any longer, so that the demo ends within 45 s also where it fails.
const LAST_MOMENT: Duration = Duration::from_secs(40);
/// How long the line is left alone before the next step, and how long the meter watches after a switch.
const CALM: Duration = Duration::from_millis(1500);

pub struct Day<'a> {
    pub lab: &'a Lab,
    pub story: &'a Story,
    pub meter: Meter,
    pub meter6: Meter,
    pub relay: Relay,
    pub deliverer: &'a Deliverer,
    /// What the runs of `wanfo check` said.
    pub log: &'a Mutex<Vec<String>>,
}

/// One line of the final table.
pub struct Event {
    pub what: &'static str,
    /// Since the start of the story.
    pub at: Duration,
    /// From the event to the switch, as `wanfo status` told it.
    pub after: Duration,
    /// The longest time in which the LAN user heard nothing.
    pub silent: Duration,
    pub silent6: Duration,
}

/// How much of a mail is shown.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Subject,
    /// And what stands below it, up to the targets.
    Evidence,
}

/// One run of wanfo; what it says goes into the log.
pub fn check(lab: &Lab, log: &Mutex<Vec<String>>) -> Result<()> {
    let run = lab.wanfo(&["check"]);
    log.lock().unwrap().extend(run.stderr.lines().map(str::to_owned));
    ensure!(run.code == 0, "`wanfo check` ended with {}: {}", run.code, run.stderr.trim());
    Ok(())
}

impl Day<'_> {
    pub fn pass(&self) -> Result<[Event; 4]> {
        let (lab, story) = (self.lab, self.story);
        self.both_lines_work()?;
        story.good(
            "Both lines work, and the LAN user is answered over fibre. This is what wanfo status says:",
        );
        println!();
        for line in self.wanfo_says(&["status"])?.lines() {
            story.more(line);
        }
        println!();
        thread::sleep(CALM);

        use Shown::{Evidence, Subject};
        story
            .bad("CUT: fibre dies behind the provider's first hop. Its gateway answers, all else is silent.");
        let cut = self.switch("fibre dies silently: over to lte", 2, Evidence, || lab.cut_silently(1))?;
        thread::sleep(CALM);
        story.say(
            "REPAIR: fibre works again. wanfo goes back once it has answered for 2 s and lte's 3 s are over.",
        );
        let repair = self.switch("fibre is repaired: back to fibre", 1, Evidence, || lab.repair(1))?;
        thread::sleep(CALM);
        story.bad("CABLE PULLED: wan1 has no carrier. There is nothing to confirm.");
        let pulled = self.switch("the cable is pulled: over to lte", 2, Subject, || lab.pull_cable(1))?;
        thread::sleep(CALM);
        story.say(
            "CABLE BACK: wan1 has carrier again. Fibre had a relapse, and has to answer for twice as long.",
        );
        let plugged = self.switch("the cable is back: back to fibre", 1, Subject, || lab.plug_in(1))?;
        Ok([cut, repair, pulled, plugged])
    }

    /// Does something to fibre, and waits until wanfo, the action script, the mail and the LAN user are on `line`.
    fn switch(&self, what: &'static str, line: Line, shown: Shown, act: impl FnOnce()) -> Result<Event> {
        let to = name(line);
        let is_trusted = Cell::new(true);
        let logged = self.log.lock().unwrap().len();
        let mailed = self.relay.mails().len();
        let start = Instant::now();
        act();
        let status = self.status_once(&format!("a switch to {to}"), |status| {
            if let Some(left) = status["links"][0]["stable_in_ms"].as_u64()
                && is_trusted.replace(false)
            {
                self.story
                    .say(&format!("  fibre answers again, and is trusted in {:.1} s", left as f64 / 1e3));
            }
            status["active"] == to
        })?;
        let after = start.elapsed();
        self.story.good(&format!(
            "SWITCHED to {to} after {:.1} s. The reason that wanfo gives:",
            after.as_secs_f64()
        ));
        self.story.more(status["reason"].as_str().unwrap_or("none"));
        let said = self.action_script_said(logged, line)?;
        self.story.say("ACTION SCRIPT: it prints:");
        self.story.quote(&said);
        self.tell_of(&self.mail(mailed, line)?, shown);

        self.status_once(&format!("answers to the LAN user over {to}"), |_| self.answered_over(line))?;
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
        self.status_once("two working lines", |status| {
            let up = |number: usize| status["links"][number]["up"] == true;
            status["active"] == "fibre" && up(0) && up(1) && self.answered_over(1)
        })?;
        Ok(())
    }

    /// What the script printed about this line, since there were so many lines in the log.
    fn action_script_said(&self, logged: usize, line: Line) -> Result<String> {
        let word = if line == 1 { "PRIMARY" } else { "SECONDARY" };
        self.wait(&format!("a line of the action script about {word}"), || {
            let log = &self.log.lock().unwrap()[logged..];
            // wanfo puts the script's name before what it prints.
            let mut said = log.iter().filter_map(|line| line.strip_prefix("wanfo: action: "));
            Ok(match said.find(|said| said.starts_with(word)) {
                Some(said) => Break(said.to_owned()),
                None => Continue(format!("`wanfo check` said {log:?}")),
            })
        })
    }

    /// The first mail after so many, which must have come over this line.
    fn mail(&self, mailed: usize, line: Line) -> Result<Mail> {
        let mail = self.wait("a mail about the switch", || {
            Ok(match self.relay.mails().get(mailed) {
                Some(mail) => Break(mail.clone()),
                None => Continue(format!("the last `wanfo deliver` said {:?}", self.deliverer.said())),
            })
        })?;
        ensure!(
            mail.line == Some(line) && mail.subject.contains("Switched"),
            "a mail about a switch was expected over line {line}, and {:?} came over line {:?}",
            mail.subject,
            mail.line
        );
        Ok(mail)
    }

    fn tell_of(&self, mail: &Mail, shown: Shown) {
        let to = mail.recipients.join(", ");
        let line = mail.line.map_or("no line", name);
        self.story.say(&format!("MAIL: the relay on the Internet has taken it for {to}, over {line}:"));
        self.story.quote(&format!("Subject: {}", mail.subject));
        if shown == Shown::Evidence {
            // Paragraphs: the subject again, the evidence, the targets, the routes.
            let evidence = mail.text.split("\n\n").nth(1).unwrap_or_default();
            evidence.lines().for_each(|line| self.story.quote(line));
            self.story.quote("[...]");
        }
    }

    /// The status that satisfies the condition.
    fn status_once(&self, awaited: &str, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        self.wait(awaited, || {
            let status = self.status()?;
            Ok(if condition(&status) {
                Break(status)
            } else {
                Continue(format!("the last status was {status}"))
            })
        })
    }

    /// Looks until there is what is awaited, and fails, with what was seen instead, once nobody would wait any longer.
    fn wait<T>(&self, awaited: &str, look: impl Fn() -> Result<ControlFlow<T, String>>) -> Result<T> {
        let patience = PATIENCE.min(LAST_MOMENT.saturating_sub(self.story.start.elapsed()));
        let start = Instant::now();
        loop {
            match look()? {
                Break(found) => return Ok(found),
                Continue(instead) if start.elapsed() > patience => {
                    bail!("{awaited} was expected within {patience:.1?} and not seen; {instead}")
                }
                Continue(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// The LAN user's latest answers, young ones, came over this line in both families.
    fn answered_over(&self, line: Line) -> bool {
        [&self.meter, &self.meter6].into_iter().all(|meter| {
            meter.last_answer().is_some_and(|answer| answer.line == line && answer.at.elapsed() < BEAT)
        })
    }

    fn status(&self) -> Result<Value> {
        let text = self.wanfo_says(&["status", "--format", "json"])?;
        serde_json::from_str(&text)
            .with_context(|| format!("`wanfo status --format json` printed no JSON but {text:?}"))
    }

    pub fn wanfo_says(&self, arguments: &[&str]) -> Result<String> {
        let run = self.lab.wanfo(arguments);
        let command = arguments.join(" ");
        ensure!(run.code == 0, "`wanfo {command}` ended with {}: {}", run.code, run.stderr.trim());
        Ok(run.stdout)
    }
}

fn name(line: Line) -> &'static str {
    if line == 1 { "fibre" } else { "lte" }
}
