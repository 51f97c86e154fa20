//! Relays that refuse, lie, babble or hang, and people on the way to them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use nix::sys::resource::{Resource, setrlimit};
use rustls::ServerConnection;

use super::*;
use crate::tls::encrypted;

/// Answers every connection to `PORT` of the relay's address, one after the other, until the tests end.
fn answering(lab: &Lab, answer: impl Fn(TcpStream) -> std::io::Result<()> + Send + 'static) {
    let address = (lab::target(1, 1), PORT);
    let listener = lab.internet.run(move || TcpListener::bind(address)).unwrap();
    spawn(move || {
        for stream in listener.incoming() {
            // Whoever hung up has seen enough.
            let _ = answer(stream.unwrap());
        }
    });
}

/// A relay that takes everything, but says `answer` at this step: `banner`, the verb of a command, or `.`.
fn converse<S: Read + Write>(stream: S, step: &str, answer: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let say = |stream: &mut BufReader<S>, at: &str, usual: &str| {
        let words = if at == step { answer } else { usual };
        write!(stream.get_mut(), "{words}\r\n")
    };
    say(&mut stream, "banner", "220 relay.example.com")?;
    let (mut line, mut in_content) = (String::new(), false);
    while stream.read_line(&mut line)? > 0 {
        let verb = line.split_whitespace().next().unwrap_or_default().to_owned();
        line.clear();
        match verb.as_str() {
            "." if in_content => {
                in_content = false;
                say(&mut stream, ".", "250 2.0.0 taken")?;
            }
            _ if in_content => {}
            "DATA" => {
                in_content = step != "DATA";
                say(&mut stream, "DATA", "354 go on")?;
            }
            verb => say(&mut stream, verb, "250 2.0.0 fine")?,
        }
    }
    Ok(())
}

pub fn what_is_refused_to_us_costs_no_mail() {
    let lab = lab_with(&[NOC], "tls: none");
    let next = Arc::new(Mutex::new(("", "")));
    let now = Arc::clone(&next);
    answering(&lab, move |stream| {
        let (step, answer) = *now.lock().unwrap();
        converse(stream, step, answer)
    });
    let waits = [
        ("banner", "554 5.7.1 198.51.100.9 is on a blocklist"),
        ("banner", "554 no service here"),
        ("banner", "421 4.3.2 shutting down"),
        ("EHLO", "550 5.7.1 no"),
        ("EHLO", "504 5.5.2 a full name is needed"),
        ("MAIL", "530 5.7.0 log in first"),
        ("MAIL", "550 5.7.1 not from there"),
        ("MAIL", "553 5.1.8 no such domain"),
        ("MAIL", "552 5.3.4 too much"),
        ("RCPT", "554 5.7.1 relay access denied"),
        ("RCPT", "550-5.7.1 198.51.100.9 is on\r\n550 5.7.1 a blocklist"),
        ("RCPT", "553 not in my list of rcpthosts (#5.7.1)"),
        ("RCPT", "550 5.1.8 no such sender"),
        // exim's words have no code, whatever the matter.
        ("RCPT", "550 relay not permitted"),
        ("RCPT", "550 198.51.100.9 is on a blocklist"),
        ("RCPT", "503 5.5.1 sender first"),
        ("RCPT", "452 4.2.2 mailbox full"),
        ("RCPT", "421 4.7.0 too many"),
        ("DATA", "554 5.7.1 no"),
        // To mistake one answer for another is to take a mail for sent.
        ("DATA", "250 2.0.0 fine"),
        (".", "354 go on"),
        (".", "220 relay.example.com"),
        (".", "451 4.3.0 later"),
        (".", "550 5.7.26 the sender's domain does not know 198.51.100.9"),
        (".", "and now for something else"),
    ];
    let is_lost = [
        ("RCPT", "550 5.1.1 no such user"),
        ("RCPT", "552 5.2.2 mailbox full"),
        ("RCPT", "556 5.1.10 the domain takes no mail"),
        (".", "552 5.3.4 too much"),
        (".", "554 5.6.0 what is this"),
        (".", "554 no"),
    ];
    let cases = waits.map(|case| (case, true)).into_iter().chain(is_lost.map(|case| (case, false)));
    for (number, ((step, answer), waits)) in cases.enumerate() {
        *next.lock().unwrap() = (step, answer);
        let id = format!("m{number}");
        put(&lab, &id, "Down");
        let run = deliver(&lab);
        assert_eq!(run.code, 1, "{step}: {answer}: {}", run.stderr);
        let shown = &answer.rsplit("\r\n").next().unwrap()[4..];
        assert!(run.stderr.contains(shown), "{step}: {answer}: {}", run.stderr);
        let path = lab.path(&format!("state/spool/{id}.json"));
        assert_eq!(path.exists(), waits, "{step}: {answer}: {}", run.stderr);
        let _ = fs::remove_file(path);
    }
    *next.lock().unwrap() = ("", "");
    put(&lab, "last", "Down");
    assert_done(&deliver(&lab));
}

/// `wanfo deliver` with little memory to take.
fn deliver_in_little_room(lab: &Lab) -> Run {
    let mut command = lab.wanfo_command(&["deliver"]);
    lab::before_exec(&mut command, || setrlimit(Resource::RLIMIT_AS, 256 << 20, 256 << 20));
    command.output().unwrap().into()
}

