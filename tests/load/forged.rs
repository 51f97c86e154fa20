use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{JoinHandle, spawn};
use std::time::Instant;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};

use super::*;
use crate::lab::{router_address, router_address6, target, target6};
use crate::story::{PROBE, Story, config, link};

/// On the provider of line 1, who sends the router echo replies in the target's name as fast as can be: in every one there is
/// another number of a socket, and the sequence number that a first request has.
struct Forger {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    since: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Forger {
    fn start(story: &Story, router: IpAddr, forge: fn(u16) -> Vec<u8>) -> Forger {
        let family = if router.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        // With this protocol the packet's header is ours to write (raw(7)).
        let mouth: OwnedFd = story
            .provider(1)
            .run(|| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw))
            .expect("a raw socket");
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let router = SockaddrStorage::from(SocketAddr::new(router, 0));
        let thread = spawn(move || {
            for number in (0..=u16::MAX).cycle() {
                if stopped.load(Relaxed) {
                    return;
                }
                if sendto(mouth.as_raw_fd(), &forge(number), &router, MsgFlags::empty()).is_ok() {
                    count.fetch_add(1, Relaxed);
                }
            }
        });
        Forger { stop, sent, since: Instant::now(), thread: Some(thread) }
    }

    /// How many went, and how many a second.
    fn end(mut self) -> (usize, usize) {
        self.stop.store(true, Relaxed);
        self.thread.take().expect("it runs").join().expect("it does not panic");
        let sent = self.sent.load(Relaxed);
        (sent, (sent as f64 / self.since.elapsed().as_secs_f64()) as usize)
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// An echo reply (RFC 792) in an IPv4 packet (RFC 791), whose own checksum the kernel adds.
fn over_ipv4(identifier: u16) -> Vec<u8> {
    let (from, to) = (target(1, 1), router_address(1));
    let header = [&[0x45, 0, 0, 36, 0, 0, 0, 0, 64, 1, 0, 0][..], &from.octets(), &to.octets()].concat();
    [header, echo_reply(0, identifier, &[])].concat()
}

/// An echo reply (RFC 4443) in an IPv6 packet (RFC 8200), both of whose addresses its checksum covers.
fn over_ipv6(identifier: u16) -> Vec<u8> {
    let addresses = [target6(1, 1).octets(), router_address6(1).octets()].concat();
    let reply = echo_reply(129, identifier, &[&addresses[..], &[0, 0, 0, 16, 0, 0, 0, 58]].concat());
    [&[0x60, 0, 0, 0, 0, 16, 58, 64][..], &addresses, &reply].concat()
}

/// With the checksum of RFC 1071 over it and what else is `covered`.
fn echo_reply(kind: u8, identifier: u16, covered: &[u8]) -> Vec<u8> {
    let [high, low] = identifier.to_be_bytes();
    let mut message = [kind, 0, 0, 0, high, low, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let words = covered.chunks(2).chain(message.chunks(2));
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message.to_vec()
}

pub fn replies_that_nobody_asked_for_keep_no_dead_line_alive_and_no_good_one_from_answering() {
    flooded(over_ipv4, router_address(1).into(), target(1, 1).into());
}

pub fn forged_replies_over_ipv6_do_no_more() {
    flooded(over_ipv6, router_address6(1).into(), target6(1, 1).into());
}

fn flooded(forge: fn(u16) -> Vec<u8>, router: IpAddr, target: IpAddr) {
    let primary = link(1, "primary", &format!("targets: [\"{target}\"]"));
    let story = Story::begin(2, &config(&[primary, link(2, "secondary", "")], &[PROBE]));
    story.check();
    let rounds = load(50);
    let forger = Forger::start(&story, router, forge);
    for _ in 0..rounds {
        story.check();
        assert_eq!(story.active(), "primary");
    }
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    for _ in 0..rounds / 2 {
        story.check();
        assert_eq!((story.active().as_str(), &story.link("primary")["up"]), ("secondary", &false.into()));
    }
    let (sent, a_second) = forger.end();
    println!("{sent} forged replies, {a_second} a second: the dead line was left, and nothing else.");
    assert!(sent > 1000, "{sent}");
}
