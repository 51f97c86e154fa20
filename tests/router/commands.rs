//! What an admin says and sees.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fs2::FileExt;
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::census;
use crate::lab::{self, Lab, target};
use crate::story::{PROBE, Story, WANFO, assert_same, beyond_the_silence, config, link, two_links};

pub fn without_permission_to_ping_nobody_is_switched_but_a_pulled_cable_is() {
    let links = two_links(["", "targets: []"]);
    let story = Story::in_a(Lab::closed_to_pings(2, WANFO), &config(&links, &[PROBE]));
    story.cut_silently(1);
    beyond_the_silence(|| {
        let run = story.wanfo(&["check"]);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains("net.ipv4.ping_group_range"), "{run:?}");
        assert_eq!(story.link("primary")["silent_for_ms"], 0);
        assert_eq!(story.active(), "primary");
    });
    assert!(story.problems().contains("net.ipv4.ping_group_range"), "{}", story.problems());
    assert_eq!(story.wanfo(&["status", "--exit-code"]).code, 3, "nothing was ever learnt of the primary");
    // No ping is needed to see that.
    story.pull_cable(1);
    story.wanfo(&["check"]);
    assert_eq!(story.active(), "secondary");
    story.assert_lan_is_served_over(2);

    story.open_to_pings();
    story.plug_in(1);
    story.repair(1);
    story.check_until_active("primary");
    assert!(!story.problems().contains("ping_group_range"), "{}", story.problems());
}

pub fn a_timed_check_makes_way_for_a_run_and_a_command_waits_for_it() {
    let slow = "probe: {silence: 2s}";
    let story = Story::begin(2, &config(&two_links(["", ""]), &[slow]));
    story.check();
    story.cut_silently(1);
    // It stays until the silence is long enough, and holds the lock meanwhile.
    let mut first = story.wanfo_command(&["check"]).stdout(Stdio::null()).spawn().unwrap();
    let inode = fs::metadata(story.path("run/lock")).unwrap().ino();
    let deadline = Instant::now() + Duration::from_secs(5);
    // Not by trying to take it: that might keep the run from it. proc(5), locks.
    while !fs::read_to_string("/proc/locks").unwrap().contains(&format!(":{inode} ")) {
        assert!(Instant::now() < deadline, "the first run never held the lock");
        sleep(Duration::from_millis(5));
    }

    let second = story.wanfo(&["check"]);
    assert_eq!((second.code, second.stdout.as_str(), second.stderr.as_str()), (75, "", ""));
    assert_eq!(story.status()["version"], 2, "the status waits for nobody");
    story.succeeds(&["force-failover"]);
    assert_eq!(story.active(), "secondary");
    assert!(first.wait().unwrap().success());
}

pub fn the_mail_that_would_come_is_shown_and_not_sent() {
    let story = Story::of_two_links();
    let run = story.wanfo(&["deliver", "--example"]);
    assert!(run.code == 1 && run.stderr.contains("no run of `wanfo check` since boot"), "{run:?}");
    story.check();
    let before = (story.kernel(), story.status());
    let run = story.succeeds(&["deliver", "--example"]);
    for words in
        ["Subject: Primary WAN link failed on '", "Switched to secondary link.", "default via 192.0.2.17"]
    {
        assert!(run.stdout.contains(words), "{words}: {run:?}");
    }
    assert_eq!((story.kernel(), story.status()), before);
    assert!(!story.path("state/spool").exists());
}

pub fn words_of_other_tools_get_a_tip() {
    let story = Story::of_two_links();
    for (words, tip) in [
        (&["failover"][..], "`wanfo force-failover` switches"),
        (&["switch", "secondary"], "`wanfo force-failover --to secondary`"),
        (&["force-failover", "secondary"], "`wanfo force-failover --to secondary`"),
        (&["failback", "primary"], "takes no link"),
        (&["stop"], "`systemctl disable --now wanfo.timer`"),
        (&["start"], "`systemctl enable --now wanfo.timer`"),
        (&["config", "new.yaml"], "`wanfo config -c new.yaml`"),
    ] {
        let run = story.wanfo(words);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains(tip), "{words:?}: {run:?}");
    }
    let run = story.wanfo(&["banana"]);
    assert!(run.code == 2 && !run.stderr.contains("wanfo failback"), "{run:?}");
}

