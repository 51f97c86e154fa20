//! kill -9 between every two steps of a switch.
//!
//! After the next run the routes are right, the intent is gone, the action script ran at least once, and each switch
//! is in the spool and in the history exactly once.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::libc;

use super::tracing::{Call, Fate, follow};
use super::*;
use crate::faults::iproute::{stand_in, the_ip};
use crate::story::{PROBE, Story, assert_same, config, two_links};

/// A router on which only the test switches, and what it looks like on either link when nothing disturbs.
pub struct Subject {
    pub story: Story,
    whole: [Vec<String>; 2],
    /// Switches that there were.
    switches: usize,
    /// The ids of the mails about them.
    mails: BTreeSet<String>,
    /// Runs of the action script, as far as the history knows.
    scripts: usize,
    /// How often the script was run twice for one switch.
    repeated: usize,
}

/// Where it goes and how.
pub const WAYS: [(&str, &str, &str); 2] =
    [("force-failover", "primary", "secondary"), ("failback", "secondary", "primary")];

impl Subject {
    /// With an action script that notes its call and then does this, or without one.
    pub fn new(action: Option<&str>) -> Subject {
        let story = Story::of_two_links();
        // Not by now.
        fs::write(story.path("killed"), "").expect("the lab takes a file");
        let action = action.map_or_else(String::new, |action| {
            let path = script(&story, "action", &format!("echo $1 >>HERE/calls\n{action}"));
            format!("action_script: {}", path.display())
        });
        story.configure(&config(&two_links(["delay: 1h", "delay: 1h"]), &[PROBE, NOTIFY, &action]));
        story.check();
        story.succeeds(&["force-failover"]);
        let away = story.kernel();
        story.succeeds(&["failback"]);
        let mut subject = Subject {
            whole: [story.kernel(), away],
            story,
            switches: 0,
            mails: BTreeSet::new(),
            scripts: 0,
            repeated: 0,
        };
        subject.forget();
        subject
    }

    /// Begins to count anew. A history and a spool of thousands of switches would make each look at them slow, and a history
    /// that is too long is put aside.
    fn forget(&mut self) {
        for file in ["calls", "state/history.jsonl"] {
            let _ = fs::remove_file(self.story.path(file));
        }
        for mail in fs::read_dir(self.story.path("state/spool")).into_iter().flatten().flatten() {
            let _ = fs::remove_file(mail.path());
        }
        self.switches = switches(&self.story).len();
        self.mails = self.ids();
        self.scripts = happened(&self.story, "script").len();
    }

    fn ids(&self) -> BTreeSet<String> {
        spool(&self.story).iter().map(|mail| text(&mail["id"]).to_owned()).collect()
    }

    /// Goes to where the next way begins, undisturbed.
    pub fn be_on(&mut self, link: &str) {
        if self.story.active() != link {
            let command = WAYS.iter().find(|(_, _, to)| *to == link).expect("a way to each link").0;
            self.story.succeeds(&[command]);
            self.forget();
        }
    }

    /// The next run makes good what a killed one left, and each thing was done as often as it should be. Whether there
    /// was a switch.
    #[track_caller]
    pub fn assert_made_good(&mut self, from: &str, to: &str, trouble: &str) -> bool {
        let story = &self.story;
        let run = story.check();
        let state = state(story);
        let what = format!("{trouble} on the way to {to}; then {run:?}");
        assert!(state["switching"].is_null(), "{what}: {state}");
        let switched = state["active"] == to;
        assert!(switched || state["active"] == from, "{what}: {state}");
        assert_same(&self.whole[usize::from(state["active"] == "secondary")], &story.kernel());
        assert_eq!(story.check().stderr, "", "{what}: nothing is left to do");

        let all = switches(story);
        let new: Vec<_> =
            all[self.switches..].iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        assert_eq!(new, vec![(from, to); usize::from(switched)], "{what}");
        let ids = self.ids();
        let new: Vec<&String> = ids.difference(&self.mails).collect();
        assert_eq!(new.len(), usize::from(switched), "{what}: {new:?}");
        let mails = spool(story);
        assert_eq!(mails.len(), ids.len(), "{what}: one mail under each id");
        let has_script = story.path("action").exists();
        let records = happened(story, "script").len() - self.scripts;
        assert_eq!(records, usize::from(switched && has_script), "{what}");
        if switched {
            let subject = text(&mails.last().expect("there is a new one")["subject"]);
            assert_eq!(
                subject.contains("Switched back to primary link."),
                to == "primary",
                "{what}: {subject}"
            );
            let calls = lines(&story.path("calls"));
            if has_script {
                let word = if to == "primary" { "PRIMARY" } else { "SECONDARY" };
                assert!((1..=2).contains(&calls.len()), "{what}: {calls:?}");
                assert!(calls.iter().all(|call| call == word), "{what}: {calls:?}");
                self.repeated += calls.len() - 1;
            }
        } else {
            assert!(!story.path("calls").exists(), "{what}");
        }
        assert!(happened(story, "repaired").is_empty(), "{what}: nobody has undone anything");
        self.forget();
        switched
    }
}

