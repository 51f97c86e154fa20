//! `wanfo drill`: a backup is proven before it is needed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::{self, Run, SERVICE, gateway, target};
use crate::story::{PIN_BY_TARGET, PROBE, Story, assert_same, config, link, two_links};

const NOTIFY: &str = "notify: {to: [noc@example.com], from: wanfo@example.com, sendmail: /usr/sbin/sendmail}";

/// What the history has of drills.
fn drills(story: &Story) -> Vec<Value> {
    let run = story.succeeds(&["history", "--format", "json"]);
    let records = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    records.filter(|record| record["event"] == "drilled").collect()
}

#[track_caller]
fn assert_not_proven(run: &Run, why: &str) {
    assert_eq!(run.code, 1, "{run:?}");
    let verdict = run.stdout.lines().find(|line| line.contains("secondary is NOT proven: "));
    assert!(verdict.is_some_and(|line| line.contains(why)), "{why}: {}", run.stdout);
}

fn told_proof(story: &Story) -> String {
    let status = story.succeeds(&["status"]).stdout;
    status.lines().find(|line| line.contains("proven")).unwrap_or_default().trim().to_owned()
}

/// A drill that is under way, with the traffic moved.
fn under_way(story: &Story, time: &str) -> Child {
    let mut command = story.wanfo_command(&["drill", "--switch", "--for", time]);
    let mut drill = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("wanfo starts");
    while story.active() != "secondary" {
        if drill.try_wait().expect("it is ours").is_some() {
            panic!("it never switched: {:?}", Run::from(drill.wait_with_output().expect("its words")));
        }
        sleep(Duration::from_millis(50));
    }
    drill
}

pub fn a_backup_that_works_is_proven_and_nobody_is_moved() {
    let story = Story::begin(2, &config(&two_links(["", ""]), &[PROBE, NOTIFY]));
    story.check();
    let (before, meter) = (story.kernel(), story.meter(SERVICE));
    assert_eq!(told_proof(&story), "never proven (`wanfo drill`)");
    assert_eq!(story.link("secondary")["last_proof"], Value::Null);
    let run = story.succeeds(&["drill"]);
    let address = target(2, 1).to_string();
    let answer = run.stdout.lines().find(|line| line.trim().starts_with(&address)).expect("a target");
    assert!(answer.ends_with(" ms") && run.stdout.ends_with("secondary is proven\n"), "{run:?}");
    assert_eq!(run.stderr, "");
    assert_same(&before, &story.kernel());
    assert_eq!(meter.lines(), [1]);

    let [drill] = &drills(&story)[..] else { panic!("{:?}", drills(&story)) };
    assert_eq!(
        (&drill["link"], &drill["proven"], &drill["with_switch"]),
        (&"secondary".into(), &true.into(), &false.into())
    );
    assert!(story.succeeds(&["history"]).stdout.contains("drill: secondary proven"));
    let told = told_proof(&story);
    assert!(told.starts_with("proven ") && told.ends_with(" s ago"), "{told}");
    assert!(
        story.link("secondary")["last_proof"].is_string() && story.link("primary")["last_proof"].is_null()
    );
    let metrics = story.succeeds(&["status", "--format", "prometheus"]).stdout;
    assert!(metrics.contains("wanfo_link_proof_timestamp_seconds{link=\"secondary\"}"), "{metrics}");
    // A boot forgets the state, and no proof.
    fs::remove_file(story.path("run/state.json")).expect("a state");
    story.check();
    assert!(told_proof(&story).starts_with("proven "));
    // Over another interface it is another line.
    let proofs = story.path("state/proofs.json");
    let proven = fs::read_to_string(&proofs).expect("a drill has written it");
    fs::write(&proofs, proven.replace("wan2", "wan9")).expect("it is ours");
    assert_eq!(told_proof(&story), "never proven (`wanfo drill`)");

    // Nobody is told who is not to be.
    assert!(!story.path("state/spool").exists());
    story.succeeds(&["drill", "secondary", "--mail"]);
    let mails = fs::read_dir(story.path("state/spool")).expect("a spool");
    let mails = mails.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
    let mails: Vec<String> = mails.map(|path| fs::read_to_string(path).expect("a mail")).collect();
    assert!(
        mails.len() == 1 && mails[0].contains("secondary is proven.") && mails[0].contains(&address),
        "{mails:?}"
    );
}