pub fn a_failover_by_hand_ends_by_itself() {
    let story = Story::of_two_links();
    story.check();
    let calm = story.kernel();
    let run = story.succeeds(&["force-failover"]);
    assert!(run.stdout.contains("switched to secondary"), "{run:?}");
    let status = story.status();
    assert_eq!((&status["active"], &status["forced"]), (&"secondary".into(), &true.into()));
    story.assert_lan_is_served_over(2);
    story.check();
    assert_eq!(story.active(), "primary", "the backup has no delay in this config");
    assert_eq!(story.status()["forced"], false);
    assert_same(&calm, &story.kernel());
}

pub fn a_failover_by_hand_goes_to_the_named_link_for_the_time_that_is_said() {
    let links = [link(1, "primary", ""), link(2, "secondary", ""), link(3, "tertiary", "delay: 10m")];
    let story = Story::begin(3, &config(&links, &[PROBE]));
    story.check();
    let start = Instant::now();
    story.succeeds(&["force-failover", "--to", "tertiary", "--for", "2s"]);
    assert_eq!(story.active(), "tertiary");
    story.assert_lan_is_served_over(3);
    story.check();
    let status = story.status();
    assert_eq!((&status["active"], &status["hold"]), (&"tertiary".into(), &true.into()));
    story.check_until_active("primary");
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());

    let run = story.wanfo(&["force-failover", "--to", "quaternary"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("secondary, tertiary"), "{run:?}");
}

pub fn a_held_failover_stays_until_failback() {
    let story = Story::of_two_links();
    story.check();
    let calm = story.kernel();
    story.succeeds(&["force-failover", "--hold"]);
    story.check();
    let status = story.status();
    assert_eq!((&status["active"], &status["hold"]), (&"secondary".into(), &true.into()));
    assert!(story.succeeds(&["status"]).stdout.contains("until `wanfo failback`"));
    let run = story.succeeds(&["failback"]);
    assert!(run.stdout.contains("switched to primary"), "{run:?}");
    story.assert_lan_is_served_over(1);
    assert_same(&calm, &story.kernel());
    // What is taken out leaves no wish behind.
    story.succeeds(&["force-failover", "--hold"]);
    story.check();
    story.succeeds(&["down"]);
    story.check();
    assert_eq!((story.active().as_str(), &story.status()["hold"]), ("primary", &false.into()));
}

pub fn failback_does_not_wait_for_the_delay() {
    let story = Story::begin(2, &config(&two_links(["", "delay: 10m"]), &[PROBE]));
    story.check();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    let run = story.wanfo(&["failback"]);
    assert_eq!(run.code, 1, "the primary is dead: {run:?}");
    assert!(run.stderr.contains(&format!("no reply from {}", target(1, 1))), "{run:?}");
    story.repair(1);
    story.check_until("a primary that is up", |status| status["links"][0]["up"] == true);
    story.check();
    assert_eq!(story.active(), "secondary");
    story.succeeds(&["failback"]);
    assert_eq!(story.active(), "primary");
    story.assert_lan_is_served_over(1);
}

