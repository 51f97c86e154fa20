//! Mail, against real relays: aiosmtpd and exim4 in the lab's Internet, as the router sees them over line 1.

/// Relays that are none.
mod relays;
/// The spool.
mod waiting;
/// Where a POST goes in place of a mail.
mod webhook;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use libtest_mimic::Trial;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;
use serde_json::{Value, json};
use wanfo::core::spool::Message;
use wanfo::core::spool::{MOST_ATTEMPTS, Outlook};
use wanfo::system::spool::Spool;

use crate::follow_up::every_call::{Trouble, fail_at_every, kill_at_every};
use crate::lab::{self, Lab, Run};
use crate::site::wait_until;
use crate::tls::Certified;

const WANFO: &str = env!("CARGO_BIN_EXE_wanfo");
const NOC: &str = "noc@example.com";
const BOSS: &str = "boss@example.com";

pub fn trials() -> Vec<Trial> {
    trials![self::{
        a_mail_arrives_over_every_kind_of_connection,
        a_relay_that_was_down_gets_every_message_once,
        a_relay_that_hangs_holds_up_no_check,
        a_wrong_password_costs_no_mail,
        one_bad_recipient_keeps_nobody_from_his_mail,
        a_recipient_put_off_is_tried_again_alone,
        a_private_authority_must_be_named,
        nothing_is_sent_without_starttls,
        the_spool_is_for_root_only,
        a_password_that_everybody_can_read_is_refused,
        at_any_call_killed_or_failing_no_mail_is_lost,
        no_text_adds_a_header_or_a_command,
        a_test_mail_says_how_it_went,
        a_sendmail_program_takes_mails_too,
        a_damaged_message_is_set_aside_and_the_others_go,
        after_three_days_a_mail_is_given_up,
        exim_takes_mails_over_starttls_and_tls,
        exim_refuses_a_wrong_password,
        exim_puts_a_mail_off,
        exim_refuses_one_of_two_recipients,
    }, relays::{what_is_refused_to_us_costs_no_mail, a_line_without_end_takes_no_memory, a_byte_a_second_holds_up_nobody, a_byte_a_second_of_a_tls_record, what_comes_before_tls_is_not_believed_after_it, a_clock_before_1970}, waiting::{a_disk_that_fails_costs_no_mail, a_spool_that_others_can_write_is_left_alone, a_backup_that_flaps_writes_few_mails, a_full_spool_drops_the_oldest, a_spool_that_nobody_changed_is_not_read, a_password_that_is_no_file, why_a_message_waits_is_told_to_whoever_asks, what_waits_is_set_aside_where_nobody_is_told_any_more}, webhook::{
        everybody_is_told_in_his_own_words,
        a_token_stands_below_the_address,
        what_one_way_has_taken_goes_that_way_no_more,
        what_may_pass_waits_and_what_will_not_is_set_aside,
        nobody_is_followed_elsewhere,
        an_answer_without_end_takes_no_memory_and_no_time,
        one_that_hangs_costs_nobody_his_mail,
        the_address_is_told_to_nobody,
        a_file_that_is_of_no_use_is_told_before_the_night,
        a_webhook_over_tls_is_checked,
        a_relay_and_a_webhook_may_be_named,
    }]
}

/// The Python that has aiosmtpd: that of WANFO_TEST_PYTHON, else `python3`.
fn python() -> PathBuf {
    std::env::var_os("WANFO_TEST_PYTHON").map_or("python3".into(), PathBuf::from)
}

/// Ends the story where there is no aiosmtpd.
fn need_aiosmtpd() {
    static IS_THERE: LazyLock<bool> = LazyLock::new(|| {
        let output = Command::new(python()).args(["-c", "import aiosmtpd"]).output();
        output.is_ok_and(|output| output.status.success())
    });
    if !*IS_THERE {
        lab::skip(
            "there is no aiosmtpd: `python3 -m venv target/python && target/python/bin/pip install aiosmtpd`, then \
             set WANFO_TEST_PYTHON=$PWD/target/python/bin/python",
        );
    }
}

