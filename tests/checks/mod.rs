//! Service checks against real servers, and against such as hang, lie, babble or tear their answers, over real sockets.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{scope, sleep, spawn};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use wanfo::core::service::{Check, CheckError, Dns, Http, Tcp};
use wanfo::system::checks::{self, LIMIT};

use crate::lab::{self, Lab, Namespace, host};

pub fn trials() -> Vec<Trial> {
    trials![self::{
        dnsmasq_is_asked,
        dnsmasq_that_answers_every_name_is_found_out,
        web_servers_are_asked,
        a_dns_server_that_lies_is_not_believed,
        a_question_that_got_lost_is_asked_again,
        a_dns_server_that_hangs_or_babbles_is_given_up,
        a_web_server_that_hangs_anywhere_is_given_up,
        a_web_server_that_babbles_costs_no_memory,
        a_web_server_that_hangs_up_or_redirects_fails,
        where_there_is_no_way_and_where_we_are_at_fault,
        a_line_whose_name_server_is_dead_is_left_and_taken_again,
        a_server_that_is_dead_over_every_line_moves_nothing,
        servers_that_are_silent_over_every_line_move_nothing,
        a_captive_portal_is_left_and_not_switched_to,
        a_walled_garden_is_left_and_not_switched_to,
        a_line_that_carries_pings_and_nothing_else_is_left_and_not_switched_to,
    }]
}

const SERVER: &str = "192.0.2.1";
const SERVER6: &str = "2001:db8::1";

/// Two hosts on one cable: who asks, and who answers.
struct Pair {
    near: Namespace,
    far: Namespace,
}

fn pair() -> Pair {
    let (near, far) = (host(Namespace::new("near")), host(Namespace::new("far")));
    near.ip(&format!("link add eth0 type veth peer name eth0 netns {}", far.path()));
    for (host, number) in [(&near, 2), (&far, 1)] {
        host.ip("link set eth0 up");
        host.ip(&format!("address add 192.0.2.{number}/24 dev eth0"));
        host.ip(&format!("address add 2001:db8::{number}/64 dev eth0 nodad"));
    }
    Pair { near, far }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn dns(server: &str, name: &str, answer: Option<&str>) -> Check {
    Check::Dns(Dns { server: address(server), name: name.to_owned(), answer: answer.map(address) })
}

fn tcp(server: &str, port: u16) -> Check {
    Check::Tcp(Tcp { server: address(server), port })
}

fn http(port: u16, status: u16, contains: Option<&str>) -> Check {
    Check::Http(Http {
        server: address(SERVER),
        port,
        host: "www.example.com".to_owned(),
        path: "/alive.html".to_owned(),
        status,
        contains: contains.map(str::to_owned),
    })
}

/// Answers every connection to this port, each in a thread, until the tests end.
fn serve(
    host: &Namespace,
    at: &str,
    port: u16,
    answer: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) {
    let listener = host.run(|| TcpListener::bind((address(at), port))).unwrap();
    let answer = Arc::new(answer);
    spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            // Whoever hung up has seen enough.
            spawn(move || answer(stream.unwrap()));
        }
    });
}

/// The same once it has read the head of a request.
fn serve_http(
    host: &Namespace,
    at: &str,
    port: u16,
    answer: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) {
    serve(host, at, port, move |stream| {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        answer(stream)
    });
}

impl Pair {
    fn ask(&self, check: &Check) -> Result<Duration, CheckError> {
        self.near.run(|| checks::ask(check))
    }

    fn told(&self, check: &Check) -> String {
        self.ask(check).map_or_else(|error| error.to_string(), |_| "passes".to_owned())
    }

    /// The words of a check that ends when its time is up, and no later.
    fn told_in_the_end(&self, check: &Check) -> String {
        let start = Instant::now();
        let told = self.told(check);
        let took = start.elapsed();
        assert!(took >= LIMIT && took < LIMIT + Duration::from_secs(3), "{check}: {told} after {took:?}");
        told
    }

    fn serve(&self, port: u16, answer: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) {
        serve(&self.far, SERVER, port, answer);
    }

    fn serve_http(&self, port: u16, answer: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) {
        serve_http(&self.far, SERVER, port, answer);
    }

