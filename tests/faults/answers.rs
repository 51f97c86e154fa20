use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{sleep, spawn};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::*;
use crate::lab::target;
use crate::story::beyond_the_silence;

/// What the Internet sends back to one echo request: after how long, and from whom.
type Replies = Vec<(Duration, Ipv4Addr)>;

/// Answers echo requests in place of the Internet's kernel, until dropped.
struct Impostor(Arc<AtomicBool>);

impl Impostor {
    /// Requests to the first line's targets are answered by `replies`, those to the others' as it should be.
    fn start(lab: &Lab, replies: fn(Ipv4Addr) -> Replies) -> Impostor {
        lab.internet.sysctl("net.ipv4.icmp_echo_ignore_all", "1");
        let raw = || socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp);
        let ear = lab.internet.run(raw).expect("a raw socket");
        // The pause after which a stopped impostor notices.
        setsockopt(&ear, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100)).expect("a timeout");
        // One mouth for every address that may have to speak.
        let mouths = [target(1, 1), target(2, 1), lab::SERVICE].map(|from| {
            let mouth = lab.internet.run(raw).expect("a raw socket");
            bind(mouth.as_raw_fd(), &address(from)).expect("an address of the Internet's");
            (from, mouth)
        });
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mouths) = (Arc::clone(&stop), Arc::new(mouths));
        spawn(move || {
            let mut packet = [0; 1500];
            while !stopped.load(Relaxed) {
                let Ok(length) = recv(ear.as_raw_fd(), &mut packet, MsgFlags::empty()) else { continue };
                // The IPv4 header (RFC 791) says who asked whom; the ICMP message (RFC 792) follows it.
                let from_header = |at: usize| Ipv4Addr::from(*packet[at..].first_chunk::<4>().unwrap());
                let (asker, asked) = (from_header(12), from_header(16));
                let request = packet[usize::from(packet[0] & 15) * 4..length].to_vec();
                if request[0] != ECHO_REQUEST {
                    continue;
                }
                let replies =
                    if asked == target(1, 1) { replies(asked) } else { vec![(Duration::ZERO, asked)] };
                for (after, from) in replies {
                    let (mouths, reply) = (Arc::clone(&mouths), reply_to(&request));
                    spawn(move || {
                        sleep(after);
                        speak(&mouths[..], from, &reply, asker);
                    });
                }
            }
        });
        Impostor(stop)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

const ECHO_REQUEST: u8 = 8;

fn address(host: Ipv4Addr) -> SockaddrIn {
    SockaddrIn::from(std::net::SocketAddrV4::new(host, 0))
}

/// The same message as an echo reply, type 0: the checksum (RFC 1071) grows by what the type lost.
fn reply_to(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply[0] = 0;
    let checksum = u32::from(u16::from_be_bytes([reply[2], reply[3]])) + (u32::from(ECHO_REQUEST) << 8);
    let checksum = (checksum & 0xffff) + (checksum >> 16);
    reply[2..4].copy_from_slice(&(checksum as u16).to_be_bytes());
    reply
}

fn speak(mouths: &[(Ipv4Addr, OwnedFd)], from: Ipv4Addr, reply: &[u8], to: Ipv4Addr) {
    let (_, mouth) = mouths.iter().find(|(own, _)| *own == from).expect("a mouth for every address");
    // A lab that is being taken down takes no more answers.
    let _ = sendto(mouth.as_raw_fd(), reply, &address(to), MsgFlags::empty());
}

/// The impostor's answers do for a working line where they are true; otherwise the first link goes down by them.
fn assert_first_link_fails(probe: &str, replies: fn(Ipv4Addr) -> Replies, why: &str) {
    let lab = at_work();
    lab.configure(&TWO_LINKS.replace("silence: 1s", probe));
    let honest = Impostor::start(&lab, |asked| vec![(Duration::ZERO, asked)]);
    assert_eq!(lab.wanfo(&["check"]).stderr, "");
    assert_eq!(silent_for(&lab), [0, 0]);
    drop(honest);
    sleep(Duration::from_millis(250));

    let _impostor = Impostor::start(&lab, replies);
    assert_ends(&lab.wanfo(&["check"]), 0, &[why, "switched from fibre to lte"]);
    assert_carried_by(&lab, 2);
}

pub fn an_answer_from_the_wrong_host_does_not_count() {
    let answers = |_| vec![(Duration::ZERO, lab::SERVICE)];
    assert_first_link_fails("silence: 1s", answers, "no reply from 198.51.100.11");
}

/// Somebody's upload fills the queue, and the line is slow, not dead.
const LATE: Duration = Duration::from_millis(600);

pub fn a_late_answer_counts() {
    let lab = at_work();
    lab.configure(&TWO_LINKS.replace("silence: 1s", "silence: 3s"));
    let _impostor = Impostor::start(&lab, |asked| vec![(LATE, asked)]);
    for _ in 0..3 {
        assert_eq!(lab.wanfo(&["check"]).stderr, "");
        let fibre = &status(&lab)["links"][0];
        assert_eq!((active(&lab).as_str(), &fibre["up"]), ("fibre", &true.into()));
        assert!(fibre["targets"][0]["rtt_ms"].as_f64() >= Some(600.0), "{fibre}");
    }
}

pub fn an_answer_later_than_the_config_allows_does_not_count() {
    // No later request may take it for its own either.
    let why = "later than `max_latency`";
    assert_first_link_fails("silence: 2s, max_latency: 400ms", |asked| vec![(LATE, asked)], why);
}

pub fn a_doubled_answer_counts_once() {
    let lab = at_work();
    let _impostor = Impostor::start(&lab, |asked| vec![(Duration::ZERO, asked); 2]);
    for _ in 0..3 {
        assert_eq!(lab.wanfo(&["check"]).stderr, "");
        assert_eq!(silent_for(&lab), [0, 0]);
    }
    let targets = status(&lab)["links"][0]["targets"].as_array().map(Vec::len);
    assert_eq!(targets, Some(1));
}

pub fn a_firewall_of_our_own_is_no_verdict() {
    let lab = at_work();
    let nft =
        |rules: &str| lab.router.command("nft").arg(rules).output().map(|output| output.status.success());
    let rules = "table inet t { chain out { type filter hook output priority 0; \
                 ip protocol icmp ip daddr 198.51.100.11 drop; }; }";
    match nft(rules) {
        Ok(true) => {}
        other => lab::skip(&format!("this needs nft, and it said {other:?}")),
    }
    let before = kernel(&lab);
    beyond_the_silence(|| {
        let words = ["a local firewall rule refuses our echo requests", "output chain"];
        assert_ends(&lab.wanfo(&["check"]), 1, &words);
    });
    assert_eq!(silent_for(&lab), [0, 0]);
    assert_eq!(kernel(&lab), before);
    nft("delete table inet t").expect("nft was there just now");
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
}

/// A hung modem keeps its carrier, and what the LAN sends fills the queue before it: the kernel refuses our requests
/// with ENOBUFS, and that says something of the line.
pub fn a_modem_whose_queue_does_not_drain_is_left() {
    let lab = at_work();
    let tc = "qdisc replace dev wan1 root bfifo limit 1".split(' ');
    match lab.router.command("tc").args(tc).output() {
        Ok(output) if output.status.success() => {}
        other => lab::skip(&format!("this needs tc and bfifo, and it said {other:?}")),
    }
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    assert_carried_by(&lab, 2);
}
