//! The webhook, against Python's HTTP server where the relays of the other stories are.

use rcgen::{CertificateParams, DnType, KeyPair};

use super::*;

/// What opens the door: in the address' path and query, and as a token.
const SECRET: &str = "T0p-hush-hush";
const TOKEN: &str = "tk_quiet1234567";
const WEB_PORT: u16 = 8080;

/// Gone when dropped.
struct Web {
    process: Child,
    requests: PathBuf,
}

impl Web {
    fn start(lab: &Lab, mut options: Value) -> Web {
        let requests = lab.path("requests");
        let _ = fs::remove_file(&requests);
        options["host"] = json!("0.0.0.0");
        options["port"] = json!(WEB_PORT);
        options["requests"] = json!(requests);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail/webhook.py");
        let mut command = lab.internet.command(python());
        let mut process =
            command.arg(script).arg(options.to_string()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the server did not come up");
        Web { process, requests }
    }

    fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.requests).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A lab whose router has the address in its file, at the log's most talkative.
fn lab_with_webhook(template: &str, path: &str, mail: &str) -> Lab {
    let lab = Lab::new(2, WANFO);
    write_address(&lab, &format!("http://{}:{WEB_PORT}{path}\n", relay_address()));
    let webhook = format!("{{url_file: {}, template: {template}}}", lab.path("url").display());
    lab.configure(&format!(
        "links: [{{name: primary, interface: wan1}}, {{name: backup, interface: wan2}}]\nlog_level: debug\n\
         notify: {{{mail} webhook: {webhook}}}"
    ));
    lab
}

fn write_address(lab: &Lab, text: &str) {
    fs::write(lab.path("url"), text).unwrap();
    fs::set_permissions(lab.path("url"), fs::Permissions::from_mode(0o600)).unwrap();
}

/// Sends one message to the one who answers so. Returns what became of it.
fn told(answer: Value) -> (Run, Lab) {
    let lab = lab_with_webhook("json", &format!("/{SECRET}?key={SECRET}"), "");
    let web = Web::start(&lab, answer);
    put(&lab, "one", "Down");
    let run = deliver(&lab);
    assert_eq!(web.requests().len(), 1);
    assert!(!run.stderr.contains("hush") && !run.stderr.contains(&relay_address()), "{}", run.stderr);
    (run, lab)
}

pub fn everybody_is_told_in_his_own_words() {
    let text = "application/json";
    let (title, evidence) = ("Düsseldorf <down> on 'gw'.", "evidence of one");
    for (template, path, kind, body) in [
        ("ntfy", "/wan-T0p?priority=high", "text/plain; charset=utf-8", json!(evidence)),
        (
            "slack",
            "/services/T0/B0/X",
            text,
            json!({"text": "Düsseldorf &lt;down&gt; on 'gw'.\n```\nevidence of one\n```"}),
        ),
        (
            "telegram",
            "/bot1:T0p/sendMessage?chat_id=-1001",
            text,
            json!({"text": format!("{title}\n\n{evidence}")}),
        ),
        ("home-assistant", "/api/webhook/-T0p", text, json!({"title": title, "message": evidence})),
        (
            "json",
            "/",
            text,
            json!({"id": "one.1", "at": "2026-11-18T11:08:21Z", "subject": title,
                                   "text": "evidence of one\n"}),
        ),
    ] {
        let lab = lab_with_webhook(template, path, "");
        let web = Web::start(&lab, json!({}));
        put(&lab, "one", title);
        assert_done_aloud(&deliver(&lab));
        assert_eq!(pending(&lab), 0);
        let [request] = &web.requests()[..] else { panic!("{template}: {:?}", web.requests()) };
        assert_eq!((&request["path"], &request["headers"]["content-type"]), (&json!(path), &json!(kind)));
        let said = request["body"].as_str().unwrap();
        let said: Value = serde_json::from_str(said).unwrap_or_else(|_| json!(said));
        assert_eq!(said, body, "{template}");
        let header = |name: &str| request["headers"][name].clone();
        assert_eq!(header("title"), if template == "ntfy" { json!(title) } else { Value::Null });
        assert_eq!(header("host"), json!(format!("{}:{WEB_PORT}", relay_address())));
        assert_eq!(header("authorization"), Value::Null);
    }
}

/// At `log_level: debug` there may be lines.
fn assert_done_aloud(run: &Run) {
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
}

pub fn a_token_stands_below_the_address() {
    let lab = lab_with_webhook("ntfy", "/wan", "");
    let web = Web::start(&lab, json!({}));
    for (token, header) in
        [(TOKEN, format!("Bearer {TOKEN}")), ("Basic cm91dGVyOng=", "Basic cm91dGVyOng=".into())]
    {
        write_address(&lab, &format!("http://{}:{WEB_PORT}/wan\r\n{token}\r\n", relay_address()));
        let run = lab.wanfo(&["deliver", "--test"]);
        assert_eq!((run.code, run.stdout.as_str()), (0, "webhook: sent; 200 OK\n"), "{}", run.stderr);
        assert!(!run.stderr.contains(token), "{}", run.stderr);
        assert_eq!(web.requests().last().unwrap()["headers"]["authorization"], json!(header));
    }
}

pub fn what_one_way_has_taken_goes_that_way_no_more() {
    let smtp = format!("smtp: {{host: {}, port: {PORT}, tls: none}},", relay_address());
    let mail = format!("to: [{NOC}], from: wanfo@router.example.com, {smtp}");
    let lab = lab_with_webhook("json", "/", &mail);
    let relay = Relay::start(&lab, json!({}));
    put(&lab, "m1", "Down");
    assert_failed(&deliver(&lab), "webhook could not be told: its host refuses the connection");
    make_due(&lab);
    let web = Web::start(&lab, json!({}));
    assert_done_aloud(&deliver(&lab));
    assert_eq!((relay.mails().len(), web.requests().len(), pending(&lab)), (1, 1, 0));

    drop(relay);
    let _ = fs::remove_file(lab.path("mails"));
    put(&lab, "m2", "Up");
    assert_failed(&deliver(&lab), "noc@example.com could not be told");
    make_due(&lab);
    let relay = Relay::start(&lab, json!({}));
    assert_done_aloud(&deliver(&lab));
    assert_eq!((relay.mails().len(), web.requests().len(), pending(&lab)), (1, 2, 0));
    // Neither is taken for good by one alone.
    let run = lab.wanfo(&["deliver", "--test"]);
    assert_eq!(
        run.stdout, "webhook: sent; 200 OK\nnoc@example.com: sent; 250 2.0.0 OK: taken\n",
        "{}",
        run.stderr
    );
}

pub fn what_may_pass_waits_and_what_will_not_is_set_aside() {
    for status in [408, 425, 429, 500, 503] {
        let (run, lab) = told(json!({"status": status, "text": "try\nlater"}));
        assert_failed(&run, &format!("it says {status} "));
        assert!(run.stderr.contains(": try later"), "{}", run.stderr);
        assert_eq!(pending(&lab), 1, "{status}");
    }
    for status in [400, 401, 403, 404, 410] {
        let (run, lab) = told(json!({"status": status, "text": "chat not found"}));
        assert_failed(&run, &format!("it says {status} "));
        assert_eq!(pending(&lab), 0, "{status}");
        let reason = set_aside(&lab, "one");
        assert!(reason.starts_with(&format!("webhook: it says {status} ")), "{reason}");
        assert!(reason.ends_with(": chat not found\n"), "{reason}");
    }
    for status in [201, 202, 204] {
        assert_done_aloud(&told(json!({"status": status})).0);
    }
}

pub fn nobody_is_followed_elsewhere() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = format!("http://{}:{WEB_PORT}/{SECRET}/elsewhere", relay_address());
        let (run, lab) = told(json!({"status": status, "headers": {"Location": elsewhere}}));
        assert_failed(&run, "write that into `url_file`");
        assert_eq!(pending(&lab), 1);
    }
}