pub fn killed_between_any_two_steps_of_a_switch() {
    killed_between_any_two_steps(Subject::new(Some("")));
}

pub fn killed_between_any_two_steps_of_a_switch_without_a_script() {
    killed_between_any_two_steps(Subject::new(None));
}

fn killed_between_any_two_steps(mut subject: Subject) {
    let mut made = [0, 0];
    for steps in 0.. {
        let mut ended = 0;
        for (command, from, to) in WAYS {
            subject.be_on(from);
            let code = killed_after(subject.story.wanfo_command(&[command]), steps);
            assert!(code.is_none_or(|code| code == 0), "{command} ended with {code:?}");
            ended += usize::from(code.is_some());
            made[usize::from(subject.assert_made_good(from, to, &format!("killed after {steps} steps")))] +=
                1;
        }
        if ended == WAYS.len() {
            break;
        }
        assert!(steps < 200, "no end of it");
    }
    assert!(made[0] >= 2 && made[1] >= 30, "there are more steps than that: {made:?}");
    // Only where it had begun, and the state file did not say yet that it had ended.
    assert!(subject.repeated <= 8, "the script was run again after {} of {made:?} kills", subject.repeated);
}

/// Runs the program until it is about to take step number `steps`, counted from 0: a write to a file, a change in a
/// directory, a new process. There it is killed. The exit code if it ended before that.
fn killed_after(command: Command, steps: usize) -> Option<i32> {
    let mut left = steps;
    let (code, _) = follow(command, |call| match (is_step(call), left) {
        (true, 0) => Fate::Killed,
        (is_step, _) => {
            left -= usize::from(is_step);
            Fate::Made
        }
    });
    code
}

/// Whether others can see it.
fn is_step(call: Call) -> bool {
    let steps = [
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_mkdirat,
        libc::SYS_unlinkat,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_ftruncate,
        libc::SYS_clone,
        libc::SYS_clone3,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
    ];
    // What goes to stdout and stderr is no step.
    steps.contains(&call.number) || call.number == libc::SYS_write && call.first > 2
}

pub fn killed_at_any_moment_of_a_switch() {
    let mut subject = Subject::new(Some("sleep 0.1"));
    let mut made = [0, 0];
    for moment in 0..14 {
        for (command, from, to) in WAYS {
            subject.be_on(from);
            let covers = [(&*stand_in("is-slow"), &*the_ip())];
            let mut command = subject.story.wanfo_seeing(&[command], &covers);
            let mut child =
                command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("wanfo starts");
            sleep(Duration::from_millis(moment * 23));
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
            // A child of it may be just about to make its change.
            sleep(Duration::from_millis(60));
            made[usize::from(subject.assert_made_good(from, to, &format!("killed {} ms", moment * 23)))] += 1;
        }
    }
    assert!(made.iter().all(|&times| times > 0), "the moments do not reach far enough: {made:?}");
}

pub fn killed_by_its_own_action_script() {
    // The parent of the script is wanfo. Once only, or the next run would end so as well.
    let kill = "[ -e HERE/killed ] || { touch HERE/killed; kill -9 $PPID; }";
    for action in [kill.to_owned(), format!("sleep 0.1; {kill}"), format!("{kill}\nsleep 0.2; exit 4")] {
        let mut subject = Subject::new(Some(&action));
        for (command, from, to) in WAYS {
            subject.be_on(from);
            fs::remove_file(subject.story.path("killed")).expect("the script has left it");
            let run = subject.story.wanfo(&[command]);
            assert_eq!(run.code, -1, "{run:?}");
            assert_eq!(state(&subject.story)["switching"]["to"], to);
            assert!(subject.assert_made_good(from, to, "killed by its script"));
        }
    }
}
