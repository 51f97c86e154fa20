//! Mails, as they lie in the spool.

use std::fs;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;
use serde_json::json;

use super::*;
use crate::story::{PROBE, Story, config, link, two_links};

pub fn every_switch_is_one_mail_with_the_evidence() {
    let story = Story::begin(2, &config(&two_links(["", ""]), &[PROBE, NOTIFY]));
    story.check();
    assert!(!story.path("state/spool").exists(), "nothing has happened yet");
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.check();
    let host = host();
    let failed = format!("Primary WAN link failed on '{host}'. Switched to secondary link.");
    let [mail] = &spool(&story)[..] else { panic!("one mail: {:?}", subjects(&story)) };
    assert_evidence(
        mail,
        &failed,
        &[
            "Why:    primary is down: no reply from 198.51.100.11",
            "From:   primary, wan1, gateway 192.0.2.1, gateway 2001:db8:1::1, address 192.0.2.2, address 2001:db8:1::2",
            "To:     secondary, wan2, gateway 192.0.2.17,",
            "primary: 198.51.100.11 no reply",
            "secondary: 198.51.100.21 answered in ",
            "default via 192.0.2.1 dev wan1 metric 100",
            "default via 192.0.2.17 dev wan2 metric 200",
            "0.0.0.0/1 via 192.0.2.17 dev wan2",
            "128.0.0.0/1 via 192.0.2.17 dev wan2",
            "2000::/3 via 2001:db8:2::1 dev wan2",
        ],
    );
    assert!(!text(&mail["text"]).contains("Outage:"));

    story.repair(1);
    story.check_until_active("primary");
    story.check();
    let [_, mail] = &spool(&story)[..] else { panic!("two mails: {:?}", subjects(&story)) };
    let back = format!("Primary WAN link OK on '{host}'. Switched back to primary link.");
    let evidence = [
        "Why:    primary is up",
        "Outage: primary was out for ",
        "From:   secondary, wan2,",
        "To:     primary, wan1,",
        "primary: 198.51.100.11 answered in ",
        "default via 192.0.2.17 dev wan2 metric 200",
    ];
    assert_evidence(mail, &back, &evidence);
    assert!(!text(&mail["text"]).contains("0.0.0.0/1"), "the override routes are gone: {mail}");
    assert!(spool(&story).iter().all(|mail| mail["attempts"] == 0));

    // A switch by hand is told as such.
    story.succeeds(&["force-failover", "--hold"]);
    let by_hand = format!("Primary WAN link left by hand on '{host}'. Switched to secondary link.");
    assert_eq!(subjects(&story), [failed, back, by_hand]);
}

#[track_caller]
fn assert_evidence(mail: &Value, subject: &str, words: &[&str]) {
    assert_eq!(mail["subject"], subject);
    let page = text(&mail["text"]);
    assert_eq!(page.lines().next(), Some(subject));
    for words in words {
        assert!(page.contains(words), "{words:?} is not in:\n{page}");
    }
    let when = page.lines().find_map(|line| line.strip_prefix("When:   ")).expect("the time");
    let (when, zone) = when.split_once(" (").expect("the zone's name");
    assert!(zone.ends_with(')') && zone.len() > 1, "{zone}");
    let when = Timestamp::strptime("%Y-%m-%d %H:%M:%S %:z", when).expect("a time with its zone");
    let at: Timestamp = text(&mail["at"]).parse().expect("a time");
    assert_eq!(when.as_second(), at.as_second());
    assert!(at.duration_until(Timestamp::now()).as_secs() < 30, "{at}");
}

pub fn only_the_events_that_are_wanted_are_mailed() {
    let host = host();
    let down = format!("Standby WAN link secondary failed on '{host}'.");
    let up = format!("Standby WAN link secondary OK again on '{host}'.");
    let there = format!("Primary WAN link left by hand on '{host}'. Switched to secondary link.");
    let back = format!("Primary WAN link OK on '{host}'. Switched back to primary link.");
    // The second of the two goes with the first, which nobody has fetched yet.
    for (events, expected) in [
        ("switch", vec![&there, &back]),
        ("standby", vec![&up]),
        ("switch, standby", vec![&up, &there, &back]),
    ] {
        let notify = NOTIFY.replace("{to", &format!("{{events: [{events}], to"));
        let links = two_links(["delay: 1h", "delay: 1h"]);
        let story = Story::begin(2, &config(&links, &[PROBE, &notify]));
        story.check();
        story.pull_cable(2);
        story.check();
        story.check();
        story.plug_in(2);
        story.check_until("a backup that is up", |status| status["links"][1]["up"] == true);
        story.check();
        story.succeeds(&["force-failover"]);
        // The primary waits now, and is nobody's standby line.
        story.pull_cable(1);
        story.check();
        story.plug_in(1);
        story.check_until("a primary that is up", |status| status["links"][0]["up"] == true);
        story.succeeds(&["failback"]);
        story.check();
        assert_eq!(subjects(&story).iter().collect::<Vec<_>>(), expected, "{events}");
        if let Some(mail) = spool(&story).iter().find(|mail| mail["subject"] == up.as_str()) {
            assert_eq!(mail["earlier"][0]["subject"], down.as_str());
            let page = text(&mail["earlier"][0]["text"]);
            for words in
                ["Why:  interface wan2 has no carrier", "The traffic goes over primary as before.", "When: "]
            {
                assert!(page.contains(words), "{words:?} is not in:\n{page}");
            }
        }
    }
}