pub fn a_dead_backup_is_not_proven_and_the_reason_is_told() {
    let story = Story::of_two_links();
    story.check();
    story.succeeds(&["drill"]);
    let proven = story.link("secondary")["last_proof"].clone();
    let before = story.kernel();

    story.cut_silently(2);
    assert_not_proven(&story.wanfo(&["drill"]), &format!("no reply from {}", target(2, 1)));
    story.repair(2);
    story.pull_cable(2);
    assert_not_proven(&story.wanfo(&["drill"]), "interface wan2 has no carrier");
    story.plug_in(2);
    story.router.ip("-4 route del default dev wan2");
    story.router.ip("-6 route del default dev wan2");
    assert_not_proven(&story.wanfo(&["drill"]), "no IPv4 gateway is known for wan2");
    story.router.ip(&format!("route add default via {} dev wan2 metric 200", gateway(2)));
    story.router.ip(&format!("route add default via {} dev wan2 metric 200", lab::gateway6(2)));
    // Somebody's rule leads what is asked over it out of the other line, which answers.
    story.router.ip("rule add priority 100 lookup 5301");
    assert_not_proven(&story.wanfo(&["drill"]), "out of wan1");
    story.router.ip("rule del priority 100");

    assert_same(&before, &story.kernel());
    assert_eq!(story.active(), "primary");
    let drills = drills(&story);
    assert_eq!(
        drills.iter().map(|drill| drill["proven"] == true).collect::<Vec<_>>(),
        [true, false, false, false, false]
    );
    assert_eq!(drills[2]["why_not"], "interface wan2 has no carrier");
    assert_eq!(story.link("secondary")["last_proof"], proven, "the last proof stays what it was");
}

pub fn a_backup_without_services_is_not_proven() {
    lab::need_users();
    let checks = format!("checks: [{{tcp: {SERVICE}, port: 4000}}, {{tcp: {SERVICE}, port: 4001}}]");
    let story = Story::begin(2, &config(&two_links(["", &checks]), &[PROBE]));
    story.check();
    let run = story.wanfo(&["drill"]);
    assert_not_proven(&run, &format!("no service over it: TCP port 4000 at {SERVICE} is refused"));
    assert!(
        run.stdout.lines().any(|line| line.contains(&target(2, 1).to_string()) && line.ends_with(" ms")),
        "{run:?}"
    );
    let _server = story.internet.run(|| TcpListener::bind((SERVICE, 4001))).expect("a port");
    let run = story.succeeds(&["drill"]);
    let answer = |port: u16| {
        run.stdout.lines().find(|line| line.contains(&format!("port {port}"))).unwrap_or_default()
    };
    assert!(answer(4000).ends_with("is refused") && answer(4001).ends_with(" ms"), "{run:?}");

    // Without targets there are the checks; without either there is no proof.
    story.configure(&config(
        &[link(1, "primary", ""), link(2, "secondary", &format!("targets: [], {checks}"))],
        &[PROBE],
    ));
    story.check();
    story.succeeds(&["drill"]);
    story.configure(&config(&[link(1, "primary", ""), link(2, "secondary", "targets: []")], &[PROBE]));
    story.check();
    assert_not_proven(&story.wanfo(&["drill"]), "it has nothing that could answer");
}

pub fn with_pins_by_target_the_targets_alone_are_asked() {
    let checks = format!("checks: [{{tcp: {SERVICE}, port: 4000}}]");
    let story = Story::begin(2, &config(&two_links(["", &checks]), &[PIN_BY_TARGET]));
    let run = story.wanfo(&["drill"]);
    assert_not_proven(&run, "the kernel sends it out of wan1");
    story.check();
    let run = story.succeeds(&["drill"]);
    assert!(run.stdout.contains("nothing else can be asked so (`pin: target`)"), "{run:?}");
    let check = run.stdout.lines().find(|line| line.contains("port 4000")).expect("the check");
    assert!(check.ends_with("not asked, for only pings are tied to a link"), "{run:?}");
    story.cut_silently(2);
    assert_not_proven(&story.wanfo(&["drill"]), &format!("no reply from {}", target(2, 1)));
}

