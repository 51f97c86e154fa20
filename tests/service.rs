//! What service checks say and make of the answers, without a network: bytes go in, a verdict comes out.

use simple_dns::rdata::{A, AAAA, CNAME, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord};
use wanfo::core::service::http::{self, MOST_READ};
use wanfo::core::service::{Check, CheckError, Dns, Http, dns};

const ID: u16 = 0x1234;

fn dns_check(answer: Option<&str>) -> Dns {
    Dns {
        server: "198.51.100.53".parse().unwrap(),
        name: "www.example.com".to_owned(),
        answer: answer.map(|address| address.parse().unwrap()),
    }
}

fn record(data: RData<'static>) -> ResourceRecord<'static> {
    ResourceRecord::new(Name::new_unchecked("www.example.com"), CLASS::IN, 60, data)
}

fn a(address: [u8; 4]) -> ResourceRecord<'static> {
    record(RData::A(A::from(std::net::Ipv4Addr::from(address))))
}

/// An answer to the question of this check, changed as the case wants it.
fn datagram(check: &Dns, records: &[ResourceRecord<'static>], change: impl FnOnce(&mut Packet)) -> Vec<u8> {
    let question = dns::question(check, ID);
    let mut packet = Packet::parse(&question).unwrap().into_reply();
    packet.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    packet.answers.extend_from_slice(records);
    change(&mut packet);
    packet.build_bytes_vec_compressed().unwrap()
}

fn told(verdict: Option<Result<(), CheckError>>) -> String {
    match verdict {
        None => "nothing".to_owned(),
        Some(Ok(())) => "passes".to_owned(),
        Some(Err(error)) => error.to_string(),
    }
}

#[test]
fn a_dns_answer_is_one_when_it_has_the_address() {
    let (any, v4, v6) = (dns_check(None), dns_check(Some("203.0.113.80")), dns_check(Some("2001:db8::80")));
    let good = a([203, 0, 113, 80]);
    let other = a([192, 0, 2, 1]);
    let aaaa = record(RData::AAAA(AAAA { address: u128::from_be_bytes([0x20; 16]) }));
    let alias = record(RData::CNAME(CNAME(Name::new_unchecked("real.example.com"))));
    let walled = |instead: &str, of: &str| {
        format!("answers with {instead} in place of {of} (does somebody on this line answer every name?)")
    };
    let none = "answers that the name has no address";
    let cases: [(&Dns, Vec<ResourceRecord>, &str); 9] = [
        (&any, vec![other.clone()], "passes"),
        (&any, vec![alias.clone(), good.clone()], "passes"),
        (&any, vec![], none),
        (&any, vec![alias], none),
        (&any, vec![aaaa.clone()], none),
        (&v4, vec![other.clone(), good], "passes"),
        (&v4, vec![other.clone()], &walled("192.0.2.1", "203.0.113.80")),
        (&v6, vec![aaaa], &walled("2020:2020:2020:2020:2020:2020:2020:2020", "2001:db8::80")),
        (&v6, vec![other], none),
    ];
    for (check, records, expected) in cases {
        let datagram = datagram(check, &records, |_| ());
        assert_eq!(told(dns::judge(check, ID, &datagram)), expected, "{check:?} {records:?}");
    }
}

#[test]
fn errors_of_a_dns_server_are_told_by_their_names() {
    let check = dns_check(None);
    let words = [
        (RCODE::NameError, "answers NXDOMAIN: the name is not known there"),
        (RCODE::ServerFailure, "answers SERVFAIL"),
        (RCODE::Refused, "answers REFUSED"),
        (RCODE::NotImplemented, "answers NOTIMP"),
        (RCODE::YXDOMAIN, "answers an error"),
    ];
    for (code, expected) in words {
        // An address beside an error is none.
        let with_question = datagram(&check, &[a([192, 0, 2, 1])], |packet| *packet.rcode_mut() = code);
        assert_eq!(told(dns::judge(&check, ID, &with_question)), expected);
        let without = datagram(&check, &[], |packet| {
            *packet.rcode_mut() = code;
            packet.questions.clear();
        });
        assert_eq!(told(dns::judge(&check, ID, &without)), expected);
    }
}

#[test]
fn what_is_no_answer_to_our_question_is_waited_past() {
    let check = dns_check(None);
    let good = [a([203, 0, 113, 80])];
    let other = Dns { name: "www.example.org".to_owned(), ..dns_check(None) };
    let shouted = Dns { name: "WWW.Example.COM".to_owned(), ..dns_check(None) };
    let told_of = |datagram: &[u8]| told(dns::judge(&check, ID, datagram));
    assert_eq!(told_of(&datagram(&check, &good, |packet| packet.set_id(ID + 1))), "nothing");
    assert_eq!(told_of(&datagram(&other, &good, |_| ())), "nothing");
    assert_eq!(told_of(&datagram(&dns_check(Some("2001:db8::1")), &good, |_| ())), "nothing");
    assert_eq!(
        told_of(&datagram(&check, &good, |packet| packet.remove_flags(PacketFlag::RESPONSE))),
        "nothing"
    );
    assert_eq!(told_of(&datagram(&check, &good, |packet| packet.questions.clear())), "nothing");
    assert_eq!(told_of(&dns::question(&check, ID)), "nothing");
    assert_eq!(told_of(&datagram(&shouted, &good, |_| ())), "passes");
    let whole = datagram(&check, &good, |_| ());
    for length in 0..whole.len() {
        assert_eq!(told_of(&whole[..length]), "nothing", "cut at {length}");
    }
    // The head promises 65535 records.
    let mut boast = whole;
    boast[6..8].copy_from_slice(&[0xff; 2]);
    assert_eq!(told_of(&boast), "nothing");
}

#[test]
fn a_truncated_answer_counts_where_the_address_is_in_it() {
    let check = dns_check(None);
    let cut = |records: &[ResourceRecord<'static>]| {
        let datagram = datagram(&check, records, |packet| packet.set_flags(PacketFlag::TRUNCATION));
        told(dns::judge(&check, ID, &datagram))
    };
    assert_eq!(cut(&[a([192, 0, 2, 1])]), "passes");
    assert_eq!(cut(&[]), "answers with more than a datagram holds, and what is looked for is not in it");
}

fn http_check(status: u16, contains: Option<&str>) -> Http {
    Http {
        server: "203.0.113.80".parse().unwrap(),
        port: 80,
        host: "www.example.com".to_owned(),
        path: "/alive".to_owned(),
        status,
        contains: contains.map(str::to_owned),
    }
}

#[test]
fn the_request_names_the_host() {
    let head = |port, host: &str| {
        let check = Http { port, host: host.to_owned(), ..http_check(204, None) };
        String::from_utf8(http::request(&check)).unwrap()
    };
    let version = env!("CARGO_PKG_VERSION");
    let rest = format!("User-Agent: wanfo/{version}\r\nConnection: close\r\n\r\n");
    let expected = |host: &str| format!("GET /alive HTTP/1.1\r\nHost: {host}\r\n{rest}");
    assert_eq!(head(80, "www.example.com"), expected("www.example.com"));
    assert_eq!(head(8080, "www.example.com"), expected("www.example.com:8080"));
    assert_eq!(head(8080, "2001:db8::80"), expected("[2001:db8::80]:8080"));
}

/// What comes of an answer that comes in pieces of this size, and ends.
fn verdict(check: &Http, answer: &[u8], piece: usize) -> String {
    let mut heard = http::Answer::to(check);
    let early = answer.chunks(piece).find_map(|piece| heard.take(piece));
    told(Some(early.unwrap_or_else(|| Err(heard.end()))))
}

#[test]
fn an_http_answer_needs_its_status_and_its_words() {
    let (bare, page) = (http_check(204, None), http_check(200, Some("Welcome home")));
    let missing = "answers with a page in which \"Welcome home\" does not stand";
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = format!("{ok}Transfer-Encoding: Chunked\r\n\r\n");
    let cases: Vec<(&Http, String, &str)> = vec![
        (&bare, "HTTP/1.1 204 No Content\r\n\r\n".into(), "passes"),
        (&bare, "HTTP/1.0 204\r\n\r\n".into(), "passes"),
        (
            &bare,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 204 No\r\n\r\n".into(),
            "passes",
        ),
        (&bare, format!("{ok}\r\n"), "answers 200 in place of 204"),
        (&bare, "HTTP/1.1 101 Switching\r\n\r\n".into(), "answers 101 in place of 204"),
        (
            &bare,
            "HTTP/1.1 503 Busy\r\nLocation: http://portal.example/\r\n\r\n".into(),
            "answers 503 in place of 204",
        ),
        (
            &bare,
            "HTTP/1.1 302 Found\r\nLocation: http://user@portal.example:8080/login?x\r\n\r\n".into(),
            "answers 302 in place of 204 and redirects to portal.example:8080 (a captive portal?)",
        ),
        (
            &bare,
            "HTTP/1.1 307 T\r\nLOCATION: //por\u{202e}tal\u{7}.example\\x\r\n\r\n".into(),
            "answers, but not in HTTP",
        ),
        (
            &bare,
            "HTTP/1.1 307 T\r\nLocation: //por\u{202e}tal.example\\x\r\n\r\n".into(),
            "answers 307 in place of 204 and redirects to por?tal.example (a captive portal?)",
        ),
        (
            &bare,
            "HTTP/1.1 301 T\r\nLocation: /login\r\n\r\n".into(),
            "answers 301 in place of 204 and redirects to another page of its own (a captive portal?)",
        ),
        (&bare, "SSH-2.0-OpenSSH\r\n".into(), "answers, but not in HTTP"),
        (&bare, String::new(), "hangs up without an answer"),
        (&bare, "HTTP/1.1 204 No Con".into(), "hangs up in the midst of its answer"),
        (&page, format!("{ok}Content-Length: 20\r\n\r\n... Welcome home ..."), "passes"),
        (&page, format!("{ok}\r\n... Welcome home"), "passes"),
        (&page, format!("{ok}\r\n... Welcome"), missing),
        (&page, format!("{ok}Content-Length: 8\r\n\r\nWelcome home"), missing),
        (&page, format!("{ok}Content-Length: 80\r\n\r\nWelcome"), "hangs up in the midst of its answer"),
        (&page, format!("{ok}Content-Length: 0\r\n\r\n"), missing),
        (&page, format!("{ok}X-Words: Welcome home\r\nContent-Length: 2\r\n\r\nno"), missing),
        (&page, format!("{chunked}5;x=y\r\nWelco\r\nB\r\nme home ...\r\n0\r\n\r\n"), "passes"),
        (&page, format!("{chunked}3\r\nWel\r\n0\r\n\r\ncome home"), missing),
        (&page, format!("{chunked}xyz\r\nWel"), "answers with a page that is torn"),
        (&page, format!("{chunked}ffffffffffffffffff\r\nWel"), "answers with a page that is torn"),
        (&page, format!("{chunked}5\r\nWelc"), "hangs up in the midst of its answer"),
        (&page, format!("{chunked}1{}", ";".repeat(2000)), "answers with a page that is torn"),
        (&page, "HTTP/1.1 404 Not Found\r\n\r\nWelcome home".into(), "answers 404 in place of 200"),
    ];
    for (check, answer, expected) in cases {
        for piece in [1, 2, 7, 4096] {
            assert_eq!(verdict(check, answer.as_bytes(), piece), expected, "{answer:?} in pieces of {piece}");
        }
    }
}

#[test]
fn an_answer_without_end_is_read_so_far() {
    let page = http_check(200, Some("Welcome"));
    let long = "x".repeat(MOST_READ);
    let missing = "answers with a page in which \"Welcome\" does not stand";
    let heads = ["", "Content-Length: 99999999999999\r\n", "Content-Length: nonsense\r\n"];
    for head in heads {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n{long}Welcome");
        assert_eq!(verdict(&page, answer.as_bytes(), 4096), missing, "{head}");
    }
    let chunks = "1\r\nx\r\n".repeat(MOST_READ / 6);
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{chunks}");
    assert_eq!(verdict(&page, answer.as_bytes(), 4096), missing);
    let head = format!("HTTP/1.1 200 OK\r\nX: {long}");
    assert_eq!(verdict(&page, head.as_bytes(), 4096), "answers with a head that has no end");
    let lines = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101));
    assert_eq!(verdict(&page, lines.as_bytes(), 4096), "answers, but not in HTTP");
}

#[test]
fn checks_are_called_by_what_they_ask() {
    let names = [
        Check::Dns(dns_check(None)).to_string(),
        Check::Http(http_check(204, None)).to_string(),
        Check::Http(Http { port: 8080, ..http_check(204, None) }).to_string(),
    ];
    assert_eq!(
        names,
        [
            "DNS www.example.com at 198.51.100.53",
            "HTTP www.example.com/alive at 203.0.113.80",
            "HTTP www.example.com/alive at 203.0.113.80 port 8080",
        ]
    );
}
