//! Every feature that may want a right, inside the sandbox of the shipped units; what does not work in there, with the
//! drop-in that lets it out.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use super::package::{run, status};
use super::router::{self, CONFIG, Installed, await_active, await_said, await_service, begin, journal};
use crate::lab::{Lab, SERVICE, target};
use crate::site::{Running, masquerade, wait_until};
use crate::tls::{Certified, encrypted};

/// What the deliver unit says in a comment of a sendmail program.
const DELIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/wanfo-deliver.service");
const HOSTS: &str = "/etc/hosts";
const RELAY: &str = "relay.example.com";
const CA_FILE: &str = "/etc/wanfo/ca.pem";
const TLS_PORT: u16 = 4650;
const STARTTLS_PORT: u16 = 5870;
const WEB_PORT: u16 = 8080;
const PASSWORD: &str = "hunter2";
/// A user of the machine's.
const TO: &str = "mail@localhost";
const MAILBOX: &str = "/var/mail/mail";
/// As a login has it (RFC 4616): "\0router\0hunter2" in Base64.
const LOGIN: &str = "AUTH PLAIN AHJvdXRlcgBodW50ZXIy";

/// Everything that the units' sandbox may stand in the way of.
fn config(notify: &str) -> String {
    let checks = format!(
        "{{dns: {SERVICE}, name: www.example.com}}, {{tcp: {SERVICE}, port: {WEB_PORT}}}, \
         {{http: {SERVICE}, port: {WEB_PORT}, host: www.example.com, path: /alive}}"
    );
    let link = |name, line: usize| {
        format!(
            "  - {{name: {name}, interface: eth{}, targets: [{}], delay: 0s, stable: 2s, inbound: true, checks: [{checks}]}}\n",
            line - 1,
            target(line, 1)
        )
    };
    format!(
        "links:\n{}{}probe: {{silence: 2s, record: true}}\nflush_conntrack: true\naction_script: /etc/wanfo/action\n\
         link_script: /etc/wanfo/link\nnotify:\n  to: [{TO}]\n  from: wanfo@router.example.com\n{notify}",
        link("fibre", 1),
        link("lte", 2)
    )
}

/// What was sent to a server.
type Heard = Arc<Mutex<String>>;

/// Serves one connection after the other on the Internet, until the machine has told the story.
fn serve(lab: &Lab, port: u16, mut answer: impl FnMut(TcpStream) -> io::Result<()> + Send + 'static) {
    let listener = lab.internet.run(|| TcpListener::bind((SERVICE, port))).expect("a free port");
    spawn(move || {
        for stream in listener.incoming() {
            // Who only looks whether it is there hangs up.
            let _ = answer(stream.expect("a connection"));
        }
    });
}

/// A relay that wants TLS, at one port from the first byte and at the other after STARTTLS; its authority's certificate is in
/// /etc/wanfo.
fn relay(lab: &Lab) -> Heard {
    let certified = Certified::new(RELAY);
    fs::write(CA_FILE, &certified.authority).expect("a file");
    let heard = Heard::default();
    for port in [TLS_PORT, STARTTLS_PORT] {
        let (server, told) = (certified.server(), Arc::clone(&heard));
        serve(lab, port, move |mut stream| {
            let mut greeting = "220 relay\r\n";
            if port == STARTTLS_PORT {
                stream = converse(stream, greeting, "STARTTLS", &told)?;
                greeting = "";
            }
            converse(encrypted(&server, stream), greeting, "AUTH PLAIN", &told).map(|_| ())
        });
    }
    heard
}

/// Takes mails until the client hangs up or wants to begin with TLS.
fn converse<S: Read + Write>(stream: S, greeting: &str, offer: &str, told: &Heard) -> io::Result<S> {
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(greeting.as_bytes())?;
    let (mut line, mut in_content) = (String::new(), false);
    while stream.read_line(&mut line)? > 0 {
        told.lock().unwrap().push_str(&line);
        let verb = line.split_whitespace().next().unwrap_or_default().to_owned();
        line.clear();
        let answer = match verb.as_str() {
            "." if in_content => "250 taken",
            _ if in_content => continue,
            "EHLO" => &format!("250-relay\r\n250 {offer}"),
            "AUTH" => "235 fine",
            "DATA" => "354 go on",
            "STARTTLS" => "220 go on",
            _ => "250 fine",
        };
        in_content = verb == "DATA";
        write!(stream.get_mut(), "{answer}\r\n")?;
        if verb == "STARTTLS" {
            break;
        }
    }
    Ok(stream.into_inner())
}