pub fn with_a_switch_the_traffic_moves_and_comes_back() {
    let story = Story::of_two_links();
    story.check();
    let (before, meter, is_over) = (story.kernel(), story.meter(SERVICE), AtomicBool::new(false));
    let run = scope(|scope| {
        // The timer goes on.
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                // It makes way for the drill's own runs.
                let run = story.wanfo(&["check"]);
                assert!([0, 75].contains(&run.code), "{run:?}");
                sleep(Duration::from_millis(500));
            }
        });
        let run = story.wanfo(&["drill", "--switch", "--for", "10s"]);
        is_over.store(true, Relaxed);
        run
    });
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(meter.lines(), [1, 2, 1]);
    assert_same(&before, &story.kernel());
    assert!(run.stderr.contains("returns by itself"), "{run:?}");
    let begins = [
        "secondary, asked as an ordinary process",
        "primary, asked as an ordinary process",
        "secondary is proven",
    ];
    let at = begins.map(|words| run.stdout.lines().position(|line| line.starts_with(words)));
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{}", run.stdout);
    for words in ["128.0.0.0/1 goes out of wan2", "2000::/3 goes out of wan2", "128.0.0.0/1 goes out of wan1"]
    {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    let answered =
        run.stdout.lines().find(|line| line.contains(&target(2, 1).to_string())).expect("a target");
    assert!(answered.contains(" of ") && answered.contains(" answered"), "{answered}");

    let history = story.succeeds(&["history"]).stdout;
    for words in [
        "drill with a switch: secondary proven",
        "switch primary -> secondary",
        "switch secondary -> primary",
    ] {
        assert!(history.contains(words), "{words}: {history}");
    }
    assert!(history.contains("forced by hand (a drill"), "{history}");
    assert_eq!(drills(&story)[0]["with_switch"], true);
    assert!(told_proof(&story).starts_with("proven "));
}

pub fn a_drill_that_is_killed_ends_by_itself() {
    let story = Story::of_two_links();
    story.check();
    // Not SIGINT: whoever is started in the background by a shell inherits that it is ignored (bash(1), SIGNALS).
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut drill = under_way(&story, "60s");
        kill(Pid::from_raw(drill.id() as i32), signal).expect("it runs");
        drill.wait().expect("it ends");
        story.check();
        assert_eq!(story.active(), "secondary", "its time is not over");
        story.let_pass(Duration::from_secs(90));
        story.check();
        assert_eq!(story.active(), "primary", "{signal}");
    }
    assert!(drills(&story).is_empty());
    assert_eq!(told_proof(&story), "never proven (`wanfo drill`)");
}

pub fn a_backup_that_dies_in_a_drill_is_left() {
    let story = Story::of_two_links();
    story.check();
    let drill = under_way(&story, "10s");
    story.cut_silently(2);
    let run = Run::from(drill.wait_with_output().expect("it ends"));
    assert_not_proven(&run, "nothing was heard of it for ");
    assert!(
        run.stdout.contains("primary, asked as an ordinary process, while the traffic is back on it"),
        "{run:?}"
    );
    assert_eq!(story.active(), "primary");
    story.assert_served_over(1, SERVICE);
    assert_eq!(drills(&story)[0]["proven"], false);
}

pub fn a_run_that_leaves_the_backup_in_the_middle_of_a_drill_is_told_as_what_it_is() {
    let story = Story::of_two_links();
    story.check();
    let drill = under_way(&story, "10s");
    story.pull_cable(2);
    story.check();
    assert_eq!(story.active(), "primary");
    let run = Run::from(drill.wait_with_output().expect("it ends"));
    assert_not_proven(
        &run,
        "the traffic was moved to primary meanwhile: secondary is down: interface wan2 has no carrier",
    );
}

/// It is the admin's from then on.
pub fn who_takes_the_traffic_in_hand_in_a_drill_keeps_it() {
    let links = two_links(["", ""]).into_iter().chain([link(3, "third", "")]);
    let story = Story::begin(3, &config(&links.collect::<Vec<_>>(), &[PROBE]));
    story.check();
    for (words, active) in [
        (&["force-failover", "--hold"][..], "secondary"),
        (&["force-failover", "--for", "30m"], "secondary"),
        (&["force-failover", "--to", "third", "--hold"], "third"),
    ] {
        let drill = under_way(&story, "10s");
        story.succeeds(words);
        let before = story.status()["next_switch_after"].clone();
        let run = Run::from(drill.wait_with_output().expect("it ends"));
        assert!(run.stderr.contains("was moved or held otherwise in the middle of the drill"), "{run:?}");
        let status = story.status();
        assert_eq!(
            (&status["active"], &status["hold"]),
            (&active.into(), &true.into()),
            "{words:?}: {run:?}"
        );
        assert_eq!(status["next_switch_after"], before, "{words:?}");
        story.succeeds(&["failback", "--now"]);
    }
}

