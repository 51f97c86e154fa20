//! The action script.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::story::{PROBE, Story, config, link, two_links};

/// As people have it on AstLinux, with a note of every call.
const ASTLINUX: &str = r#"
state="$1"
primary_if="$2"
primary_gw="$3"
secondary_if="$4"
secondary_gw="$5"
secondary_gwipv6="$6"
printf '%s|' $# "$@" >>HERE/calls
echo >>HERE/calls
env | grep ^WANFO_ | sort >HERE/told
case $state in

SECONDARY)
  logger -s -t wan-failover -p kern.info "Failover $primary_if to $secondary_if" 2>/dev/null
  echo "failover from $primary_if to $secondary_if"
  ;;

PRIMARY)
  echo "failback from $secondary_if to $primary_if" >&2
  ;;
esac
exit 0
"#;

/// The config of these links with `action` as its action script.
fn with_action(story: &Story, links: &[String], more: &[&str]) {
    with_action_within(story, "1s", links, more);
}

fn with_action_within(story: &Story, limit: &str, links: &[String], more: &[&str]) {
    let script = format!("script_timeout: {limit}\naction_script: {}", story.path("action").display());
    story.configure(&config(links, &[&[PROBE, &script], more].concat()));
}

pub fn an_astlinux_script_is_called_once_for_every_switch() {
    let story = Story::of_two_links();
    // One family is all that this backup has.
    with_action(&story, &two_links(["", "gateway6: none"]), &[]);
    script(&story, "action", ASTLINUX);
    story.check();
    story.check();
    assert!(lines(&story.path("calls")).is_empty());

    story.pull_cable(1);
    let run = story.check();
    assert!(run.stderr.contains("action: failover from wan1 to wan2"), "{run:?}");
    story.check();
    let there = "6|SECONDARY|wan1|192.0.2.1|wan2|192.0.2.17||";
    assert_eq!(lines(&story.path("calls")), [there]);
    let told = lines(&story.path("told"));
    let expected = [
        "WANFO_FORCED=0",
        "WANFO_FROM=primary",
        "WANFO_FROM_ADDRESSES=192.0.2.2 2001:db8:1::2",
        "WANFO_FROM_GATEWAY6=2001:db8:1::1",
        "WANFO_FROM_GATEWAY=192.0.2.1",
        "WANFO_FROM_INTERFACE=wan1",
        "WANFO_REASON=primary is down: interface wan1 has no carrier",
        "WANFO_STATE=SECONDARY",
        "WANFO_TIME=",
        "WANFO_TO=secondary",
        "WANFO_TO_ADDRESSES=192.0.2.18",
        "WANFO_TO_GATEWAY6=",
        "WANFO_TO_GATEWAY=192.0.2.17",
        "WANFO_TO_INTERFACE=wan2",
    ];
    for words in expected {
        let is_there = |line: &String| line == words || words == "WANFO_TIME=" && line.starts_with(words);
        assert!(told.iter().any(is_there), "{words} is not in {told:#?}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    let time = told.iter().find_map(|line| line.strip_prefix("WANFO_TIME=")).unwrap();
    let at: jiff::Timestamp = time.parse().expect("a time with its zone");
    assert!(at.duration_until(jiff::Timestamp::now()).as_secs() < 10, "{time}");

    story.plug_in(1);
    let run = story.check_until_active("primary");
    assert!(run.stderr.contains("action: failback from wan2 to wan1"), "{run:?}");
    story.check();
    let back = there.replace("SECONDARY", "PRIMARY");
    assert_eq!(lines(&story.path("calls")), [there, &back]);
    let scripts = happened(&story, "script");
    let told: Vec<_> =
        scripts.iter().map(|record| (text(&record["state"]), text(&record["outcome"]))).collect();
    assert_eq!(told, [("SECONDARY", "exit code 0"), ("PRIMARY", "exit code 0")]);

    // By hand, for once.
    story.succeeds(&["force-failover", "--hold"]);
    assert!(lines(&story.path("told")).contains(&"WANFO_FORCED=1".to_owned()));
    assert_eq!(lines(&story.path("calls")), [there, &back, there]);
}

/// The value of a variable that a file of `systemd/` sets.
pub fn set_by(unit: &str, variable: &str) -> String {
    let text = fs::read_to_string(format!("{}/systemd/{unit}", env!("CARGO_MANIFEST_DIR"))).expect("a unit");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("Environment=")?.strip_prefix(variable)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("{unit} sets no {variable}")).to_owned()
}

pub fn of_the_sandbox_the_unit_and_its_drop_in_tell() {
    let story = Story::of_two_links();
    with_action(&story, &two_links(["", ""]), &[]);
    script(&story, "action", ASTLINUX);
    let check = |unit: Option<&str>| {
        let mut command = story.wanfo_command(&["check"]);
        command.env_remove("WANFO_SANDBOX");
        if let Some(unit) = unit {
            command.env("WANFO_SANDBOX", set_by(unit, "WANFO_SANDBOX"));
        }
        // A container, say.
        lab::before_exec(&mut command, nix::sys::prctl::set_no_new_privs);
        assert_eq!(command.output().expect("wanfo starts").status.code(), Some(0));
        story.problems().contains("action-script.conf")
    };
    assert!(!check(None));
    assert!(check(Some("wanfo.service")));
    assert!(check(None), "a run by hand cannot tell");
    assert!(!check(Some("action-script.conf")));
    story.pull_cable(1);
    assert!(check(Some("wanfo.service")));
    let told = lines(&story.path("told"));
    assert!(told.contains(&"WANFO_STATE=SECONDARY".to_owned()), "{told:#?}");
    assert!(!told.iter().any(|line| line.contains("SANDBOX")), "{told:#?}");
}

pub fn with_three_links_secondary_is_the_backup_that_is_entered_or_left() {
    let links = [link(1, "fibre", ""), link(2, "cable", ""), link(3, "lte", "")];
    let story = Story::begin(3, &config(&links, &[PROBE]));
    with_action(&story, &links, &[NOTIFY]);
    script(&story, "action", ASTLINUX);
    story.check();
    story.pull_cable(1);
    story.check();
    assert_eq!(story.active(), "cable");
    story.pull_cable(2);
    story.check();
    assert_eq!(story.active(), "lte");
    story.plug_in(1);
    story.check_until_active("fibre");
    assert_eq!(
        lines(&story.path("calls")),
        [
            "6|SECONDARY|wan1|192.0.2.1|wan2|192.0.2.17|2001:db8:2::1|",
            "6|SECONDARY|wan1|192.0.2.1|wan3|192.0.2.33|2001:db8:3::1|",
            "6|PRIMARY|wan1|192.0.2.1|wan3|192.0.2.33|2001:db8:3::1|",
        ]
    );
    let host = host();
    let of_switches: Vec<String> =
        subjects(&story).into_iter().filter(|subject| !subject.starts_with("Standby")).collect();
    assert_eq!(
        of_switches,
        [
            format!("fibre WAN link failed on '{host}'. Switched to cable link."),
            format!("cable WAN link failed on '{host}'. Switched to lte link."),
            format!("fibre WAN link OK on '{host}'. Switched back to fibre link."),
        ]
    );
}

/// Makes a script what a case is about.
type Prepare<'a> = &'a dyn Fn();

pub fn whatever_the_script_does_the_switch_stands() {
    let story = Story::of_two_links();
    let long = ["delay: 1h", "delay: 1h"];
    with_action(&story, &two_links(long), &[]);
    story.check();
    let action = story.path("action");
    let remove = || {
        let _ = fs::remove_file(&action).or_else(|_| fs::remove_dir(&action));
    };
    let cases: [(&str, Prepare, &[&str], &str); 7] = [
        ("fails", &|| drop(script(&story, "action", "echo no; exit 3")), &["action: no"], "exit code 3"),
        ("dies", &|| drop(script(&story, "action", "kill -11 $$")), &[], "killed by signal 11"),
        ("sleeps", &|| drop(script(&story, "action", "sleep 1000")), &[], "killed after 1s"),
        ("vanished", &|| (), &["No such file or directory"], "No such file or directory"),
        ("directory", &|| fs::create_dir(&action).unwrap(), &["it is a directory"], "it is a directory"),
        (
            "not executable",
            &|| chmod(&script(&story, "action", "exit 0"), 0o644),
            &["it is not executable; run `chmod 755 "],
            "it is not executable",
        ),
        (
            "writable by others",
            &|| chmod(&script(&story, "action", "touch HERE/it-ran"), 0o777),
            &["everybody can write", "run `chmod go-w "],
            "run `chmod go-w ",
        ),
    ];
    for (number, (what, prepare, said, outcome)) in cases.into_iter().enumerate() {
        remove();
        prepare();
        let (command, word, line) =
            if number % 2 == 0 { ("force-failover", "SECONDARY", 2) } else { ("failback", "PRIMARY", 1) };
        let start = Instant::now();
        let run = story.succeeds(&[command]);
        assert!(start.elapsed() < Duration::from_secs(5), "{what}: {:?}", start.elapsed());
        for said in said {
            assert!(run.stderr.contains(said), "{what}: {said:?} is not in {run:?}");
        }
        assert_carried_by(&story, line);
        let record = happened(&story, "script").pop().expect("a record");
        assert_eq!((&record["state"], text(&record["path"])), (&word.into(), action.to_str().unwrap()));
        assert!(text(&record["outcome"]).contains(outcome), "{what}: {record}");
        assert!(state(&story)["switching"].is_null());
        assert_eq!(story.check().stderr, "", "{what}: there is nothing left to do");
        assert_eq!(happened(&story, "script").len(), number + 1, "{what}");
        assert_eq!(switches(&story).len(), number + 1, "{what}");
    }
    assert!(!story.path("it-ran").exists());
    // People see it as well.
    let page = story.succeeds(&["history"]).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["SECONDARY: exit code 3", "SECONDARY: killed after 1s"] {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
}

pub fn a_process_that_the_script_leaves_behind_holds_up_nothing() {
    let story = Story::of_two_links();
    with_action_within(&story, "20s", &two_links(["delay: 1h", "delay: 1h"]), &[]);
    // With the script's output still open: nobody may wait for its end.
    script(&story, "action", "sleep 1000 &\necho $! >HERE/left");
    story.check();
    let start = Instant::now();
    story.succeeds(&["force-failover"]);
    let [pid] = &lines(&story.path("left"))[..] else { panic!("one process was left") };
    let pid = Pid::from_raw(pid.parse().expect("a number"));
    for _ in 0..3 {
        assert_eq!(story.wanfo(&["check"]).code, 0, "the lock is free");
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives on");
    for file in files {
        let file = fs::read_link(file.unwrap().path()).unwrap_or_default();
        assert!(!file.starts_with(story.path("run")), "it holds {}", file.display());
    }
    assert_carried_by(&story, 2);
    kill(pid, Signal::SIGKILL).expect("it lived until now");
}