pub fn without_notify_there_is_no_spool() {
    let story = Story::of_two_links();
    story.check();
    story.pull_cable(1);
    story.check();
    story.plug_in(1);
    story.check_until_active("primary");
    story.pull_cable(2);
    story.check();
    assert!(story.path("state/history.jsonl").exists());
    assert!(!story.path("state/spool").exists() && !story.path("run/deliver").exists());
    assert_eq!(story.status()["notifications_pending"], 0);
}

pub fn a_link_name_may_have_every_letter_that_the_config_allows() {
    let name = "lte_1-of_the_NEIGHBOUR_overthere";
    assert_eq!(name.len(), 32, "the longest that is allowed");
    let links = [link(1, "fibre_0", ""), link(2, name, "")];
    let story = Story::begin(2, &config(&links, &[PROBE, NOTIFY]));
    story.check();
    story.pull_cable(2);
    story.check();
    assert_eq!(subjects(&story), [format!("Standby WAN link {name} failed on '{}'.", host())]);
    assert_eq!(story.check().stderr, "");
}

pub fn a_host_name_adds_no_header() {
    let story = Story::of_two_links();
    let sendmail = script(&story, "sendmail", "cat >HERE/mail");
    let notify = NOTIFY.replace("/usr/sbin/sendmail", sendmail.to_str().unwrap());
    story.configure(&config(&two_links(["", ""]), &[PROBE, &notify]));
    story.check();
    story.pull_cable(1);
    let under_an_odd_name = |arguments: &[&str]| {
        let mut command = story.wanfo_command(arguments);
        lab::before_exec(&mut command, || {
            unshare(CloneFlags::CLONE_NEWUTS)?;
            // 64 bytes at most (uname(2)); the second line end is Unicode's.
            sethostname("gw'\r\nBcc: all@example.com\n\n.\u{2028}Cc: é\u{7f}\x1b[2J")
        });
        let run = lab::Run::from(command.output().expect("wanfo starts"));
        assert_eq!(run.code, 0, "{run:?}");
    };
    under_an_odd_name(&["check"]);
    let [mail] = &spool(&story)[..] else { panic!("one mail: {:?}", subjects(&story)) };
    let subject = text(&mail["subject"]);
    assert!(!subject.chars().any(char::is_control), "{subject:?}");
    assert!(subject.starts_with("Primary WAN link failed on 'gw'"), "{subject:?}");
    assert!(subject.ends_with("'. Switched to secondary link."), "{subject:?}");
    assert_eq!(text(&mail["text"]).lines().next(), Some(subject));

    under_an_odd_name(&["deliver"]);
    let mail = fs::read_to_string(story.path("mail")).expect("the mail was handed over");
    let mail = mail.replace("\r\n", "\n");
    let (headers, _) = mail.split_once("\n\n").expect("headers and a text");
    for line in headers.lines() {
        let name = line.split(':').next().unwrap();
        let known = ["From", "To", "Subject", "Message-ID", "Date", "Auto-Submitted", "MIME-Version"];
        let ours = known.contains(&name) || name.starts_with("Content-") || line.starts_with(' ');
        assert!(ours && line.is_ascii(), "{line:?} in {headers}");
    }
}

pub fn delivery_is_called_for_only_when_a_mail_is_due() {
    let story = Story::of_two_links();
    let sendmail = script(&story, "sendmail", "cat >/dev/null; exit $(cat HERE/answer)");
    let notify = NOTIFY.replace("/usr/sbin/sendmail", sendmail.to_str().unwrap());
    story.configure(&config(&two_links(["", ""]), &[PROBE, &notify]));
    let wake = story.path("run/deliver");
    let pending = || story.status()["notifications_pending"].as_u64().expect("a number");
    story.check();
    assert!(!wake.exists() && pending() == 0);

    story.pull_cable(1);
    story.check();
    assert_eq!(pending(), 1);
    assert!(story.succeeds(&["status"]).stdout.contains("1 message waits to be sent"));
    // Nobody has come for it yet: each run calls again.
    for _ in 0..2 {
        fs::remove_file(&wake).expect("`deliver` is called for");
        story.check();
    }
    assert!(wake.exists());

    fs::write(story.path("answer"), "75").unwrap();
    assert_eq!(story.wanfo(&["deliver"]).code, 1, "EX_TEMPFAIL (sysexits.h)");
    fs::remove_file(&wake).unwrap();
    story.check();
    assert!(!wake.exists(), "the next attempt is half a minute away");
    assert_eq!(pending(), 1);

    let [path] = &fs::read_dir(story.path("state/spool"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect::<Vec<_>>()[..]
    else {
        panic!("one mail waits")
    };
    let mut mail: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    mail["next_attempt"] = json!(Timestamp::try_from(SystemTime::now() - Duration::from_secs(1)).unwrap());
    fs::write(path, mail.to_string()).unwrap();
    story.check();
    fs::remove_file(&wake).expect("it is due again");
    fs::write(story.path("answer"), "0").unwrap();
    story.succeeds(&["deliver"]);
    story.check();
    assert!(!wake.exists() && pending() == 0);
    assert!(!story.succeeds(&["status"]).stdout.contains("to be sent"));
}