pub fn traffic_that_goes_elsewhere_is_no_proof() {
    let story = Story::of_two_links();
    story.check();
    // Behind the pins and before the main table.
    story.router.ip("rule add priority 600 lookup 5301");
    let run = story.wanfo(&["drill", "--switch", "--for", "10s"]);
    assert_not_proven(
        &run,
        "the default traffic goes elsewhere: the kernel sends 0.0.0.0/1, 128.0.0.0/1 out of wan1",
    );
    assert_eq!(story.active(), "primary");
    // What the last run knows already is no beginning.
    story.router.ip("rule add priority 599 lookup 5302");
    story.check();
    let run = story.wanfo(&["drill", "--switch", "--for", "10s"]);
    assert_not_proven(&run, "not switched: primary: the default traffic goes elsewhere");
}

pub fn the_way_back_that_the_exit_script_refuses_is_told() {
    let story = Story::of_two_links();
    let script = story.path("exit");
    fs::write(&script, format!("#!/bin/sh\ntest -e {}\n", story.path("yes").display())).expect("a script");
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("the file is ours");
    let exit_script = format!("exit_script: {}", script.display());
    story.configure(&config(&two_links(["", ""]), &[PROBE, &exit_script]));
    story.check();
    let run = story.wanfo(&["drill", "--switch", "--for", "10s"]);
    assert_not_proven(&run, "the return failed: staying on secondary: the exit script");
    assert_eq!(story.active(), "secondary");
    fs::write(story.path("yes"), "").expect("the lab takes a file");
    story.let_pass(Duration::from_secs(40));
    story.check_until_active("primary");
}

pub fn nobody_is_moved_in_a_delay_or_while_a_link_is_down() {
    let links = [link(1, "primary", "delay: 10m"), link(2, "secondary", ""), link(3, "tertiary", "")];
    let story = Story::begin(3, &config(&links, &[PROBE]));
    let refused = |why: &str| {
        let meter = story.meter(SERVICE);
        let active = story.active();
        let run = story.wanfo(&["drill", "--switch", "--for", "10s"]);
        assert_not_proven(&run, &format!("not switched: {why}"));
        assert_eq!(story.active(), active);
        assert!(meter.lines().len() < 2);
    };
    let run = story.wanfo(&["drill", "--switch"]);
    assert_not_proven(&run, "nothing is known of the links yet: run `wanfo check` first");
    story.check();
    story.succeeds(&["force-failover"]);
    refused("secondary carries the traffic");
    story.succeeds(&["failback"]);
    refused("the delay of primary lasts for ");
    story.let_pass(Duration::from_secs(600));
    story.pull_cable(3);
    story.check();
    refused("tertiary is down; `--anyway` switches all the same");
    story.succeeds(&["drill", "--switch", "--for", "10s", "--anyway"]);
    story.let_pass(Duration::from_secs(1200));
    refused("the last run is too long ago");
}

pub fn what_is_no_drill_is_refused() {
    let links = [link(1, "primary", ""), link(2, "secondary", "routes_only: true, routes: [203.0.113.0/28]")];
    let story = Story::begin(2, &config(&links, &[PROBE]));
    story.check();
    for (arguments, code, words) in [
        (
            &["drill", "tertiary"][..],
            2,
            "there is no link \"tertiary\" in the config; it has primary, secondary",
        ),
        (&["drill", "--for", "1m"], 2, "--switch"),
        (&["drill", "--anyway"], 2, "--switch"),
        (&["drill", "--switch", "--for", "9s"], 2, "it has to be 10s to 1h"),
        (&["drill", "--switch", "--for", "61m"], 2, "it has to be 10s to 1h"),
        (&["drill", "--switch", "primary"], 2, "primary is the preferred link"),
        (&["drill", "--switch", "secondary"], 2, "no default traffic goes over secondary"),
        (&["drill"], 1, "there is no backup that may carry the default traffic"),
    ] {
        let run = story.wanfo(arguments);
        assert!(run.code == code && run.stderr.contains(words), "{arguments:?}: {run:?}");
    }
    assert!(drills(&story).is_empty());
    // A link that is named need not be a backup, and `--mail` without anybody to tell is no reason to do nothing.
    let run = story.succeeds(&["drill", "secondary", "--mail"]);
    assert!(run.stderr.contains("the config has no `notify`"), "{run:?}");
}