    /// Answers every question at this address: with the datagrams that are made of it, in turn, and from where they come.
    fn serve_dns(&self, server: &str, answer: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + 'static) {
        let socket = self.far.run(|| UdpSocket::bind((address(server), 53))).unwrap();
        spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut question) {
                answer(&socket, &question[..length], client);
            }
        });
    }

    fn start(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Server {
        let mut command = self.far.command(program.as_ref());
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        Server(command.spawn().expect("it starts"))
    }

    /// Waits for a server that was started to listen on the TCP port.
    fn is_up(&self, server: &str, port: u16) {
        let start = Instant::now();
        while let Err(error) = self.ask(&tcp(server, port)) {
            assert!(start.elapsed() < Duration::from_secs(20), "port {port} {error}");
            sleep(Duration::from_millis(50));
        }
    }
}

/// A server that goes with the story.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// dnsmasq that knows one name, or, with "#", every one.
fn dnsmasq(pair: &Pair, addresses: &[&str]) -> Server {
    lab::need(&["dnsmasq"]);
    let fixed = "--conf-file=/dev/null --keep-in-foreground --no-resolv --no-hosts --user= --group= --pid-file= --local-ttl=60";
    let mut arguments: Vec<&str> = fixed.split(' ').collect();
    arguments.extend(addresses);
    let server = pair.start("dnsmasq", &arguments);
    pair.is_up(SERVER, 53);
    server
}

pub fn dnsmasq_is_asked() {
    let pair = pair();
    let known = [
        "--address=/www.example.com/203.0.113.80",
        "--address=/www.example.com/2001:db8::80",
        "--address=/gone.example.com/",
    ];
    let server = dnsmasq(&pair, &known);
    for at in [SERVER, SERVER6] {
        assert_eq!(pair.told(&dns(at, "www.example.com", None)), "passes", "{at}");
        assert_eq!(pair.told(&dns(at, "WWW.example.com", Some("203.0.113.80"))), "passes", "{at}");
        assert_eq!(pair.told(&dns(at, "www.example.com", Some("2001:db8::80"))), "passes", "{at}");
    }
    let wrong = pair.told(&dns(SERVER, "www.example.com", Some("203.0.113.81")));
    assert!(wrong.starts_with("answers with 203.0.113.80 in place of 203.0.113.81"), "{wrong}");
    let gone = pair.told(&dns(SERVER, "gone.example.com", None));
    assert_eq!(gone, "answers NXDOMAIN: the name is not known there");
    // It has nobody to ask.
    assert_eq!(pair.told(&dns(SERVER, "www.example.org", None)), "answers REFUSED");
    drop(server);
    assert_eq!(pair.told(&dns(SERVER, "www.example.com", None)), "is refused");
    assert_eq!(pair.told(&tcp(SERVER, 53)), "is refused");
}

pub fn dnsmasq_that_answers_every_name_is_found_out() {
    let pair = pair();
    let _server = dnsmasq(&pair, &["--address=/#/192.0.2.1"]);
    assert_eq!(pair.told(&dns(SERVER, "www.example.com", None)), "passes");
    let told = pair.told(&dns(SERVER, "www.example.com", Some("203.0.113.80")));
    assert!(told.starts_with("answers with 192.0.2.1 in place of 203.0.113.80 (does somebody"), "{told}");
}

pub fn web_servers_are_asked() {
    let pair = pair();
    let folder = tempfile::tempdir_in("/run").unwrap();
    std::fs::write(folder.path().join("alive.html"), format!("{}Welcome home", "x".repeat(20_000))).unwrap();
    let place = folder.path().to_str().unwrap();
    lab::need(&["python3", "busybox"]);
    let python = ["-m", "http.server", "--bind", SERVER, "--directory", place, "8000"];
    let httpd = ["httpd", "-f", "-p", "8001", "-h", place];
    let _servers = [pair.start("python3", &python), pair.start("busybox", &httpd)];
    for port in [8000, 8001] {
        pair.is_up(SERVER, port);
        assert_eq!(pair.told(&http(port, 200, None)), "passes", "{port}");
        assert_eq!(pair.told(&http(port, 200, Some("Welcome home"))), "passes", "{port}");
        let missing = pair.told(&http(port, 200, Some("Welcome back")));
        assert_eq!(missing, "answers with a page in which \"Welcome back\" does not stand", "{port}");
        assert_eq!(pair.told(&http(port, 204, None)), "answers 200 in place of 204", "{port}");
        let Check::Http(check) = http(port, 200, None) else { unreachable!() };
        let elsewhere = Check::Http(Http { path: "/gone".to_owned(), ..check });
        assert_eq!(pair.told(&elsewhere), "answers 404 in place of 200", "{port}");
    }
}