/// Ends the story where exim4 cannot run.
fn need_exim() {
    static WHY_NOT: LazyLock<Option<String>> = LazyLock::new(|| {
        // What exim4 finds in /etc: Debian's looks up its user by this name at every start, and refuses user ID 0.
        fs::write("/run/passwd", "Debian-exim:x:8:8::/:/bin/false\n").unwrap();
        fs::write("/run/group", "Debian-exim:x:8:\n").unwrap();
        let mut command = Command::new("unshare");
        lab::die_with_parent(&mut command);
        command.args(EXIM_IN_ITS_OWN_NAMESPACES).arg(exim()).args(["-C", "/dev/null", "-bV"]);
        match command.output() {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")),
            Err(error) => Some(format!("`unshare` (package util-linux) did not start: {error}")),
        }
    });
    if let Some(why) = &*WHY_NOT {
        lab::skip(&format!(
            "{} does not run: {why}; it is in Debian's exim4-daemon-light; .ci/run gets it without installing it, and \
             then WANFO_TEST_EXIM names it",
            exim().display()
        ));
    }
}

/// The program of Debian's exim4-daemon-light: that of WANFO_TEST_EXIM, else where its package puts it.
fn exim() -> PathBuf {
    std::env::var_os("WANFO_TEST_EXIM").map_or("/usr/sbin/exim4".into(), PathBuf::from)
}

/// Arguments of unshare(1), before exim4 and its own. The lab may have a single user ID, which is root in it.
/// exim4 sees that one as its own user's, finds that there is nothing to give up, and does without. As process
/// 1 it takes along, when it is killed, whatever it started.
const EXIM_IN_ITS_OWN_NAMESPACES: [&str; 7] = [
    "--mount",
    "--pid",
    "--kill-child",
    "sh",
    "-c",
    "mount --bind /run/passwd /etc/passwd && mount --bind /run/group /etc/group && \
     exec unshare --user --map-user=8 --map-group=8 \"$@\"",
    "sh",
];

/// A relay in the lab's Internet, on target 1 of line 1. Gone when dropped.
struct Relay {
    process: Child,
    mails: PathBuf,
}

const PORT: u16 = 2525;

fn relay_address() -> String {
    lab::target(1, 1).to_string()
}