pub fn a_failover_to_a_dead_backup_is_refused_with_the_reason() {
    let story = Story::of_two_links();
    story.check();
    let calm = story.kernel();
    story.cut_silently(2);
    let run = story.wanfo(&["force-failover"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains(&format!("no reply from {}", target(2, 1))), "{run:?}");
    story.pull_cable(2);
    let run = story.wanfo(&["force-failover", "--to", "secondary"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("wan2 has no carrier"), "{run:?}");
    assert_eq!(story.active(), "primary");
    story.plug_in(2);
    story.repair(2);
    story.check();
    assert_same(&calm, &story.kernel());
}

/// Each field of the stable interface, with a letter for what it may be: text, number, boolean, list, null.
const STATUS: &[(&str, &str)] = &[
    ("version", "n"),
    ("active", "t"),
    ("since", "t0"),
    ("reason", "t"),
    ("forced", "b"),
    ("hold", "b"),
    ("next_switch_after", "t0"),
    ("last_check", "t"),
    ("problems", "l"),
    ("notifications_pending", "n"),
    ("links", "l"),
];
const LINK: &[(&str, &str)] = &[
    ("name", "t"),
    ("interface", "t"),
    ("gateway", "t"),
    ("gateway6", "t0"),
    ("up", "b"),
    ("active", "b"),
    ("silent_for_ms", "n"),
    ("stable_in_ms", "n0"),
    ("relapses", "n"),
    ("routes_only", "b"),
    ("last_probe", "t"),
    ("targets", "l"),
];
const TARGET: &[(&str, &str)] = &[("address", "t"), ("ok", "b"), ("rtt_ms", "n0"), ("error", "t0")];

#[track_caller]
fn assert_fields(object: &Value, fields: &[(&str, &str)]) {
    for (name, kinds) in fields {
        let kind = match object.get(name) {
            Some(Value::String(_)) => 't',
            Some(Value::Number(_)) => 'n',
            Some(Value::Bool(_)) => 'b',
            Some(Value::Array(_)) => 'l',
            Some(Value::Null) => '0',
            other => panic!("{name} is {other:?} in {object:#}"),
        };
        assert!(kinds.contains(kind), "{name} is {:?}, not one of {kinds}", object[name]);
    }
}

pub fn status_tells_programs_and_people_what_the_last_run_knew() {
    let story = Story::begin(2, &config(&two_links(["", "delay: 10m"]), &[PROBE]));
    let exit_code = || story.wanfo(&["status", "--exit-code"]).code;
    assert_eq!(exit_code(), 3, "before the first run");
    assert!(story.succeeds(&["status"]).stdout.contains("Nothing is known"));

    let assert_whole = || {
        let status = story.status();
        assert_fields(&status, STATUS);
        for link in status["links"].as_array().unwrap() {
            assert_fields(link, LINK);
            assert_fields(&link["targets"][0], TARGET);
        }
        status
    };
    story.check();
    assert_eq!(exit_code(), 0);
    let status = assert_whole();
    assert_eq!((&status["active"], &status["since"]), (&"primary".into(), &Value::Null));
    assert_eq!(status["links"][0]["targets"][0]["ok"], true);
    assert!(status["links"][0]["targets"][0]["rtt_ms"].as_f64().unwrap() > 0.0);

    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    assert_eq!(exit_code(), 1);
    let status = assert_whole();
    assert!(status["since"].is_string() && status["next_switch_after"].is_string(), "{status:#}");
    let silent = format!("no reply from {}", target(1, 1));
    assert!(status["reason"].as_str().unwrap().contains(&silent), "{status:#}");
    assert_eq!(status["links"][0]["targets"][0]["error"], "no reply");
    let page = story.wanfo_command(&["status"]).env("TZ", "TST-5:30").output().expect("wanfo starts").stdout;
    let page = String::from_utf8(page).expect("text");
    let since: jiff::Timestamp = status["since"].as_str().unwrap().parse().expect("RFC 3339");
    let zone = jiff::tz::TimeZone::posix("TST-5:30").expect("a zone");
    let local = since.to_zoned_datetime(zone).strftime("On secondary since %H:%M (").to_string();
    for words in [local.as_str(), "): primary is down\n", "no reply", "DOWN since", "via 192.0.2.17"] {
        assert!(page.contains(words), "{words:?} is not on the page:\n{page}");
    }

    story.cut_silently(2);
    story.check();
    assert_eq!(exit_code(), 2);
    assert_whole();
}

pub fn status_needs_no_root() {
    let story = Story::of_two_links();
    story.check();
    // Wherever the checkout lies, this user may not be let in there.
    let binary = story.path("wanfo");
    // Not by a file of this process's: a fork of another story could hold it open, and nobody runs a file that is written.
    assert!(Command::new("cp").arg(WANFO).arg(&binary).status().unwrap().success());
    fs::set_permissions(story.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let lock = fs::File::open(story.path("run/lock")).unwrap();
    FileExt::lock_exclusive(&lock).unwrap();
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(arguments).env("WANFO_CONFIG", story.path("wanfo.yaml"));
        if lab::has_other_users() {
            command.uid(65534).gid(65534);
        } else {
            // In a user namespace without any mapping the user is nobody, and exec leaves it no capability.
            lab::before_exec(&mut command, || unshare(CloneFlags::CLONE_NEWUSER));
        }
        command.output().unwrap()
    };
    let output = as_nobody(&["status", "--format", "json", "--exit-code"]);
    assert!(output.status.success(), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["active"], "primary");
    assert!(as_nobody(&["status"]).stdout.starts_with(b"On primary"));
}

pub fn a_dry_run_prints_what_it_would_do_and_does_not_do_it() {
    let story = Story::of_two_links();
    let would_run = || -> Vec<String> {
        let run = story.succeeds(&["check", "--dry-run"]);
        let printed = run.stdout;
        // Only a run ties the backup's target to its line; that is nobody's fault.
        let commands_for_pins = printed.contains("ip -4 rule add");
        assert_eq!(printed.contains("the targets are probed once"), commands_for_pins, "{printed}");
        assert!(!run.stderr.contains("not asked"), "{}", run.stderr);
        printed.lines().filter_map(|line| line.strip_prefix("would run: ip ")).map(str::to_owned).collect()
    };
    let untouched = story.kernel();
    // The pins, then a failover.
    for _ in 0..2 {
        let before = story.kernel();
        let commands = would_run();
        assert!(!commands.is_empty());
        assert_same(&before, &story.kernel());
        assert!(!story.path("run").exists() && !story.path("state").exists());
        for command in &commands {
            story.router.ip(command);
        }
        assert_eq!(would_run(), Vec::<String>::new(), "after it was done by hand");
        story.pull_cable(1);
    }
    story.assert_lan_is_served_over(2);
    story.plug_in(1);
    story.succeeds(&["down"]);
    assert_same(&untouched, &story.kernel());
}

pub fn a_quiet_run_starts_no_process_prints_nothing_and_wears_no_flash() {
    let story = Story::of_two_links();
    let first = census::take(story.wanfo_command(&["check"]));
    assert!(first.started > 0, "`ip` set the pins, so it should have been counted: {first:?}");
    let quiet = census::Census { code: 0, stdout: String::new(), stderr: String::new(), started: 0 };
    // The history begins with the first run; from then on only what happens is written.
    let history = || fs::read_to_string(story.path("state/history.jsonl")).unwrap();
    let begun = history();
    for _ in 0..2 {
        assert_eq!(census::take(story.wanfo_command(&["check"])), quiet);
    }
    assert_eq!(history(), begun);
    // While it waits on the backup, too.
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    let failed_over = history();
    assert_ne!(failed_over, begun);
    assert_eq!(census::take(story.wanfo_command(&["check"])), quiet);
    assert_eq!(history(), failed_over);
}

pub fn after_a_reboot_nothing_is_known_and_no_delay_runs() {
    let story = Story::begin(2, &config(&two_links(["stable: 10m", "delay: 10m"]), &[PROBE]));
    let untouched = story.kernel();
    story.check();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    // A machine that starts has none of our routes, and a file from before.
    let path = story.path("run/state.json");
    let state = fs::read_to_string(&path).unwrap();
    story.succeeds(&["down"]);
    assert_same(&untouched, &story.kernel());
    let this_boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let another_boot = state.replace(this_boot.trim(), "00000000-0000-4000-8000-000000000000");
    assert_ne!(state, another_boot);
    fs::write(&path, another_boot).unwrap();

    story.repair(1);
    story.check();
    let status = story.status();
    assert_eq!((&status["active"], &status["next_switch_after"]), (&"primary".into(), &Value::Null));
    assert_eq!(status["links"][0]["up"], true, "it was not down in this boot");
    assert_eq!(status["since"], Value::Null);
}

pub fn with_the_state_lost_the_kernel_tells_that_the_backup_is_active() {
    let story = Story::begin(2, &config(&two_links(["", "delay: 10m"]), &[PROBE]));
    story.check();
    let calm = story.kernel();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    fs::remove_file(story.path("run/state.json")).unwrap();

    story.check();
    let status = story.status();
    assert_eq!((&status["active"], &status["next_switch_after"]), (&"secondary".into(), &Value::Null));
    story.assert_lan_is_served_over(2);
    story.repair(1);
    // Not after ten minutes.
    story.check_until_active("primary");
    story.assert_lan_is_served_over(1);
    assert_same(&calm, &story.kernel());
}