/// A good answer to a question, with 203.0.113.80 in it.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
    // The name of the question, A, IN, a minute, four bytes.
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 80]);
    answer
}

pub fn a_dns_server_that_lies_is_not_believed() {
    let pair = pair();
    pair.far.ip("address add 198.51.100.53/32 dev lo");
    pair.near.ip(&format!("route add 198.51.100.53 via {SERVER}"));
    let stranger = pair.far.run(|| UdpSocket::bind((address(SERVER), 1053))).unwrap();
    pair.serve_dns("198.51.100.53", move |socket, question, client| {
        let good = answer(question);
        let refusal = |mut datagram: Vec<u8>| {
            datagram[3] |= 5;
            datagram
        };
        // From elsewhere, with another id, of another name, torn, and none at all: each a refusal, if it were believed.
        let _ = stranger.send_to(&refusal(good.clone()), client);
        let mut other = refusal(good.clone());
        other[0] ^= 1;
        let _ = socket.send_to(&other, client);
        let mut other = refusal(good.clone());
        other[13] ^= 1;
        let _ = socket.send_to(&other, client);
        let _ = socket.send_to(&refusal(good.clone())[..20], client);
        let _ = socket.send_to(&[], client);
        let _ = socket.send_to(question, client);
        let _ = socket.send_to(&good, client);
    });
    assert_eq!(pair.told(&dns("198.51.100.53", "www.example.com", Some("203.0.113.80"))), "passes");
}

