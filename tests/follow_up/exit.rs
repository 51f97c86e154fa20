//! The exit script, which may object to a failback.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::*;
use crate::story::{PROBE, Story, config, link, two_links};

/// Notes when it is asked, in seconds since boot, and with what; answers as the file says.
const ASKED: &str = r#"
read now rest </proc/uptime
printf '%s|' $now "$@" >>HERE/asks
echo >>HERE/asks
[ ! -s HERE/slow ] || sleep 0.7
exit $(cat HERE/answer)
"#;

fn with_exit_script(story: &Story, links: &[String]) {
    let path = format!("exit_script: {}", story.path("exit").display());
    story.configure(&config(links, &[PROBE, "script_timeout: 1s", &path]));
}

fn asks(story: &Story) -> usize {
    lines(&story.path("asks")).len()
}

/// On the backup, after an outage of the primary that has ended; the exit script was not asked yet.
fn ready_to_fail_back(story: &Story) {
    story.check();
    story.pull_cable(1);
    story.check();
    assert_eq!(story.active(), "secondary");
    story.plug_in(1);
    story.await_answer(1);
}

pub fn the_exit_script_keeps_the_backup_until_it_says_yes() {
    let story = Story::of_two_links();
    with_exit_script(&story, &two_links(["", ""]));
    script(&story, "exit", ASKED);
    fs::write(story.path("answer"), "7").unwrap();
    fs::write(story.path("slow"), "yes").unwrap();
    ready_to_fail_back(&story);
    assert_eq!(asks(&story), 0);

    let run = story.check();
    let [ask] = &lines(&story.path("asks"))[..] else { panic!("asked once: {run:?}") };
    let (first, call) = ask.split_once('|').unwrap();
    assert_eq!(call, "SECONDARY_EXIT|wan1|192.0.2.1|wan2|192.0.2.17|2001:db8:2::1|");
    let why = "says not now (exit code 7)";
    assert!(run.stderr.contains(why), "it is said: {run:?}");
    let answered = Instant::now();
    for _ in 0..3 {
        let run = story.check();
        assert_eq!(run.stderr, "", "and said once");
    }
    // The primary is not good for a moment, which is no news for the script.
    story.silence(1, lab::target(1, 1));
    story.check();
    story.end_silence(1, lab::target(1, 1));
    story.check_until("a primary that is up", |status| status["links"][0]["up"] == true);
    assert_eq!((asks(&story), story.active().as_str()), (1, "secondary"));
    assert!(text(&story.status()["veto"]).contains(why), "{}", story.status());
    let page = story.succeeds(&["status"]).stdout;
    assert!(page.contains(why), "{page}");

    fs::write(story.path("answer"), "0").unwrap();
    fs::write(story.path("slow"), "").unwrap();
    sleep(Duration::from_millis(9200).saturating_sub(answered.elapsed()));
    while asks(&story) == 1 {
        assert_eq!(story.active(), "secondary");
        assert!(answered.elapsed() < Duration::from_secs(14), "it was not asked again");
        story.check();
        sleep(Duration::from_millis(50));
    }
    let second = lines(&story.path("asks"))[1].split_once('|').unwrap().0.to_owned();
    let seconds = |text: &str| -> f64 { text.parse().unwrap() };
    let between = seconds(&second) - seconds(first) - 0.7;
    assert!((9.98..11.5).contains(&between), "asked again {between} s after it had answered");
    assert_eq!(story.active(), "primary");
    assert!(story.status()["veto"].is_null());
    assert_carried_by(&story, 1);
}

pub fn an_exit_script_that_cannot_be_asked_is_a_no() {
    let story = Story::of_two_links();
    with_exit_script(&story, &two_links(["", ""]));
    ready_to_fail_back(&story);
    let run = story.check();
    for words in ["No such file or directory", "staying on secondary"] {
        assert!(run.stderr.contains(words), "{words:?} is not in {run:?}");
    }
    assert_eq!(story.active(), "secondary");
    assert!(text(&story.status()["veto"]).contains("could not be asked"), "{}", story.status());

    // By hand it is asked at once, and again.
    let exit = story.path("exit");
    let cases: [(&dyn Fn(), &[&str]); 4] = [
        (&|| drop(script(&story, "exit", "exit 9")), &["says not now (exit code 9)"]),
        (&|| drop(script(&story, "exit", "sleep 1000")), &["killed after 1s", "staying on secondary"]),
        (&|| chmod(&exit, 0o644), &["it is not executable", "staying on secondary"]),
        (&|| chmod(&exit, 0o777), &["run `chmod go-w", "staying on secondary"]),
    ];
    for (prepare, said) in cases {
        prepare();
        let run = story.wanfo(&["failback"]);
        assert_eq!(run.code, 1, "{run:?}");
        for words in said.iter().chain(&["`failback --now` does not ask"]) {
            assert!(run.stderr.contains(words), "{words:?} is not in {run:?}");
        }
        assert_eq!(story.active(), "secondary");
        assert_carried_by(&story, 2);
    }
    script(&story, "exit", ASKED);
    fs::write(story.path("answer"), "1").unwrap();
    assert_eq!(story.wanfo(&["failback"]).code, 1);
    assert_eq!(asks(&story), 1);
    story.succeeds(&["failback", "--now"]);
    assert_eq!((asks(&story), story.active().as_str()), (1, "primary"));
    assert_carried_by(&story, 1);
    assert!(story.status()["veto"].is_null());
}

pub fn nobody_is_asked_before_a_failover_nor_when_the_backup_is_dead() {
    let links = [link(1, "primary", ""), link(2, "secondary", ""), link(3, "tertiary", "")];
    let story = Story::begin(3, &config(&links, &[PROBE]));
    with_exit_script(&story, &links);
    script(&story, "exit", ASKED);
    fs::write(story.path("answer"), "1").unwrap();
    story.check();
    story.pull_cable(1);
    story.check();
    assert_eq!(story.active(), "secondary");
    story.pull_cable(2);
    story.check();
    assert_eq!(story.active(), "tertiary", "from a dead backup to another one");
    story.succeeds(&["force-failover", "--to", "tertiary", "--hold"]);
    story.pull_cable(3);
    story.plug_in(1);
    story.check_until_active("primary");
    story.plug_in(2);
    story.check_until("a backup that is up", |status| status["links"][1]["up"] == true);
    story.succeeds(&["force-failover", "--to", "secondary"]);
    assert_eq!(asks(&story), 0);
    // And the primary is there, and the backup too.
    story.check();
    assert_eq!((asks(&story), story.active().as_str()), (1, "secondary"));
}