/// A web server that says 204 to everything; what was posted.
fn web(lab: &Lab) -> Heard {
    let heard = Heard::default();
    let told = Arc::clone(&heard);
    serve(lab, WEB_PORT, move |stream| {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
            if let Some(value) = head[start..].to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if head.starts_with("POST ") {
            told.lock().unwrap().push_str(&(head + &String::from_utf8_lossy(&body)));
        }
        (&stream).write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    });
    heard
}

fn name_server(lab: &Lab) -> Running {
    let mut dnsmasq = lab.internet.command("dnsmasq");
    dnsmasq.args(["-d", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"]);
    dnsmasq.args(["--user=root", "--group=root", "--address=/www.example.com/203.0.113.81"]);
    dnsmasq.arg(format!("--listen-address={SERVICE}"));
    Running::start(dnsmasq.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// What a script may want of root's rights, each told to a file that it may write once it is out. It says in which state.
fn script(mark: &str) -> String {
    format!(
        "#!/bin/sh\nset -e\necho 1 >/proc/sys/net/ipv4/conf/all/log_martians\n\
         /usr/local/bin/wanfo exec lte -- id -u >/etc/wanfo/{mark}.new\n\
         chown 8:8 /etc/wanfo/{mark}.new\necho \"$@\" >>/etc/wanfo/{mark}.new\n\
         mv /etc/wanfo/{mark}.new /etc/wanfo/{mark}.told\n"
    )
}

fn problems() -> Vec<String> {
    let status = status();
    let problems = status["problems"].as_array().expect("problems").iter();
    problems.map(|problem| problem["code"].as_str().expect("a code").to_owned()).collect()
}

fn checks_pass() -> bool {
    let status = status();
    let links = status["links"].as_array().expect("links");
    links.iter().all(|link| {
        let checks = link["checks"].as_array().expect("checks");
        checks.len() == 3 && checks.iter().all(|check| check["ok"] == true)
    })
}

/// The settings that a comment of the unit names for a sendmail program.
fn for_sendmail() -> String {
    let unit = fs::read_to_string(DELIVER).expect("the unit").replace("\n# ", " ");
    let (_, rest) = unit.split_once("give them a drop-in with ").expect("the settings");
    let (settings, _) = rest.split_once(" (for one").expect("their end");
    let settings: Vec<&str> = settings.split(", ").flat_map(|setting| setting.split(" and ")).collect();
    format!("[Service]\n{}\n", settings.join("\n"))
}

pub fn every_feature_works_in_the_sandbox_or_with_the_drop_in_that_lets_it_out() {
    let lab = router::lab();
    masquerade(&lab.router, "eth0");
    masquerade(&lab.router, "eth1");
    let over = |tls, port: u16| {
        config(&format!(
            "  smtp: {{host: {RELAY}, port: {port}, tls: {tls}, username: router, password_credential: smtp-password, \
             ca_file: {CA_FILE}}}\n  webhook: {{url_file: /etc/wanfo/webhook-url, template: json}}\n"
        ))
    };
    let installed = Installed::with(&over("tls", TLS_PORT));
    let hosts = fs::read_to_string(HOSTS).expect("names");
    installed.write(HOSTS, &format!("{hosts}{SERVICE} {RELAY} hooks.example.com\n"), 0o644);
    installed.write("/etc/wanfo/smtp-password", PASSWORD, 0o600);
    installed.write("/etc/wanfo/webhook-url", &format!("http://hooks.example.com:{WEB_PORT}/hook\n"), 0o600);
    installed.write("/etc/wanfo/action", &script("action"), 0o755);
    installed.write("/etc/wanfo/link", &script("link"), 0o755);
    let credential = "[Service]\nLoadCredential=smtp-password:/etc/wanfo/smtp-password\n";
    installed.drop_in("wanfo-deliver.service", "credential", credential);
    let (mails, posts, _name_server) = (relay(&lab), web(&lab), name_server(&lab));

    // As shipped.
    begin();
    wait_until("all checks to pass", checks_pass);
    assert_eq!(problems(), ["scripts-sandboxed"]);
    let meter = lab.meter(SERVICE);
    await_service(&meter, 1);
    let before = journal().len();
    lab.cut_silently(1);
    await_active("lte");
    await_service(&meter, 2);
    wait_until("a mail", || mails.lock().unwrap().contains("\r\n.\r\n"));
    let mail = mails.lock().unwrap().clone();
    assert!(
        mail.contains(LOGIN) && mail.contains("\nSubject: Primary WAN link failed on 'machine'"),
        "{mail}"
    );
    wait_until("a message", || posts.lock().unwrap().contains("Primary WAN link failed on 'machine'"));
    // A script gets as far as it can.
    let said = await_said(before, "script /etc/wanfo/link DOWN fibre eth0 192.0.2.1: exit code ", 1);
    assert!(said.iter().any(|line| line.starts_with("action: ") && line.ends_with("Read-only file system")));
    let of_systemd =
        |line: &&String| ["Starting ", "Finished ", "Deactivated"].iter().any(|word| line.contains(word));
    assert_eq!(said.iter().find(of_systemd), None);
    // A machine that is too slow gives it up; the sandbox would refuse it in other words.
    let is_flushed = |line: &String| {
        line.starts_with("deleted ") && line.contains("flows that still used fibre")
            || line.starts_with("`conntrack ") && line.contains("did not end within 5s")
    };
    assert!(said.iter().any(is_flushed), "{said:#?}");

    // With the drop-in for scripts, and mail over a connection that turns to TLS.
    mails.lock().unwrap().clear();
    fs::write(CONFIG, over("starttls", STARTTLS_PORT)).expect("the config");
    for unit in ["wanfo.service", "wanfo-deliver.service"] {
        installed.shipped_drop_in(unit, "action-script.conf");
    }
    lab.repair(1);
    await_active("fibre");
    for mark in ["action", "link"] {
        let mark = Path::new("/etc/wanfo").join(mark).with_extension("told");
        wait_until("what a script may not do in the sandbox", || mark.exists());
        let told = fs::read_to_string(&mark).expect("a file");
        assert!(told.starts_with("60902\n"), "{told}");
    }
    wait_until("an end of the warning", || problems().is_empty());
    wait_until("a mail", || mails.lock().unwrap().contains("\r\n.\r\n"));
    let mail = mails.lock().unwrap().clone();
    let (before, after) = mail.split_once("STARTTLS\r\n").expect("it asks for TLS first");
    assert!(!before.contains("AUTH") && after.contains(LOGIN), "{mail}");
    assert!(after.contains("\nSubject: Primary WAN link OK on 'machine'"), "{mail}");

    // A sendmail program with a user and a queue of its own: exim4, as Debian has it.
    fs::remove_dir_all("/etc/systemd/system/wanfo-deliver.service.d").expect("the drop-ins go");
    run("systemctl daemon-reload");
    fs::write(CONFIG, config("  sendmail: /usr/sbin/sendmail\n")).expect("the config");
    wait_until("a run with it", || status()["stale"] == false);
    let before = journal().len();
    lab.cut_silently(1);
    await_active("lte");
    await_said(before, "could not be told", 1);
    installed.drop_in("wanfo-deliver.service", "sendmail", &for_sendmail());
    let before = journal().len();
    lab.repair(1);
    await_active("fibre");
    await_said(before, "told mail@localhost", 1);
    // The program says so before it has begun to deliver.
    let deadline = Instant::now() + Duration::from_secs(120);
    while !fs::read_to_string(MAILBOX).is_ok_and(|mails| mails.contains("Primary WAN link OK on 'machine'")) {
        let log = || fs::read_to_string("/var/log/exim4/mainlog").unwrap_or_default();
        assert!(Instant::now() < deadline, "no mail in {MAILBOX}: {}", log());
        sleep(Duration::from_millis(500));
    }
    fs::write(HOSTS, hosts).expect("the names of before");
    println!("  a mail over TLS, a message to a webhook, both scripts, and a mail by exim4");
}
