//! The link script, which `wanfo deliver` runs.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::*;
use crate::story::{PROBE, Story, config, two_links};

/// Notes its beginning, what it is told, and its end.
const NOTES: &str = "echo \"$*\" >>HERE/calls\nenv | grep -v ^_= | sort >HERE/told\necho \"says $1\"";

fn with_link_script(body: &str, more: &[&str]) -> Story {
    let story = Story::of_two_links();
    let key = format!("script_timeout: 2s\nlink_script: {}", story.path("link").display());
    story.configure(&config(&two_links(["", ""]), &[&[PROBE, &key], more].concat()));
    script(&story, "link", body);
    story.check();
    story
}

fn calls(story: &Story) -> Vec<String> {
    lines(&story.path("calls"))
}

fn await_up(story: &Story, index: usize) {
    story.check_until("a link that is up", |status| status["links"][index]["up"] == true);
}

fn begin_delivery(story: &Story) -> Child {
    story.wanfo_command(&["deliver"]).stderr(Stdio::null()).spawn().expect("wanfo starts")
}

fn await_calls(story: &Story, count: usize) {
    let start = Instant::now();
    while calls(story).len() < count {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", calls(story));
        sleep(Duration::from_millis(20));
    }
}

pub fn the_link_script_hears_of_every_change_once() {
    let story = with_link_script(NOTES, &[]);
    assert_eq!(story.wanfo(&["deliver"]).code, 0);
    assert!(calls(&story).is_empty() && !story.path("run/deliver").exists());
    story.pull_cable(2);
    story.check();
    assert!(calls(&story).is_empty(), "the run has not run it");
    assert!(story.path("run/deliver").exists(), "it has called for somebody who does");
    let run = story.wanfo(&["deliver"]);
    assert!(run.code == 0 && run.stderr.contains("link: says DOWN"), "{run:?}");
    assert!(run.stderr.contains("DOWN secondary wan2 192.0.2.17: exit code 0"), "{run:?}");
    let told = lines(&story.path("told"));
    for words in [
        "HOME=/root",
        "WANFO_LINK=secondary",
        "WANFO_LINK_ADDRESSES=192.0.2.18 2001:db8:2::2",
        "WANFO_LINK_GATEWAY=192.0.2.17",
        "WANFO_LINK_INTERFACE=wan2",
        "WANFO_LINK_STATE=DOWN",
        "WANFO_REASON=interface wan2 has no carrier",
    ] {
        assert!(told.iter().any(|line| line == words), "{words} is not in {told:#?}");
    }
    story.plug_in(2);
    await_up(&story, 1);
    story.pull_cable(1);
    story.check();
    for _ in 0..2 {
        assert_eq!(story.wanfo(&["deliver"]).code, 0);
    }
    let heard =
        ["DOWN secondary wan2 192.0.2.17", "UP secondary wan2 192.0.2.17", "DOWN primary wan1 192.0.2.1"];
    assert_eq!(calls(&story), heard);
    assert_eq!(text(&story.status()["active"]), "secondary");
    // The modem is pulled with its interface, by whose name it can be reset.
    story.pull_modem(2);
    story.check();
    assert_eq!(story.wanfo(&["deliver"]).code, 0);
    assert_eq!(calls(&story)[3], "DOWN secondary wan2 ");
}

pub fn a_slow_link_script_holds_up_nobody_and_hears_the_newest() {
    let story = with_link_script("echo \"$1 $2\" >>HERE/calls\nsleep 1.5", &[]);
    story.pull_cable(2);
    story.check();
    let mut delivery = begin_delivery(&story);
    await_calls(&story, 1);
    // While it is at work: the first one up, down and up again, and another one down in between.
    story.plug_in(2);
    await_up(&story, 1);
    story.pull_cable(1);
    let start = Instant::now();
    story.check();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(text(&story.status()["active"]), "secondary");
    delivery.wait().expect("our child");

    let kept = calls(&story).len();
    script(&story, "link", NOTES);
    story.plug_in(1);
    await_up(&story, 0);
    story.pull_cable(1);
    story.check();
    assert_eq!(story.wanfo(&["deliver"]).code, 0);
    let last: Vec<String> = calls(&story)[kept..].to_vec();
    assert!(
        last.iter().filter(|call| call.contains("primary")).eq(["DOWN primary wan1 192.0.2.1"]),
        "{last:?}"
    );
}

/// A sendmail program that takes its time.
pub fn a_mail_that_hangs_holds_up_no_redial_and_a_redial_no_mail() {
    let story = Story::of_two_links();
    let sendmail = script(&story, "sendmail", "cat >/dev/null\nsleep 3\necho mail >>HERE/calls");
    let notify = format!(
        "notify: {{to: [a@example.com], from: b@example.com, sendmail: {}}}\nscript_timeout: 9s\nlink_script: {}",
        sendmail.display(),
        story.path("link").display()
    );
    story.configure(&config(&two_links(["", ""]), &[PROBE, &notify]));
    script(&story, "link", "echo \"$1 $2\" >>HERE/calls");
    story.check();
    story.pull_cable(2);
    story.check();
    let mut delivery = begin_delivery(&story);
    await_calls(&story, 1);
    story.plug_in(2);
    await_up(&story, 1);
    delivery.wait().expect("our child");
    assert_eq!(calls(&story), ["DOWN secondary", "UP secondary", "mail"]);

    script(&story, "sendmail", "cat >/dev/null\necho mail >>HERE/calls");
    script(&story, "link", "sleep 2\necho \"$1 $2\" >>HERE/calls");
    story.pull_cable(1);
    story.check();
    assert_eq!(story.wanfo(&["deliver"]).code, 0);
    assert_eq!(calls(&story)[3..], ["mail", "DOWN primary"]);
}