impl Relay {
    fn start(lab: &Lab, mut options: Value) -> Relay {
        need_aiosmtpd();
        let mails = lab.path("mails");
        options["host"] = json!(relay_address());
        options["port"] = json!(PORT);
        options["mails"] = json!(mails);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail/relay.py");
        let mut process = lab
            .internet
            .command(python())
            .arg(script)
            .arg(options.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the relay starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the relay did not come up");
        Relay { process, mails }
    }

    /// What it took.
    fn mails(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.mails).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn contents(&self) -> Vec<String> {
        self.mails().iter().map(|mail| mail["content"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// exim4 in the same place. Gone when dropped.
struct Exim {
    process: Child,
    log: PathBuf,
    mailbox: PathBuf,
}

/// Where `Exim` has TLS from the first byte; on `PORT` it has STARTTLS.
const TLS_PORT: u16 = 4650;

impl Exim {
    /// Needs the files of `certify`.
    fn start(lab: &Lab) -> Exim {
        need_exim();
        fs::create_dir(lab.path("exim")).unwrap();
        let config = lab.path("exim.conf");
        let definitions = format!(
            "DIRECTORY = {}\nADDRESS = {}\nSTARTTLS_PORT = {PORT}\nTLS_PORT = {TLS_PORT}\nPROGRAM = {}\n",
            lab.path("").display(),
            relay_address(),
            exim().display()
        );
        fs::write(&config, definitions + include_str!("exim.conf")).unwrap();
        let mut command = lab.internet.command("unshare");
        command.args(EXIM_IN_ITS_OWN_NAMESPACES).arg(exim()).arg("-bdf").arg("-C").arg(config);
        let process = command.spawn().expect("unshare starts");
        let exim = Exim { process, log: lab.path("exim/mainlog"), mailbox: lab.path("mailbox") };
        wait_until("exim4 listens", || exim.log().contains("listening for SMTP"));
        exim
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What is in the mailbox once all that was taken is there: it says 250 first and delivers then.
    fn mails(&self) -> Vec<String> {
        let count = |words: &str| self.log().matches(words).count();
        wait_until("exim4 delivers", || count(" <= ") == count(" Completed\n"));
        let text = fs::read_to_string(&self.mailbox).unwrap_or_default();
        text.split("From wanfo@router.example.com ").skip(1).map(str::to_owned).collect()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A lab with exim4, whose router has its password and STARTTLS.
fn lab_with_exim(to: &[&str]) -> (Lab, Exim) {
    let lab = Lab::new(2, WANFO);
    certify(&lab);
    write_password(&lab, "pass wörd", 0o600);
    send_to_exim(&lab, to, "starttls", PORT);
    let exim = Exim::start(&lab);
    (lab, exim)
}

fn send_to_exim(lab: &Lab, to: &[&str], tls: &str, port: u16) {
    let (relay, password, ca) = (relay_address(), lab.path("password"), lab.path("ca.pem"));
    let login = format!("username: router, password_file: {}, ca_file: {}", password.display(), ca.display());
    configure(lab, to, &format!("smtp: {{host: {relay}, port: {port}, tls: {tls}, {login}}}"));
}

/// A lab whose router is told how to send mail to the relay.
fn lab_with(to: &[&str], smtp: &str) -> Lab {
    let lab = Lab::new(2, WANFO);
    let relay = relay_address();
    configure(&lab, to, &format!("smtp: {{host: {relay}, port: {PORT}, {smtp}}}"));
    lab
}

fn configure(lab: &Lab, to: &[&str], way: &str) {
    lab.configure(&format!(
        "links: [{{name: primary, interface: wan1}}, {{name: backup, interface: wan2}}]\n\
         notify: {{to: [{}], from: wanfo@router.example.com, {way}}}",
        to.join(", ")
    ));
}

fn spool(lab: &Lab) -> Spool {
    Spool::new(&lab.path("state"))
}

fn put(lab: &Lab, id: &str, subject: &str) {
    // Ids are counted upwards in these tests, and so is their time.
    let at = 1_795_000_000 + i64::from(id.bytes().last().unwrap());
    let message = Message {
        id: id.to_owned(),
        at: Timestamp::from_second(at).unwrap(),
        subject: subject.to_owned(),
        text: format!("evidence of {id}\n"),
        topic: None,
        call: None,
    };
    spool(lab).put(&message).unwrap();
}

fn pending(lab: &Lab) -> usize {
    spool(lab).pending().unwrap()
}

fn deliver(lab: &Lab) -> Run {
    lab.wanfo(&["deliver"])
}

/// Ends the pauses of all that waits.
fn make_due(lab: &Lab) {
    for path in spooled(lab) {
        change(&path, |waiting| waiting["next_attempt"] = Value::Null);
    }
}

fn change(path: &Path, change: impl Fn(&mut Value)) {
    let mut waiting: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(&mut waiting);
    fs::write(path, waiting.to_string()).unwrap();
}

fn spooled(lab: &Lab) -> Vec<PathBuf> {
    let entries = fs::read_dir(lab.path("state/spool")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect()
}

fn set_aside(lab: &Lab, id: &str) -> String {
    assert!(lab.path(&format!("state/spool/failed/{id}.json")).exists(), "{id} is not set aside");
    fs::read_to_string(lab.path(&format!("state/spool/failed/{id}.reason"))).unwrap()
}

/// Files of a certificate of the relay's: `ca.pem`, `relay.pem`, `relay.key`.
fn certify(lab: &Lab) -> Certified {
    let certified = Certified::new(&relay_address());
    let Certified { authority, certificate, key } = &certified;
    for (name, text) in [("ca.pem", authority), ("relay.pem", certificate), ("relay.key", key)] {
        fs::write(lab.path(name), text).unwrap();
    }
    certified
}

fn write_password(lab: &Lab, password: &str, mode: u32) -> PathBuf {
    let path = lab.path("password");
    fs::write(&path, format!("{password}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn assert_done(run: &Run) {
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
}

fn assert_failed(run: &Run, words: &str) {
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains(words), "{words:?} is not in: {}", run.stderr);
}

fn a_mail_arrives_over_every_kind_of_connection() {
    for tls in ["none", "starttls", "tls"] {
        let lab = lab_with(&[NOC], "tls: none");
        certify(&lab);
        let mut options =
            json!({"tls": tls, "certificate": lab.path("relay.pem"), "key": lab.path("relay.key")});
        if tls != "none" {
            let (password, ca) = (write_password(&lab, "pass wörd", 0o600), lab.path("ca.pem"));
            let login = format!("username: router, password_file: {}", password.display());
            let smtp = format!("tls: {tls}, {login}, ca_file: {}", ca.display());
            configure(&lab, &[NOC], &format!("smtp: {{host: {}, port: {PORT}, {smtp}}}", relay_address()));
            options["username"] = json!("router");
            options["password"] = json!("pass wörd");
        }
        let relay = Relay::start(&lab, options);
        put(&lab, "one", "Primary WAN link failed on 'gw'.");
        assert_done(&deliver(&lab));
        assert_eq!(pending(&lab), 0);

        let [mail] = &relay.mails()[..] else { panic!("{tls}: {:?}", relay.mails()) };
        assert_eq!((&mail["encrypted"], &mail["login"]), (&json!(tls != "none"), &json!(tls != "none")));
        assert_eq!((&mail["from"], &mail["to"]), (&json!("wanfo@router.example.com"), &json!([NOC])));
        let content = mail["content"].as_str().unwrap();
        for header in [
            "From: wanfo@router.example.com\r\n",
            "To: noc@example.com\r\n",
            "Subject: Primary WAN link failed on 'gw'.\r\n",
            "Message-ID: <one.1@router.example.com>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "MIME-Version: 1.0\r\n",
            "Date: ",
        ] {
            assert!(content.contains(header), "{header:?} is not in {content}");
        }
        assert!(content.contains("\r\n\r\nevidence of one\r\n"), "{content}");
    }
}

fn a_relay_that_was_down_gets_every_message_once() {
    let lab = lab_with(&[NOC], "tls: none");
    put(&lab, "m1", "Primary WAN link failed on 'gw'.");
    assert_failed(&deliver(&lab), "onnection refused");
    // Its pause runs, and a new message does not hurry it.
    put(&lab, "m2", "Primary WAN link OK on 'gw'.");
    assert_failed(&deliver(&lab), "onnection refused");
    assert_done(&deliver(&lab));
    assert_eq!(pending(&lab), 2);
    let run_directory = lab.path("run");
    fs::create_dir_all(&run_directory).unwrap();
    spool(&lab).wake_if_due(&run_directory, &mut Outlook::default(), Timestamp::now()).unwrap();
    assert!(!run_directory.join("deliver").exists(), "nothing is due");

    let relay = Relay::start(&lab, json!({}));
    make_due(&lab);
    spool(&lab).wake_if_due(&run_directory, &mut Outlook::default(), Timestamp::now()).unwrap();
    assert!(run_directory.join("deliver").exists());
    assert_done(&deliver(&lab));
    assert_eq!(pending(&lab), 0);
    // A run of `check` that was killed puts its messages again.
    put(&lab, "m1", "Primary WAN link failed on 'gw'.");
    put(&lab, "m2", "Primary WAN link OK on 'gw'.");
    assert_eq!(pending(&lab), 0);
    assert_done(&deliver(&lab));

    let [mail] = &relay.contents()[..] else { panic!("{:?}", relay.contents()) };
    assert!(mail.contains("Subject: Primary WAN link OK on 'gw'. (and 1 before)\r\n"), "{mail}");
    for text in ["evidence of m1", "evidence of m2", "Primary WAN link failed on 'gw'.\r\n====="] {
        assert_eq!(mail.matches(text).count(), 1, "{text}: {mail}");
    }
    assert!(mail.find("evidence of m1") < mail.find("evidence of m2"));
}

fn a_relay_that_hangs_holds_up_no_check() {
    let lab = lab_with(&[NOC, BOSS], "tls: none");
    let address = (lab::target(1, 1), PORT);
    let _silent = lab.internet.run(move || TcpListener::bind(address)).unwrap();
    put(&lab, "one", "Down");
    let start = Instant::now();
    let mut hanging = lab.wanfo_command(&["deliver"]).stderr(Stdio::null()).spawn().unwrap();
    sleep(Duration::from_secs(1));

    assert_eq!(deliver(&lab).code, 75);
    let before_check = Instant::now();
    assert_eq!(lab.wanfo(&["check"]).code, 0);
    put(&lab, "two", "Up");
    assert!(before_check.elapsed() < Duration::from_secs(3));

    // One time limit for all recipients: the second would wait for nothing.
    assert_eq!(hanging.wait().unwrap().code(), Some(1));
    let took = start.elapsed().as_secs();
    assert!((29..40).contains(&took), "it took {took} s");
    assert_eq!(pending(&lab), 2);
}

fn a_wrong_password_costs_no_mail() {
    let lab = lab_with(&[NOC, BOSS], "tls: none");
    certify(&lab);
    let password = write_password(&lab, "hunter2-wrong", 0o600);
    let relay = relay_address();
    configure(
        &lab,
        &[NOC, BOSS],
        &format!(
            "smtp: {{host: {relay}, port: {PORT}, username: router, password_file: {}, ca_file: {}}}",
            password.display(),
            lab.path("ca.pem").display()
        ),
    );
    let relay = Relay::start(
        &lab,
        json!({"tls": "starttls", "certificate": lab.path("relay.pem"), "key": lab.path("relay.key"),
               "username": "router", "password": "hunter2"}),
    );
    put(&lab, "one", "Down");
    let run = deliver(&lab);
    assert_failed(&run, "535 5.7.8 Authentication credentials invalid");
    assert!(run.stderr.contains("refuses the login as \"router\": 535 5.7.8 Auth"), "{}", run.stderr);
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    assert_eq!(pending(&lab), 1);

    write_password(&lab, "hunter2", 0o600);
    make_due(&lab);
    assert_done(&deliver(&lab));
    assert_eq!(relay.mails().len(), 2);
}

fn one_bad_recipient_keeps_nobody_from_his_mail() {
    let lab = lab_with(&["gone@example.com", NOC], "tls: none");
    let relay = Relay::start(&lab, json!({"replies": {"gone@example.com": "550 5.1.1 no such user here"}}));
    put(&lab, "one", "Down");
    assert_failed(&deliver(&lab), "550 5.1.1 no such user here");
    assert_eq!(pending(&lab), 0);
    let [mail] = &relay.mails()[..] else { panic!("{:?}", relay.mails()) };
    assert_eq!(mail["to"], json!([NOC]));
    let reason = set_aside(&lab, "one");
    assert!(
        reason.starts_with("gone@example.com: ") && reason.contains("550 5.1.1 no such user here"),
        "{reason}"
    );
    assert_done(&deliver(&lab));
    // The admin hears of it, until it is seen to.
    let is_told = || {
        // One run finds it, the next tells.
        (0..2).for_each(|_| drop(lab.wanfo(&["check"])));
        let status = lab.wanfo(&["status", "--format", "json"]).stdout;
        let problems = lab::problems(&serde_json::from_str(&status).unwrap());
        problems.iter().any(|problem| problem["code"] == "message-set-aside")
    };
    assert!(is_told());
    for end in ["json", "reason"] {
        fs::remove_file(lab.path(&format!("state/spool/failed/one.{end}"))).unwrap();
    }
    assert!(!is_told());
}

fn a_recipient_put_off_is_tried_again_alone() {
    let lab = lab_with(&[BOSS, NOC], "tls: none");
    let relay = Relay::start(&lab, json!({"replies": {BOSS: "451 4.7.1 greylisted"}}));
    put(&lab, "one", "Down");
    assert_failed(&deliver(&lab), "451 4.7.1 greylisted");
    assert_eq!((pending(&lab), relay.mails().len()), (1, 1));
    drop(relay);
    let relay = Relay::start(&lab, json!({}));
    make_due(&lab);
    assert_done(&deliver(&lab));
    assert_eq!(pending(&lab), 0);
    let to: Vec<Value> = relay.mails().iter().map(|mail| mail["to"][0].clone()).collect();
    assert_eq!(to, [json!(NOC), json!(BOSS)]);
}

fn a_private_authority_must_be_named() {
    for tls in ["starttls", "tls"] {
        let lab = lab_with(&[NOC], &format!("tls: {tls}"));
        certify(&lab);
        let options = json!({"tls": tls, "certificate": lab.path("relay.pem"), "key": lab.path("relay.key")});
        let relay = Relay::start(&lab, options);
        put(&lab, "one", "Down");
        assert_failed(&deliver(&lab), "notify.smtp.ca_file");
        assert_eq!((pending(&lab), relay.mails().len()), (1, 0));
    }
}

fn nothing_is_sent_without_starttls() {
    let lab = lab_with(&[NOC], "tls: starttls");
    let relay = Relay::start(&lab, json!({"tls": "none"}));
    put(&lab, "one", "Down");
    assert_failed(&deliver(&lab), "offers no STARTTLS");
    assert_eq!((pending(&lab), relay.mails().len()), (1, 0));
}

fn the_spool_is_for_root_only() {
    let lab = lab_with(&[NOC], "tls: none");
    assert_done(&deliver(&lab));
    assert!(!lab.path("state").exists(), "where nothing waits nothing is written");
    put(&lab, "one", "Down");
    assert_failed(&deliver(&lab), "refused");
    let mode = |name: &str| fs::metadata(lab.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state/spool"), mode("state/spool/one.json")), (0o700, 0o600));
    assert_eq!(mode("state") & 0o055, 0o055, "the history is for everybody");
}

fn a_password_that_everybody_can_read_is_refused() {
    let lab = lab_with(&[NOC], "tls: none");
    certify(&lab);
    let password = write_password(&lab, "hunter2", 0o644);
    let options = json!({"tls": "tls", "certificate": lab.path("relay.pem"), "key": lab.path("relay.key"),
                         "username": "router", "password": "hunter2"});
    let _relay = Relay::start(&lab, options);
    let (relay, ca) = (relay_address(), lab.path("ca.pem"));
    let login = |login: &str| {
        let smtp =
            format!("host: {relay}, port: {PORT}, tls: tls, ca_file: {}, username: router", ca.display());
        configure(&lab, &[NOC], &format!("smtp: {{{smtp}, {login}}}"));
    };
    login(&format!("password_file: {}", password.display()));
    put(&lab, "one", "Down");
    assert_failed(&deliver(&lab), &format!("run `chmod 600 {}`", password.display()));
    assert_eq!(pending(&lab), 1);

    // systemd gives credentials a mode of its own.
    login("password_credential: password");
    make_due(&lab);
    assert_failed(&deliver(&lab), "LoadCredential=password:FILE");
    make_due(&lab);
    let output = lab.wanfo_command(&["deliver"]).env("CREDENTIALS_DIRECTORY", lab.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(pending(&lab), 0);
}

fn at_any_call_killed_or_failing_no_mail_is_lost() {
    let lab = lab_with(&[NOC, BOSS], "tls: none");
    let relay = Relay::start(&lab, json!({}));
    let mut round = 0;
    let mut trial = |trouble: Trouble| {
        round += 1;
        put(&lab, &format!("m{round}x"), &format!("event {round}."));
        let troubled = trouble.befalls(lab.wanfo_command(&["deliver"]));
        // As the run of `check` that was killed with it does.
        put(&lab, &format!("m{round}x"), &format!("event {round}."));
        make_due(&lab);
        assert_done(&deliver(&lab));
        assert_eq!(pending(&lab), 0, "{}", troubled.what);
        usize::from(troubled.came)
    };
    let (killed, failed) = (kill_at_every(29, &mut trial), fail_at_every(157, &mut trial));
    println!("A delivery: killed at {killed} system calls, {failed} failed; no mail was lost.");
    assert!(killed > 5 && failed > 9, "there are more calls than that: {killed}, {failed}");
    for to in [NOC, BOSS] {
        for round in 1..=round {
            let subject = format!("event {round}.\r\n");
            let mails = relay.mails();
            let got: Vec<&Value> = mails
                .iter()
                .filter(|mail| mail["to"][0] == to && mail["content"].as_str().unwrap().contains(&subject))
                .collect();
            // What was handed to the kernel arrives, also when the sender did not live to read the OK.
            assert!((1..=2).contains(&got.len()), "{to} got event {round} {} times", got.len());
            let id = format!("Message-ID: <m{round}x.1@router.example.com>\r\n");
            assert!(got.iter().all(|mail| mail["content"].as_str().unwrap().contains(&id)));
        }
    }
    assert!(!lab.path("state/spool/failed").exists());
}

fn no_text_adds_a_header_or_a_command() {
    let lab = lab_with(&[NOC], "tls: none");
    let relay = Relay::start(&lab, json!({}));
    let evil = "Down\r\nBcc: all@example.com\r\n\r\n.\r\nRCPT TO:<all@example.com>\r\n\u{2028}é";
    let message = Message {
        id: "evil".to_owned(),
        at: Timestamp::now(),
        subject: evil.to_owned(),
        text: format!("{evil}\n.\nQUIT\n..\n"),
        topic: None,
        call: None,
    };
    spool(&lab).put(&message).unwrap();
    assert_done(&deliver(&lab));
    for id in ["", "../evil", "a/b", "a.b", "a\n"] {
        assert!(spool(&lab).put(&Message { id: id.to_owned(), ..message.clone() }).is_err(), "{id:?}");
    }

    let mut command = lab.wanfo_command(&["deliver", "--test"]);
    lab::before_exec(&mut command, || {
        unshare(CloneFlags::CLONE_NEWUTS)?;
        sethostname("gw\r\nBcc: all@example.com\r\nRCPT TO:<all@example.com>")
    });
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mails = relay.mails();
    assert_eq!(mails.len(), 2);
    for mail in &mails {
        assert_eq!(mail["to"], json!([NOC]));
        assert!(!mail["hello"].as_str().unwrap().contains("Bcc"), "{}", mail["hello"]);
        let (headers, _) = mail["content"].as_str().unwrap().split_once("\r\n\r\n").unwrap();
        for line in headers.split("\r\n") {
            let name = line.split(':').next().unwrap();
            let known = ["From", "To", "Subject", "Message-ID", "Date", "Auto-Submitted", "MIME-Version"];
            let ours = known.contains(&name) || name.starts_with("Content-") || line.starts_with(' ');
            assert!(ours && line.is_ascii(), "{line:?} in {headers}");
        }
    }
}

fn a_test_mail_says_how_it_went() {
    let lab = lab_with(&[NOC, "gone@example.com"], "tls: none");
    let run = lab.wanfo(&["deliver", "--test"]);
    assert_failed(&run, "noc@example.com: not sent; the connection to");
    let relay = Relay::start(&lab, json!({"replies": {"gone@example.com": "550 5.1.1 no such user here"}}));
    put(&lab, "one", "Down");
    let run = lab.wanfo(&["deliver", "--test"]);
    assert_failed(&run, "gone@example.com: not sent; ");
    assert!(run.stderr.contains("550 5.1.1 no such user here"), "{}", run.stderr);
    assert_eq!(run.stdout, "noc@example.com: sent; 250 2.0.0 OK: taken\n");
    assert_eq!((relay.mails().len(), pending(&lab)), (1, 1), "the spool is left alone");
    assert!(relay.contents()[0].contains("Subject: Test message from wanfo on"));
}

fn a_sendmail_program_takes_mails_too() {
    let lab = Lab::new(2, WANFO);
    let program = lab.path("sendmail");
    configure(&lab, &[NOC], &format!("sendmail: {}", program.display()));
    let write = |script: &str| {
        // Written by another process: a child that another thread forks at this moment would hold the file open for
        // writing, and to run it would fail ("text file busy").
        let mut writer = Command::new("/bin/sh");
        let status = writer
            .args(["-c", "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", script])
            .arg(&program);
        assert!(status.status().unwrap().success());
    };
    put(&lab, "one", "Düsseldorf is down");
    assert_failed(&deliver(&lab), "sendmail could not be run");
    write("#!/bin/sh\necho 'queue is full' >&2\nexit 75\n");
    make_due(&lab);
    assert_failed(&deliver(&lab), "exit status: 75): queue is full");
    let took = lab.path("took");
    write(&format!("#!/bin/sh\n{{ echo \"$@\"; env; cat; }} > {}\n", took.display()));
    make_due(&lab);
    assert_done(&deliver(&lab));
    assert_eq!(pending(&lab), 0);
    let took = fs::read_to_string(took).unwrap();
    assert!(took.starts_with("-i -f wanfo@router.example.com -- noc@example.com\n"), "{took}");
    assert!(!took.contains('\r') && !took.contains("WANFO_CONFIG"), "{took}");
    assert!(took.contains("\nSubject: =?utf-8?") && took.contains("\n\nevidence of one\n"), "{took}");

    put(&lab, "two", "Up");
    // msmtp, where the relay refuses the recipient or the password.
    for code in [65, 77] {
        write(&format!("#!/bin/sh\necho 'access denied' >&2\nexit {code}\n"));
        assert_failed(&deliver(&lab), "access denied");
        assert_eq!(pending(&lab), 1);
        make_due(&lab);
    }
    write("#!/bin/sh\necho 'no such user' >&2\nexit 67\n");
    assert_failed(&deliver(&lab), "no such user");
    assert!(set_aside(&lab, "two").contains("no such user"));
}

fn a_damaged_message_is_set_aside_and_the_others_go() {
    let lab = lab_with(&[NOC], "tls: none");
    let relay = Relay::start(&lab, json!({}));
    put(&lab, "good", "Down");
    let spool = lab.path("state/spool");
    fs::write(spool.join("torn.json"), "{\"id\": \"to").unwrap();
    fs::write(spool.join("empty.json"), "").unwrap();
    fs::write(spool.join("bytes.json"), [0xff, 0xfe]).unwrap();
    fs::copy(spool.join("good.json"), spool.join("another.json")).unwrap();
    fs::create_dir(spool.join("directory.json")).unwrap();
    nix::unistd::mkfifo(&spool.join("pipe.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("/dev/zero", spool.join("link.json")).unwrap();
    let run = deliver(&lab);
    assert_done(&run);
    assert_eq!((relay.mails().len(), pending(&lab)), (1, 0));
    for name in ["torn", "empty", "bytes", "another", "directory", "pipe", "link"] {
        let reason = fs::read_to_string(spool.join(format!("failed/{name}.reason"))).unwrap();
        assert!(!reason.trim().is_empty() && run.stderr.contains(reason.trim()), "{name}: {reason}");
    }
}

fn after_three_days_a_mail_is_given_up() {
    let lab = lab_with(&[NOC], "tls: none");
    put(&lab, "one", "Down");
    change(&spooled(&lab)[0], |waiting| waiting["attempts"] = json!(MOST_ATTEMPTS - 2));
    assert_failed(&deliver(&lab), "refused");
    assert_eq!(pending(&lab), 1);
    make_due(&lab);
    assert_failed(&deliver(&lab), "given up after three days");
    assert_eq!(pending(&lab), 0);
    assert!(set_aside(&lab, "one").contains("refused"));
}

fn exim_takes_mails_over_starttls_and_tls() {
    let (lab, exim) = lab_with_exim(&[NOC, BOSS]);
    for (id, tls, port) in [("m1", "starttls", PORT), ("m2", "tls", TLS_PORT)] {
        send_to_exim(&lab, &[NOC, BOSS], tls, port);
        put(&lab, id, "Primary WAN link failed on 'gw'.");
        assert_done(&deliver(&lab));
        assert_eq!(pending(&lab), 0);

        let mails = exim.mails();
        for to in [NOC, BOSS] {
            // It delivers two at a time, in any order.
            let is_it = |mail: &&String| {
                mail.contains(&format!("evidence of {id}\n"))
                    && mail.contains(&format!("Envelope-to: {to}\n"))
            };
            let mail = mails.iter().find(is_it).unwrap_or_else(|| panic!("{id} to {to}: {mails:?}"));
            for words in [
                // With TLS and a login (RFC 3848).
                "with esmtpsa ",
                &format!("\nTo: {to}\n"),
                "\nSubject: Primary WAN link failed on 'gw'.\n",
                &format!("\nMessage-ID: <{id}.1@router.example.com>\n"),
            ] {
                assert!(mail.contains(words), "{tls}: {words:?} is not in {mail}");
            }
        }
    }
    assert_eq!(exim.mails().len(), 4);
    assert_eq!(exim.log().matches(" A=plain:router ").count(), 4, "{}", exim.log());
}

fn exim_refuses_a_wrong_password() {
    let (lab, exim) = lab_with_exim(&[NOC, BOSS]);
    write_password(&lab, "hunter2-wrong", 0o600);
    put(&lab, "one", "Down");
    let run = deliver(&lab);
    assert_failed(&run, "refuses the login as \"router\": 535 Incorrect authentication data");
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    assert_eq!((pending(&lab), exim.mails().len()), (1, 0));
}

fn exim_puts_a_mail_off() {
    let (lab, exim) = lab_with_exim(&[NOC]);
    let greylist = lab.path("greylist");
    fs::write(&greylist, "").unwrap();
    put(&lab, "one", "Down");
    assert_failed(&deliver(&lab), "451 4.7.1 greylisted");
    assert_eq!((pending(&lab), exim.mails().len()), (1, 0));
    fs::remove_file(greylist).unwrap();
    make_due(&lab);
    assert_done(&deliver(&lab));
    assert_eq!((pending(&lab), exim.mails().len()), (0, 1));
}

fn exim_refuses_one_of_two_recipients() {
    let (lab, exim) = lab_with_exim(&["gone@example.com", NOC]);
    put(&lab, "one", "Down");
    assert_failed(&deliver(&lab), "550 5.1.1 no such user here");
    assert_eq!(pending(&lab), 0);
    let [mail] = &exim.mails()[..] else { panic!("{:?}", exim.mails()) };
    assert!(mail.contains("Envelope-to: noc@example.com\n"), "{mail}");
    let reason = set_aside(&lab, "one");
    assert!(
        reason.starts_with("gone@example.com: ") && reason.contains("550 5.1.1 no such user here"),
        "{reason}"
    );
    assert_done(&deliver(&lab));
}