pub fn a_line_without_end_takes_no_memory() {
    for (tls, begin) in [("none", ""), ("none", "220-"), ("none", "220-a\r\n"), ("tls", "220 ")] {
        let lab = lab_with(&[NOC], "tls: none");
        let server = certify(&lab).server();
        if tls == "tls" {
            require_tls(&lab, &[NOC]);
        }
        answering(&lab, move |stream| match tls {
            "tls" => babble(encrypted(&server, stream), begin),
            _ => babble(stream, begin),
        });
        put(&lab, "one", "Down");
        assert_failed(&deliver_in_little_room(&lab), "its answer has no end");
        assert_eq!(pending(&lab), 1);
    }
}

/// Repeats what it says without end, or the last letter of it.
fn babble(mut stream: impl Write, begin: &str) -> std::io::Result<()> {
    stream.write_all(begin.as_bytes())?;
    let again = if begin.ends_with('\n') { begin.as_bytes() } else { b"2" };
    let again = again.repeat(65536 / again.len());
    loop {
        stream.write_all(&again)?;
    }
}

fn require_tls(lab: &Lab, to: &[&str]) {
    let (relay, ca) = (relay_address(), lab.path("ca.pem"));
    let smtp = format!("smtp: {{host: {relay}, port: {PORT}, tls: tls, ca_file: {}}}", ca.display());
    configure(lab, to, &smtp);
}

fn dribble(mut stream: &TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte])?;
        sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn ends_in_half_a_minute(lab: &Lab) {
    put(lab, "one", "Down");
    let start = Instant::now();
    assert_failed(&deliver(lab), "does not answer");
    let took = start.elapsed().as_secs();
    assert!((29..40).contains(&took), "it took {took} s");
    assert_eq!(pending(lab), 1);
}

pub fn a_byte_a_second_holds_up_nobody() {
    let lab = lab_with(&[NOC, BOSS], "tls: none");
    answering(&lab, |stream| dribble(&stream, &[b'2'; 600]));
    ends_in_half_a_minute(&lab);
}

pub fn a_byte_a_second_of_a_tls_record() {
    let lab = lab_with(&[NOC, BOSS], "tls: none");
    let server = certify(&lab).server();
    require_tls(&lab, &[NOC, BOSS]);
    answering(&lab, move |mut stream| {
        let mut connection = ServerConnection::new(Arc::clone(&server)).unwrap();
        connection.complete_io(&mut stream)?;
        // One record. The client's socket hears of it each second, and the client itself of nothing.
        connection.writer().write_all(&[b'2'; 600])?;
        let mut record = Vec::new();
        connection.write_tls(&mut record)?;
        dribble(&stream, &record)
    });
    ends_in_half_a_minute(&lab);
}

pub fn what_comes_before_tls_is_not_believed_after_it() {
    let lab = lab_with(&[NOC], "tls: none");
    let server = certify(&lab).server();
    let (relay, password, ca) = (relay_address(), write_password(&lab, "hunter2", 0o600), lab.path("ca.pem"));
    let login = format!("username: router, password_file: {}, ca_file: {}", password.display(), ca.display());
    configure(&lab, &[NOC], &format!("smtp: {{host: {relay}, port: {PORT}, {login}}}"));
    answering(&lab, move |mut stream| {
        stream.write_all(b"220 relay\r\n")?;
        let mut lines = BufReader::new(stream.try_clone()?);
        lines.read_line(&mut String::new())?;
        stream.write_all(b"250-relay\r\n250 STARTTLS\r\n")?;
        lines.read_line(&mut String::new())?;
        // What somebody on the way adds; the relay itself would say: no AUTH.
        stream.write_all(b"220 go on\r\n250-relay\r\n250 AUTH LOGIN\r\n")?;
        converse(encrypted(&server, stream), "", "")
    });
    put(&lab, "one", "Down");
    assert_failed(&deliver(&lab), "went on talking unencrypted");
    assert_eq!(pending(&lab), 1);
}

/// Puts a process 1000 seconds before 1970, by the wall clock.
const EARLY: &str = "
#define _GNU_SOURCE
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec = -1000;
    return failed;
}";

pub fn a_clock_before_1970() {
    let lab = lab_with(&[NOC], "tls: none");
    fs::write(lab.path("early.c"), EARLY).unwrap();
    // The linker of every Rust program here.
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-o"]).arg(lab.path("early.so")).arg(lab.path("early.c"));
    assert!(compile.status().unwrap().success());
    let early = |arguments: &[&str]| -> Run {
        let mut command = lab.wanfo_command(arguments);
        let run: Run = command.env("LD_PRELOAD", lab.path("early.so")).output().unwrap().into();
        assert!(!run.stderr.contains("panicked"), "{arguments:?}: {}", run.stderr);
        run
    };
    let relay = Relay::start(&lab, json!({}));
    for arguments in [&["check"][..], &["force-failover"], &["failback", "--now"], &["deliver", "--test"]] {
        assert_eq!(early(arguments).code, 0, "{arguments:?}");
    }
    assert_eq!(early(&["deliver"]).code, 0);
    for arguments in [&["status"][..], &["status", "--format", "json"], &["history"], &["check"], &["down"]] {
        assert_eq!(early(arguments).code, 0, "{arguments:?}");
    }
    let mails = relay.contents();
    assert_eq!(mails.len(), 2, "{mails:?}");
    assert!(mails[1].contains("Date: Thu, 01 Jan 1970 00:00:00 +0000"), "{}", mails[1]);

    configure(&lab, &[NOC], &format!("smtp: {{host: {}, port: {PORT}, tls: tls}}", relay_address()));
    put(&lab, "one", "Down");
    assert_failed(&early(&["deliver"]), "before 1970");
    assert_eq!(pending(&lab), 1);
}