pub fn an_answer_without_end_takes_no_memory_and_no_time() {
    let huge = json!({"status": 404, "text": "x".repeat(1 << 16), "repeat": 1 << 14});
    let start = Instant::now();
    let (run, lab) = told(huge);
    assert_failed(&run, "it says 404");
    assert!(run.stderr.len() < 10_000 && set_aside(&lab, "one").len() < 300);
    let (run, _) = told(json!({"headers": {"X": "x".repeat(60_000)}}));
    assert_failed(&run, "its answer has no end");
    // Nobody waits for the words of one who took it.
    assert_done_aloud(&told(json!({"text": "x".repeat(100), "drip": 1})).0);
    let (run, _) = told(json!({"status": 404, "text": "x".repeat(100), "drip": 1}));
    assert_failed(&run, "it says 404 Not Found: xxx");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

pub fn one_that_hangs_costs_nobody_his_mail() {
    let smtp = format!("smtp: {{host: {}, port: {PORT}, tls: none}},", relay_address());
    let lab = lab_with_webhook("json", "/", &format!("to: [{NOC}], from: wanfo@router.example.com, {smtp}"));
    let relay = Relay::start(&lab, json!({}));
    let web = Web::start(&lab, json!({"hang": true}));
    put(&lab, "one", "Down");
    let start = Instant::now();
    assert_failed(&deliver(&lab), "webhook could not be told: it does not answer");
    assert!((29..40).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!((relay.mails().len(), web.requests().len(), pending(&lab)), (1, 1, 1));
}

/// Not even where the other side says it, and not at `log_level: debug`, at which the library tells of every header.
pub fn the_address_is_told_to_nobody() {
    let lab = lab_with_webhook("telegram", &format!("/bot1:{SECRET}/sendMessage?chat_id=7"), "");
    write_address(
        &lab,
        &format!("http://{}:{WEB_PORT}/bot1:{SECRET}/sendMessage?chat_id=7\n{TOKEN}\n", relay_address()),
    );
    for echo in [SECRET.to_uppercase(), "t0p%2Dhush%2Dhush".to_owned(), TOKEN.to_owned()] {
        let web = Web::start(&lab, json!({"status": 404, "text": format!("no {echo} here")}));
        put(&lab, "m1", "Down");
        let run = deliver(&lab);
        assert_failed(&run, "it says 404 Not Found\n");
        assert_eq!(web.requests().len(), 1);
        drop(web);
        let reason = set_aside(&lab, "m1");
        fs::remove_dir_all(lab.path("state")).unwrap();
        put(&lab, "m1", "Down");
        let refused = deliver(&lab);
        let kept = fs::read_to_string(&spooled(&lab)[0]).unwrap();
        fs::remove_dir_all(lab.path("state")).unwrap();
        lab.wanfo(&["check"]);
        let state = fs::read_to_string(lab.path("run/state.json")).unwrap();
        let config = lab.wanfo(&["config", "--effective"]).stdout;
        for text in [&run.stderr, &reason, &refused.stderr, &kept, &state, &config] {
            let text = text.to_lowercase();
            for secret in ["hush", "quiet", "chat_id", "sendmessage"] {
                assert!(!text.contains(secret), "{secret} is in {text}");
            }
        }
    }
}

pub fn a_file_that_is_of_no_use_is_told_before_the_night() {
    let lab = lab_with_webhook("ntfy", "/", "");
    let check = |text: &str, mode: u32, words: &str| {
        write_address(&lab, text);
        fs::set_permissions(lab.path("url"), fs::Permissions::from_mode(mode)).unwrap();
        put(&lab, "one", "Down");
        for run in [lab.wanfo(&["config"]), lab.wanfo(&["deliver", "--test"]), deliver(&lab)] {
            assert_failed(&run, words);
            assert!(!run.stderr.contains("hush"), "{}", run.stderr);
        }
        lab.wanfo(&["check"]);
        let status = lab.wanfo(&["status", "--format", "json"]).stdout;
        assert!(status.contains("webhook-file-unusable") && status.contains(words), "{status}");
        fs::remove_dir_all(lab.path("state")).unwrap();
    };
    check("https://ntfy.example.com/hush\n", 0o644, "is open to everybody on this machine");
    check("", 0o600, "must begin with the address");
    check("hush hush\n", 0o600, "must begin with the address");
    check("ntfy.example.com/hush\n", 0o600, "must ");
    check("ftp://ntfy.example.com/hush\n", 0o600, "begins with https://");
    check("https:///hush\n", 0o600, "must ");
    check("https://u:hush@ntfy.example.com/t\n", 0o600, "before the host");
    check("https://ntfy.example.com/\n", 0o600, "names no topic");
    check("https://ntfy.example.com/t\nhush\u{7}\n", 0o600, "can be no token");
    check("https://ntfy.example.com/t\na\nhush\n", 0o600, "more than two lines");
    fs::remove_file(lab.path("url")).unwrap();
    put(&lab, "one", "Down");
    assert_failed(&deliver(&lab), "No such file");
    assert_eq!(pending(&lab), 1);

    let lab = lab_with_webhook("telegram", "/botHUSH/sendMessage", "");
    assert_failed(&lab.wanfo(&["config"]), "names no chat");
    // Of a credential nothing is known outside its unit.
    lab.configure(
        "links: [{name: primary, interface: wan1, targets: [198.51.100.11]}, {name: backup, interface: wan2, targets: \
         [198.51.100.21]}]\nnotify: {webhook: {url_file: /run/credentials/wanfo-deliver.service/url, template: json}}",
    );
    assert_eq!(lab.wanfo(&["config"]).code, 0);
    let directory = lab.path("credentials");
    fs::create_dir(&directory).unwrap();
    write_address(&lab, &format!("http://{}:{WEB_PORT}/\n", relay_address()));
    fs::rename(lab.path("url"), directory.join("url")).unwrap();
    fs::set_permissions(directory.join("url"), fs::Permissions::from_mode(0o444)).unwrap();
    lab.configure(&format!(
        "links: [{{name: primary, interface: wan1}}, {{name: backup, interface: wan2}}]\n\
         notify: {{webhook: {{url_file: {}, template: json}}}}",
        directory.join("url").display()
    ));
    let _web = Web::start(&lab, json!({}));
    let mut command = lab.wanfo_command(&["deliver", "--test"]);
    let output = command.env("CREDENTIALS_DIRECTORY", &directory).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "webhook: sent; 200 OK\n");
}

pub fn a_webhook_over_tls_is_checked() {
    let lab = lab_with_webhook("json", "/", "");
    certify(&lab);
    write_address(&lab, &format!("https://{}:{WEB_PORT}/{SECRET}\n", relay_address()));
    let options = json!({"certificate": lab.path("relay.pem"), "key": lab.path("relay.key")});
    let web = Web::start(&lab, options);
    let test = |roots: &Path| {
        let mut command = lab.wanfo_command(&["deliver", "--test"]);
        let output = command.env("SSL_CERT_FILE", roots).output().unwrap();
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(test(&lab.path("ca.pem")).0, "webhook: sent; 200 OK\n");
    let mut stranger = CertificateParams::new([]).unwrap();
    stranger.distinguished_name.push(DnType::CommonName, "a stranger");
    let stranger = stranger.self_signed(&KeyPair::generate().unwrap()).unwrap();
    fs::write(lab.path("stranger.pem"), stranger.pem()).unwrap();
    let (_, error) = test(&lab.path("stranger.pem"));
    assert!(error.contains("signed by nobody whom this host trusts"), "{error}");
    assert_eq!(web.requests().len(), 1);

    // Another name; and no TLS at all.
    write_address(&lab, &format!("https://{}:{WEB_PORT}/{SECRET}\n", lab::target(1, 2)));
    let (_, error) = test(&lab.path("ca.pem"));
    assert!(error.contains("for another name") && !error.contains("198.51"), "{error}");
    write_address(&lab, &format!("https://router.invalid:{WEB_PORT}/{SECRET}\n"));
    let (_, error) = test(&lab.path("ca.pem"));
    assert!(error.contains("could not be looked up"), "{error}");
    drop(web);
    let _web = Web::start(&lab, json!({}));
    write_address(&lab, &format!("https://{}:{WEB_PORT}/{SECRET}\n", relay_address()));
    let (_, error) = test(&lab.path("ca.pem"));
    assert!(error.contains("does not speak TLS"), "{error}");
    assert!(!error.contains("hush"), "{error}");
}

/// The names are those that this machine's hosts file has; also where its getent cannot look any up.
pub fn a_relay_and_a_webhook_may_be_named() {
    let mail = format!(
        "to: [noc@example.com], from: wanfo@router.example.com, smtp: {{host: relay.example, port: {PORT}, tls: none}},"
    );
    let lab = lab_with_webhook("json", "/", &mail);
    write_address(&lab, &format!("http://hooks.example:{WEB_PORT}/\n"));
    let (relay, web) = (Relay::start(&lab, json!({})), Web::start(&lab, json!({})));
    let (hosts, cannot) = (lab.path("hosts"), lab.path("getent"));
    fs::write(&hosts, format!("{} relay.example hooks.example\n", relay_address())).unwrap();
    fs::write(&cannot, "#!/bin/sh\nexit 3\n").unwrap();
    fs::set_permissions(&cannot, fs::Permissions::from_mode(0o755)).unwrap();
    let covers = [(&*hosts, Path::new("/etc/hosts")), (&*cannot, Path::new("/usr/bin/getent"))];
    for (count, covered) in [(1, &covers[..1]), (2, &covers[..])] {
        let run = Run::from(lab.wanfo_seeing(&["deliver", "--test"], covered).output().unwrap());
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!((web.requests().len(), relay.mails().len()), (count, count), "{run:?}");
    }
}