pub fn a_question_that_got_lost_is_asked_again() {
    let pair = pair();
    let asked = AtomicUsize::new(0);
    pair.serve_dns(SERVER, move |socket, question, client| {
        if asked.fetch_add(1, Relaxed) == 1 {
            socket.send_to(&answer(question), client).unwrap();
        }
    });
    let took = pair.ask(&dns(SERVER, "www.example.com", None)).expect("the second is answered");
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

pub fn a_dns_server_that_hangs_or_babbles_is_given_up() {
    let pair = pair();
    for number in 1..=2 {
        pair.far.ip(&format!("address add 198.51.100.{number}/32 dev lo"));
    }
    pair.near.ip(&format!("route add 198.51.100.0/24 via {SERVER}"));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    pair.serve_dns("198.51.100.1", move |_, _, _| {
        count.fetch_add(1, Relaxed);
    });
    // As fast as it can, and for longer than anybody waits.
    pair.serve_dns("198.51.100.2", |socket, question, client| {
        let start = Instant::now();
        while start.elapsed() < LIMIT * 2 {
            let _ = socket.send_to(&question.repeat(40), client);
        }
    });
    scope(|scope| {
        for number in 1..=2 {
            let pair = &pair;
            scope.spawn(move || {
                let check = dns(&format!("198.51.100.{number}"), "www.example.com", None);
                assert_eq!(pair.told_in_the_end(&check), "does not answer");
            });
        }
    });
    let asked = asked.load(Relaxed);
    assert!((3..=5).contains(&asked), "{asked} questions");
}

pub fn a_web_server_that_hangs_anywhere_is_given_up() {
    let pair = pair();
    let hang = || sleep(LIMIT * 3);
    let say_and_hang = |port, words: &'static str| {
        pair.serve_http(port, move |mut stream| {
            stream.write_all(words.as_bytes())?;
            hang();
            Ok(())
        });
    };
    let drip = |port, words: &'static str| {
        pair.serve_http(port, move |mut stream| {
            stream.set_nodelay(true)?;
            for byte in words.bytes().cycle() {
                stream.write_all(&[byte])?;
                sleep(Duration::from_millis(100));
            }
            Ok(())
        });
    };
    // It does not even read what is asked.
    pair.serve(8001, move |_stream| {
        hang();
        Ok(())
    });
    say_and_hang(8002, "HTTP/1.1 20");
    say_and_hang(8003, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nHello");
    say_and_hang(8004, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello");
    drip(8005, "HTTP/1.1 200 OK");
    drip(8006, "HTTP/1.1 200 OK\r\n\r\nHello");
    // Our SYN arrives, and what is said to it gets lost.
    pair.far.ip("address add 198.51.100.1/32 dev lo");
    let listener = pair.far.run(|| TcpListener::bind("198.51.100.1:8007")).unwrap();
    pair.far.ip("route add blackhole 192.0.2.3");
    pair.near.ip("address add 192.0.2.3/24 dev eth0");
    pair.near.ip(&format!("route add 198.51.100.1 via {SERVER} src 192.0.2.3"));
    let slow = "answers too slowly, or without end";
    let cases = [
        (http(8001, 204, None), "does not answer"),
        (http(8002, 204, None), slow),
        (http(8003, 200, Some("Welcome")), slow),
        (http(8004, 200, Some("Welcome")), slow),
        (http(8005, 200, None), slow),
        (http(8006, 200, Some("Welcome")), slow),
        (tcp("198.51.100.1", 8007), "does not answer"),
    ];
    scope(|scope| {
        for (check, expected) in &cases {
            let pair = &pair;
            scope.spawn(move || assert_eq!(pair.told_in_the_end(check), *expected, "{check}"));
        }
    });
    drop(listener);
    // Where what is wanted has come, nobody waits for the rest.
    for (port, words) in [(8003, "Hello"), (8004, "Hello"), (8006, "HelloHTTP")] {
        let check = http(port, 200, Some(words));
        let took = pair.ask(&check).unwrap_or_else(|error| panic!("{check}: {error}"));
        assert!(took < LIMIT, "{check}: {took:?}");
    }
}

pub fn a_web_server_that_babbles_costs_no_memory() {
    let pair = pair();
    let sent = Arc::new(AtomicUsize::new(0));
    for (port, begin) in [
        (8001, "HTTP/1.1 200 OK\r\nX: "),
        (8002, "HTTP/1.1 200 OK\r\n\r\n"),
        (8003, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n"),
        (8004, ""),
    ] {
        let sent = Arc::clone(&sent);
        pair.serve_http(port, move |mut stream| {
            stream.write_all(begin.as_bytes())?;
            loop {
                sent.fetch_add(stream.write(&[b'x'; 65536])?, Relaxed);
            }
        });
    }
    let missing = "answers with a page in which \"Welcome\" does not stand";
    let cases = [
        (8001, "answers with a head that has no end"),
        (8002, missing),
        (8003, missing),
        (8004, "answers, but not in HTTP"),
    ];
    for (port, expected) in cases {
        assert_eq!(pair.told(&http(port, 200, Some("Welcome"))), expected, "{port}");
    }
    // What is not read stays in the buffers of the two sockets, some MB at most (tcp_rmem, tcp_wmem).
    let sent = sent.load(Relaxed);
    assert!(sent < 64 << 20, "{sent} bytes were taken");
}

pub fn a_web_server_that_hangs_up_or_redirects_fails() {
    let pair = pair();
    let say = |port, words: &'static str| {
        pair.serve_http(port, move |mut stream| stream.write_all(words.as_bytes()))
    };
    say(8001, "");
    say(8002, "HTTP/1.1 20");
    say(8003, "HTTP/1.1 302 Found\r\nLocation: http://login.wifi.example/?to=x\r\nContent-Length: 0\r\n\r\n");
    say(8004, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlogin");
    say(8005, "220 mail.example.com ESMTP\r\n");
    // Closed with our request unread: a reset.
    pair.serve(8006, |mut stream| stream.read_exact(&mut [0; 1]));
    let portal = "answers 302 in place of 204 and redirects to login.wifi.example (a captive portal?)";
    let cases = [
        (8001, "hangs up without an answer"),
        (8002, "hangs up in the midst of its answer"),
        (8003, portal),
        (8004, "answers 200 in place of 204"),
        (8005, "answers, but not in HTTP"),
        (8006, "hangs up without an answer"),
        (8007, "is refused"),
    ];
    for (port, expected) in cases {
        assert_eq!(pair.told(&http(port, 204, None)), expected, "{port}");
    }
}

pub fn where_there_is_no_way_and_where_we_are_at_fault() {
    let pair = pair();
    pair.near.ip("route add unreachable 198.51.100.1");
    pair.near.ip("route add prohibit 198.51.100.2");
    for server in ["198.51.100.1", "203.0.113.1", "2001:db8:1::1"] {
        for check in [dns(server, "www.example.com", None), tcp(server, 80)] {
            let error = pair.ask(&check).expect_err("there is no way there");
            assert_eq!(error, CheckError::Unreachable("is unreachable".to_owned()), "{check}");
        }
    }
    for check in [dns("198.51.100.2", "www.example.com", None), tcp("198.51.100.2", 80)] {
        let error = pair.ask(&check).expect_err("this machine forbids it");
        assert!(matches!(error, CheckError::OwnFault(_)) && error.is_no_verdict(), "{check}: {error:?}");
    }
    lab::need(&["nft"]);
    // Whatever its reason is called, it is no way.
    pair.far.sysctl("net.ipv4.icmp_ratelimit", "0");
    for reason in ["prot-unreachable", "net-prohibited", "host-prohibited", "admin-prohibited"] {
        let table = format!(
            "table ip {reason} {{ chain in {{ type filter hook input priority 0; \
             meta l4proto {{ tcp, udp }} reject with icmp type {reason}; }}; }}"
        );
        assert!(pair.far.command("nft").arg(table).status().unwrap().success());
        for check in [dns(SERVER, "www.example.com", None), tcp(SERVER, 80)] {
            let error = pair.ask(&check).expect_err(reason);
            assert_eq!(error, CheckError::Unreachable("is unreachable".to_owned()), "{reason}: {check}");
        }
        assert!(pair.far.command("nft").args(["delete", "table", "ip", reason]).status().unwrap().success());
    }
    let rules = format!(
        "table inet here {{ chain out {{ type filter hook output priority 0; ip daddr {SERVER} drop; }}; }}"
    );
    assert!(pair.near.command("nft").arg(rules).status().unwrap().success());
    // A provider's router, which to IPv6 is the same errno as a `prohibit` of our own.
    let theirs = "table ip6 there { chain in { type filter hook input priority 0; \
                  meta l4proto { tcp, udp } reject with icmpv6 type admin-prohibited; }; }";
    assert!(pair.far.command("nft").arg(theirs).status().unwrap().success());
    for check in [dns(SERVER6, "www.example.com", None), tcp(SERVER6, 80)] {
        let error = pair.ask(&check).expect_err("it is forbidden there");
        assert_eq!(
            error,
            CheckError::Unreachable("is forbidden by a router on the way".to_owned()),
            "{check}"
        );
    }
    let error = pair.ask(&dns(SERVER, "www.example.com", None)).expect_err("the firewall drops it");
    assert!(matches!(&error, CheckError::NotAsked(why) if why.contains("firewall")), "{error:?}");
}

const DNS: &str = "{dns: 203.0.113.80, name: www.example.com, answer: 203.0.113.81}";
const HTTP: &str = "{http: 203.0.113.80, host: www.example.com, path: /alive.html}";
const TCP: &str = "{tcp: 203.0.113.80, port: 443}";

/// A router with two lines under strict reverse-path filtering, both with the same checks, and whom they ask in the Internet:
/// dnsmasq, which goes with the second value, and who answers at ports 80 and 443.
fn router(checks: &[&str]) -> (Lab, Server) {
    lab::need(&["dnsmasq", "nft"]);
    lab::need_users();
    let lab = Lab::new(2, env!("CARGO_BIN_EXE_wanfo"));
    for interface in ["all", "wan1", "wan2"] {
        lab.router.sysctl(&format!("net.ipv4.conf.{interface}.rp_filter"), "1");
    }
    let same = "targets: [198.51.100.11], delay: 0s, stable: 0s, checks:";
    lab.configure(&format!(
        "links:
  - {{name: fibre, interface: wan1, {same} &same [{}]}}
  - {{name: lte, interface: wan2, {same} *same}}
{}
",
        checks.join(", "),
        crate::story::PROBE
    ));
    serve(&lab.internet, "203.0.113.80", 443, |_| Ok(()));
    serve_http(&lab.internet, "203.0.113.80", 80, |mut stream| {
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
    });
    let server = name_server(&lab.internet, "203.0.113.80", "/www.example.com/203.0.113.81");
    (lab, server)
}

/// dnsmasq with what `--address=` takes.
fn name_server(host: &Namespace, at: &str, known: &str) -> Server {
    let mut dnsmasq = host.command("dnsmasq");
    let fixed = "--conf-file=/dev/null --keep-in-foreground --no-resolv --no-hosts --user= --group= --pid-file= --bind-interfaces";
    dnsmasq.args(fixed.split(' ')).args([format!("--listen-address={at}"), format!("--address={known}")]);
    let server = Server(dnsmasq.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("dnsmasq starts"));
    let start = Instant::now();
    while let Err(error) = host.run(|| checks::ask(&tcp(at, 53))) {
        assert!(start.elapsed() < Duration::from_secs(20), "port 53 of {at} {error}");
        sleep(Duration::from_millis(50));
    }
    server
}

fn nft(host: &Namespace, rules: &str) {
    assert!(host.command("nft").arg(rules).status().unwrap().success(), "{rules}");
}

/// A run, so long after the one before, and what `status` says of it.
fn check_after(lab: &Lab, time: Duration) -> serde_json::Value {
    lab.let_pass(time);
    let run = lab.wanfo(&["check"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let status = lab.wanfo(&["status", "--format", "json"]);
    serde_json::from_str(&status.stdout).expect("JSON")
}

pub fn a_line_whose_name_server_is_dead_is_left_and_taken_again() {
    let (lab, _server) = router(&[DNS]);
    let status = check_after(&lab, Duration::ZERO);
    assert_eq!(
        (status["active"].as_str(), status["problems"].as_array()),
        (Some("fibre"), Some(&vec![])),
        "{status:#}"
    );
    for link in [0, 1] {
        assert_eq!(status["links"][link]["checks"][0]["ok"], true, "{status:#}");
    }
    // What says whether the question of each link leaves by its own line, too.
    let drops = "table ip dead { chain f { type filter hook forward priority 0; udp dport 53 drop; }; }";
    nft(lab.provider(1), drops);
    let status = check_after(&lab, Duration::from_secs(30));
    assert_eq!(
        (status["active"].as_str(), status["links"][0]["up"].as_bool()),
        (Some("fibre"), Some(true)),
        "{status:#}"
    );
    assert_eq!(status["links"][1]["checks"][0]["ok"], true, "{status:#}");
    let status = check_after(&lab, Duration::from_secs(5));
    assert_eq!(
        (status["active"].as_str(), status["links"][0]["useless"].as_bool()),
        (Some("lte"), Some(true)),
        "{status:#}"
    );
    let why =
        "fibre is down: answers ping, but no service: DNS www.example.com at 203.0.113.80 does not answer";
    assert_eq!(status["reason"], why, "{status:#}");

    nft(lab.provider(1), "delete table ip dead");
    check_after(&lab, Duration::from_secs(30));
    let status = check_after(&lab, Duration::from_secs(2));
    assert_eq!(
        (status["active"].as_str(), status["links"][0]["useless"].as_bool()),
        (Some("fibre"), Some(false)),
        "{status:#}"
    );
}

pub fn a_server_that_is_dead_over_every_line_moves_nothing() {
    let (lab, server) = router(&[DNS]);
    check_after(&lab, Duration::ZERO);
    drop(server);
    check_after(&lab, Duration::from_secs(30));
    let status = check_after(&lab, Duration::from_secs(5));
    assert_eq!(status["active"], "fibre", "{status:#}");
    for link in [0, 1] {
        assert_eq!(
            (&status["links"][link]["up"], &status["links"][link]["useless"]),
            (&true.into(), &false.into()),
            "{status:#}"
        );
    }
    assert_eq!(status["problems"][0]["code"], "checks-fail", "{status:#}");
    assert_eq!(status["links"][0]["checks"][0]["error"], "is refused", "{status:#}");
}

/// Pings pass, and nothing else.
const PINGS_ONLY: &str = "table ip pings { chain f { type filter hook forward priority 0; meta l4proto { tcp, udp } drop; }; \
                          chain i { type filter hook input priority 0; meta l4proto { tcp, udp } drop; }; }";

pub fn servers_that_are_silent_over_every_line_move_nothing() {
    let (lab, _server) = router(&[DNS, HTTP, TCP]);
    let status = check_after(&lab, Duration::ZERO);
    assert_eq!(status["problems"].as_array(), Some(&vec![]), "{status:#}");
    nft(&lab.internet, PINGS_ONLY);
    for pause in [30, 5, 30] {
        let status = check_after(&lab, Duration::from_secs(pause));
        assert_eq!(status["active"], "fibre", "{status:#}");
        for link in [0, 1] {
            let link = &status["links"][link];
            assert_eq!((&link["up"], &link["useless"]), (&true.into(), &false.into()), "{status:#}");
        }
        // Once may be chance.
        assert!(pause == 30 || status["problems"][0]["code"] == "checks-fail", "{status:#}");
    }
}

/// A line that answers pings and has something wrong is not switched to, and is left. `why` is told of it.
fn is_left_and_not_switched_to(
    checks: &[&str],
    wrong: impl Fn(&Namespace) -> Option<Server> + Sync,
    why: &str,
) {
    scope(|scope| {
        scope.spawn(|| is_not_switched_to(checks, &wrong, why));
        is_left(checks, &wrong, why);
    });
}

fn is_not_switched_to(checks: &[&str], wrong: impl Fn(&Namespace) -> Option<Server>, why: &str) {
    let (lab, _server) = router(checks);
    let status = check_after(&lab, Duration::ZERO);
    assert_eq!(status["problems"].as_array(), Some(&vec![]), "{status:#}");
    let _wrong = wrong(lab.provider(2));
    // It is asked every ten minutes while it waits, and again with its next probe where a check has failed.
    let [_, status] = [601, 61].map(|pause| check_after(&lab, Duration::from_secs(pause)));
    let lte = &status["links"][1];
    assert_eq!((&lte["up"], &lte["useless"]), (&false.into(), &true.into()), "{status:#}");
    assert!(lte["checks"][0]["error"].as_str().is_some_and(|error| error.starts_with(why)), "{lte:#}");
    lab.cut_silently(1);
    crate::story::beyond_the_silence(|| {
        let status = check_after(&lab, Duration::ZERO);
        assert_eq!(status["active"], "fibre", "{status:#}");
    });
    let status = check_after(&lab, Duration::ZERO);
    assert_eq!(status["links"][0]["up"], false, "{status:#}");
}

fn is_left(checks: &[&str], wrong: impl Fn(&Namespace) -> Option<Server>, why: &str) {
    let (lab, _server) = router(checks);
    check_after(&lab, Duration::ZERO);
    let _wrong = wrong(lab.provider(1));
    let status = check_after(&lab, Duration::from_secs(30));
    assert_eq!(status["active"], "fibre", "once may be chance: {status:#}");
    let status = check_after(&lab, Duration::from_secs(5));
    assert_eq!(
        (&status["active"], &status["links"][0]["useless"]),
        (&"lte".into(), &true.into()),
        "{status:#}"
    );
    assert!(status["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{status:#}");
    // It answers pings all the time, and does not have the traffic back for it.
    let status = check_after(&lab, Duration::from_secs(2));
    assert_eq!(status["active"], "lte", "{status:#}");
}

/// What is asked of anybody is answered by the provider himself.
fn caught(provider: &Namespace, port: &str) {
    nft(
        provider,
        &format!(
            "table ip caught {{ chain p {{ type nat hook prerouting priority dstnat; iifname customer {port} redirect; }}; }}"
        ),
    );
}

pub fn a_captive_portal_is_left_and_not_switched_to() {
    let portal = |provider: &Namespace| {
        serve_http(provider, "0.0.0.0", 80, |mut stream| {
            stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n")
        });
        caught(provider, "tcp dport 80");
        None
    };
    is_left_and_not_switched_to(
        &[HTTP],
        portal,
        "answers 302 in place of 204 and redirects to login.example",
    );
}

pub fn a_walled_garden_is_left_and_not_switched_to() {
    let garden = |provider: &Namespace| {
        caught(provider, "udp dport 53");
        Some(name_server(provider, "0.0.0.0", "/#/192.0.2.1"))
    };
    is_left_and_not_switched_to(&[DNS], garden, "answers with 192.0.2.1 in place of 203.0.113.81");
}

pub fn a_line_that_carries_pings_and_nothing_else_is_left_and_not_switched_to() {
    let pings_only = |provider: &Namespace| {
        nft(provider, PINGS_ONLY);
        None
    };
    is_left_and_not_switched_to(&[DNS, HTTP, TCP], pings_only, "does not answer");
}
