//! What waits in the spool, and what is done to it there.

use std::fs::File;
use std::time::SystemTime;

use nix::mount::{MsFlags, mount};
use wanfo::core::spool::Outlook;

use super::*;

/// Reading it fails with EIO: nothing is at address 0 of a process (proc_pid_mem(5)).
fn break_file(path: &Path) {
    let memory = format!("/proc/{}/mem", std::process::id());
    mount(Some(memory.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

pub fn a_disk_that_fails_costs_no_mail() {
    let lab = lab_with(&[NOC], "tls: none");
    let relay = Relay::start(&lab, json!({}));
    put(&lab, "m1", "Down");
    put(&lab, "m2", "Up");
    let path = lab.path("state/spool/m1.json");
    break_file(&path);
    let run = deliver(&lab);
    assert_failed(&run, "m1.json waits, but cannot be read: Input/output error");
    assert_eq!((relay.mails().len(), pending(&lab)), (1, 1), "{}", run.stderr);
    assert!(!lab.path("state/spool/failed").exists());

    // `check` has it tried again, but not by each run.
    fs::create_dir_all(lab.path("run")).unwrap();
    let mut outlook = Outlook::default();
    let hour = jiff::SignedDuration::from_secs(3600);
    let mut is_called = |seconds: i64| {
        let _ = fs::remove_file(lab.path("run/deliver"));
        let now = Timestamp::now() + hour + jiff::SignedDuration::from_secs(seconds);
        spool(&lab).wake_if_due(&lab.path("run"), &mut outlook, now).unwrap();
        lab.path("run/deliver").exists()
    };
    assert_eq!([0, 29, 31, 33, 62].map(&mut is_called), [false, false, true, false, true]);
    // Another story's child may have it open until its exec.
    nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH).unwrap();
    assert_done(&deliver(&lab));
    assert_eq!((relay.mails().len(), pending(&lab)), (2, 0));
}

pub fn a_spool_that_others_can_write_is_left_alone() {
    for name in ["state", "state/spool"] {
        let lab = lab_with(&[NOC], "tls: none");
        let relay = Relay::start(&lab, json!({}));
        put(&lab, "one", "Down");
        let set = |mode| fs::set_permissions(lab.path(name), PermissionsExt::from_mode(mode)).unwrap();
        set(0o777);
        assert_failed(&deliver(&lab), "everybody");
        let message = Message { topic: None, ..read(&lab, "one") };
        assert!(spool(&lab).put(&Message { id: "two".to_owned(), ..message }).is_err());
        assert_eq!((relay.mails().len(), pending(&lab)), (0, 1));
        set(0o755);
        assert_done(&deliver(&lab));
    }
}

fn read(lab: &Lab, id: &str) -> Message {
    let text = fs::read_to_string(lab.path(&format!("state/spool/{id}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// One of the messages about a backup.
fn put_standby(lab: &Lab, link: &str, number: i64) {
    let at = Timestamp::now() + jiff::SignedDuration::from_secs(number);
    let id = format!("0-{number}-standby-{link}");
    let subject = format!("{link} event {number}.");
    let text = format!("evidence {number} of {link}\n");
    let topic = Some(format!("standby-{link}"));
    let message = Message { id, at, subject, text, topic, call: None };
    spool(lab).put(&message).unwrap();
    // As a run does that was killed before it wrote down that it had.
    spool(lab).put(&message).unwrap();
}

pub fn a_backup_that_flaps_writes_few_mails() {
    let lab = lab_with(&[NOC], "tls: none");
    let relay = Relay::start(&lab, json!({}));
    put_standby(&lab, "lte", 1);
    assert_done(&deliver(&lab));
    assert_eq!(relay.mails().len(), 1, "the first is told at once");
    for number in 2..8 {
        put_standby(&lab, "lte", number);
        assert_done(&deliver(&lab));
    }
    assert_eq!((relay.mails().len(), pending(&lab)), (1, 1), "the others wait for each other");
    // Another link, and a switch, wait for nobody.
    put_standby(&lab, "lte-2", 8);
    put(&lab, "m9", "Down");
    assert_done(&deliver(&lab));
    assert_eq!((relay.mails().len(), pending(&lab)), (2, 1));

    let waiting: Value = serde_json::from_str(&fs::read_to_string(&spooled(&lab)[0]).unwrap()).unwrap();
    let next: Timestamp = waiting["next_attempt"].as_str().unwrap().parse().unwrap();
    let minutes = next.duration_since(Timestamp::now()).as_secs_f64() / 60.0;
    assert!((9.0..10.1).contains(&minutes), "in {minutes} minutes");
    make_due(&lab);
    assert_done(&deliver(&lab));
    let mail = relay.contents().pop().unwrap();
    assert!(mail.contains("Subject: lte event 7. (and 5 before)\r\n"), "{mail}");
    for number in 2..8 {
        assert_eq!(mail.matches(&format!("evidence {number} of lte\r\n")).count(), 1, "{mail}");
    }

    // A relay that is down gets one mail as well.
    drop(relay);
    for trace in fs::read_dir(lab.path("state/spool/sent")).unwrap() {
        File::open(trace.unwrap().path()).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    for number in 10..60 {
        put_standby(&lab, "lte", number);
        assert_eq!(deliver(&lab).code, i32::from(number == 10), "one attempt, and its pause");
    }
    assert_eq!(pending(&lab), 1);

    // While a delivery is at work its mail is left alone.
    make_due(&lab);
    let address = (lab::target(1, 1), PORT);
    let silent = lab.internet.run(move || TcpListener::bind(address)).unwrap();
    let mut hanging = lab.wanfo_command(&["deliver"]).stderr(Stdio::null()).spawn().unwrap();
    let _connection = silent.accept().unwrap();
    put_standby(&lab, "lte", 60);
    assert_eq!(pending(&lab), 2);
    hanging.kill().unwrap();
    hanging.wait().unwrap();
    drop(silent);
    let relay = Relay::start(&lab, json!({}));
    make_due(&lab);
    assert_done(&deliver(&lab));
    let [mail] = &relay.contents()[3..] else { panic!("{:?}", relay.contents()) };
    assert!(mail.contains("evidence 60 of lte") && mail.contains("evidence 59 of lte"), "{mail}");
}

pub fn a_full_spool_drops_the_oldest() {
    let lab = lab_with(&[NOC], "tls: none");
    let message = |number: i64, text: &str| Message {
        id: format!("m{number}"),
        at: Timestamp::from_second(1_795_000_000 + number).unwrap(),
        subject: "Down".to_owned(),
        text: text.to_owned(),
        topic: None,
        call: None,
    };
    for number in 0..600 {
        spool(&lab).put(&message(number, "evidence\n")).unwrap();
    }
    assert!((300..=500).contains(&pending(&lab)), "{}", pending(&lab));
    let is_there = |number: i64| lab.path(&format!("state/spool/m{number}.json")).exists();
    assert!(!is_there(0) && (300..600).all(is_there));

    let text = "x".repeat(1 << 20);
    for number in 600..900 {
        spool(&lab).put(&message(number, &text)).unwrap();
    }
    let bytes: u64 = spooled(&lab).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= 4 << 20 && (880..900).all(is_there), "{bytes}");

    // One that was filled before is dealt with as well.
    let one = fs::read_to_string(lab.path("state/spool/m899.json")).unwrap().replace(&text[..32768], "");
    for number in 1000..3000 {
        let text = one.replace("m899", &format!("m{number}"));
        fs::write(lab.path(&format!("state/spool/m{number}.json")), text).unwrap();
    }
    let run = deliver(&lab);
    assert_failed(&run, "oldest are dropped");
    assert_eq!(run.stderr.matches("oldest are dropped").count(), 1);
    assert!(pending(&lab) <= 500);
}

pub fn a_spool_that_nobody_changed_is_not_read() {
    let lab = lab_with(&[NOC], "tls: none");
    put(&lab, "m1", "Down");
    assert_failed(&deliver(&lab), "refused");
    fs::create_dir_all(lab.path("run")).unwrap();
    let directory = lab.path("state/spool");
    let age = || File::open(&directory).unwrap().set_modified(SystemTime::now() - Duration::from_secs(60));
    let now = Timestamp::now();
    let mut outlook = Outlook::default();
    let mut look = |now: Timestamp| {
        let _ = fs::remove_file(lab.path("run/deliver"));
        spool(&lab).wake_if_due(&lab.path("run"), &mut outlook, now).unwrap();
        (outlook.pending, lab.path("run/deliver").exists())
    };
    age().unwrap();
    assert_eq!(look(now), (1, false));
    // Were it read, it would be found to be damaged, which calls for `deliver`.
    let path = &spooled(&lab)[0];
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, "damaged").unwrap();
    assert_eq!(look(now), (1, false));
    fs::write(path, text).unwrap();
    assert_eq!(look(now + jiff::SignedDuration::from_secs(31)), (1, true));
    // A clock that was set back by years holds nothing back.
    assert_eq!(look(now - jiff::SignedDuration::from_hours(24 * 365)), (1, true));
    assert_eq!(look(now), (1, false));
    put(&lab, "m2", "Up");
    assert_eq!(look(now), (2, true));
}

pub fn a_password_that_is_no_file() {
    let lab = lab_with(&[NOC], "tls: none");
    certify(&lab);
    let options = json!({"tls": "tls", "certificate": lab.path("relay.pem"), "key": lab.path("relay.key"),
                         "username": "router", "password": "hunter2"});
    let _relay = Relay::start(&lab, options);
    let pipe = lab.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (pipe, ca) = (pipe.display(), lab.path("ca.pem"));
    let (relay, ca) = (relay_address(), ca.display());
    for keys in [
        format!("ca_file: {ca}, username: router, password_file: {pipe}"),
        format!("ca_file: {pipe}"),
        "ca_file: /dev/zero".to_owned(),
    ] {
        configure(&lab, &[NOC], &format!("smtp: {{host: {relay}, port: {PORT}, tls: tls, {keys}}}"));
        assert_failed(&lab.wanfo(&["deliver", "--test"]), "it is no regular file");
    }
}

pub fn why_a_message_waits_is_told_to_whoever_asks() {
    let lab = lab_with(&[NOC], "tls: none");
    put(&lab, "one", "Down");
    assert_failed(&deliver(&lab), "onnection refused");
    let run = lab.wanfo(&["deliver", "-v"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for words in ["\"Down\" is sent in ", "noc@example.com could not be told: ", "onnection refused"] {
        assert!(run.stderr.contains(words), "{words:?} is not in: {}", run.stderr);
    }
    // Nor does it go without saying where it is told once.
    assert_done(&deliver(&lab));
}

/// Nothing is left that would have `deliver` started by every run, for ever.
pub fn what_waits_is_set_aside_where_nobody_is_told_any_more() {
    let lab = lab_with(&[NOC], "tls: none");
    put(&lab, "one", "Down");
    fs::write(lab.path("state/spool/torn.json"), "{").unwrap();
    lab.configure(
        "links: [{name: primary, interface: wan1}, {name: backup, interface: wan2}]\nlink_script: /bin/true",
    );
    let run = deliver(&lab);
    assert_eq!((run.code, pending(&lab)), (0, 0), "{}", run.stderr);
    assert!(set_aside(&lab, "one").contains("no `notify`"));
    assert!(lab.path("state/spool/failed/torn.json").exists());
}