pub fn the_guards_of_the_link_script_are_those_of_the_others() {
    let story = with_link_script(NOTES, &[]);
    let path = story.path("link");
    let change = |index: usize| {
        story.plug_in(2);
        await_up(&story, index);
        story.wanfo(&["deliver"]);
        fs::remove_file(story.path("calls")).expect("it was called");
        story.pull_cable(2);
        story.check();
    };
    story.pull_cable(2);
    story.check();
    chmod(&path, 0o777);
    for run in [story.wanfo(&["config"]), story.wanfo(&["deliver"])] {
        assert!(run.code == 1 && run.stderr.contains("run `chmod go-w"), "{run:?}");
    }
    story.check();
    assert!(story.problems().contains("no change of a link is told to the link script"));
    assert!(calls(&story).is_empty() && spool(&story).is_empty(), "trying again helps nobody");

    // Nothing that it has started outlives its time.
    script(&story, "link", NOTES);
    change(1);
    script(&story, "link", "echo here >>HERE/calls\n(sleep 5; echo still here >>HERE/calls) &\nsleep 60");
    let start = Instant::now();
    let run = story.wanfo(&["deliver"]);
    assert!(run.code == 0 && run.stderr.contains("killed after 2s"), "{run:?}");
    assert!(start.elapsed() < Duration::from_secs(6));
    sleep(Duration::from_secs(4));
    assert_eq!(calls(&story), ["here"]);

    // Somebody writes it just now: three starts, with pauses between them.
    script(&story, "link", NOTES);
    change(1);
    let busy = fs::OpenOptions::new().append(true).open(&path).expect("the script is ours");
    for left in [1, 1, 0] {
        assert_eq!(spool(&story).len(), 1);
        let run = story.wanfo(&["deliver"]);
        assert!(run.code == 1 && run.stderr.contains("open for writing"), "{run:?}");
        assert_eq!(spool(&story).len(), left);
        assert_eq!(story.wanfo(&["deliver"]).code, 0, "its pause runs");
        edit_spool(&story, |call| call["next_attempt"] = Value::Null);
    }
    drop(busy);
    assert!(calls(&story).is_empty());
}

fn edit_spool(story: &Story, edit: impl Fn(&mut Value)) {
    for mut message in spool(story) {
        edit(&mut message);
        let path = story.path(&format!("state/spool/{}.json", text(&message["id"])));
        fs::write(path, message.to_string()).expect("the spool is ours");
    }
}

pub fn what_is_no_news_is_told_to_no_link_script() {
    let story = with_link_script(NOTES, &[]);
    story.pull_cable(2);
    story.check();
    edit_spool(&story, |call| call["call"]["boot_id"] = "another".into());
    assert_eq!(story.wanfo(&["deliver"]).code, 0);
    assert!(calls(&story).is_empty() && spool(&story).is_empty());

    // In the midst of a delivery that was killed it is called once more.
    story.plug_in(2);
    await_up(&story, 1);
    script(&story, "link", "echo \"$1\" >>HERE/calls\nsleep 60");
    let mut delivery = begin_delivery(&story);
    await_calls(&story, 1);
    delivery.kill().expect("our child");
    delivery.wait().expect("our child");
    script(&story, "link", NOTES);
    assert_eq!(story.wanfo(&["deliver"]).code, 0);
    assert_eq!(calls(&story), ["UP"], "not at once");
    edit_spool(&story, |call| call["next_attempt"] = Value::Null);
    assert_eq!(story.wanfo(&["deliver"]).code, 0);
    assert_eq!(calls(&story), ["UP", "UP secondary wan2 192.0.2.17"]);

    // Nobody wants to hear of it any more, but for the mails.
    story.pull_cable(2);
    story.check();
    story.configure(&config(
        &two_links(["", ""]),
        &[PROBE, "notify: {to: [a@example.com], from: b@example.com, sendmail: /bin/true}"],
    ));
    assert_eq!(story.wanfo(&["deliver"]).code, 0);
    assert!(spool(&story).is_empty());
    assert_eq!(calls(&story).len(), 2);
}

pub fn of_the_sandbox_the_delivery_tells() {
    let story = with_link_script(NOTES, &[]);
    let sandboxed = |unit: &str| {
        let mut command = story.wanfo_command(&["deliver"]);
        command.env("WANFO_SANDBOX", super::action::set_by(unit, "WANFO_SANDBOX"));
        let output = command.output().expect("wanfo starts");
        String::from_utf8_lossy(&output.stderr).contains("action-script.conf")
    };
    story.pull_cable(2);
    story.check();
    assert!(sandboxed("wanfo-deliver.service"));
    story.plug_in(2);
    await_up(&story, 1);
    assert!(!sandboxed("action-script.conf"));
    assert_eq!(calls(&story).len(), 2);
    // Whatever the delivery's unit forbids the drop-in allows.
    let unit = |name: &str| {
        let path = format!("{}/systemd/{name}", env!("CARGO_MANIFEST_DIR"));
        fs::read_to_string(path).expect("a unit")
    };
    let drop_in = unit("action-script.conf");
    let service = unit("wanfo-deliver.service");
    let sandbox = service.split_once("Environment=WANFO_SANDBOX").expect("where the sandbox begins").1;
    let directives = sandbox.lines().skip(1).filter(|line| !line.starts_with('#'));
    for line in directives.filter(|line| !line.starts_with("SystemCallErrorNumber")) {
        let key = format!("\n{}=", line.split('=').next().expect("a key"));
        assert!(drop_in.contains(&key), "{line}");
    }
}
