//! An echo request that knows its own reply, by a payload that nobody can guess. It is for when somebody sends replies that
//! nobody asked for: ping-rs reads no payload, and takes what comes in with the number of its socket, of which there are
//! 65,536.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// So many more replies than requests are no work of doubled packets and broadcast pings.
const TOO_MANY: u64 = 1000;

/// RFC 792 and RFC 4443; type, code, checksum and identifier are eight bytes with the sequence number, and the kernel fills in
/// two of them (net/ipv4/ping.c).
const HEADER: usize = 8;

/// Whether replies that nobody asked for have come since the boot, by what the kernel counts. It is asked once for each family.
pub fn is_needed(target: IpAddr) -> bool {
    static OF_IPV4: OnceLock<bool> = OnceLock::new();
    static OF_IPV6: OnceLock<bool> = OnceLock::new();
    let (known, counters) = match target {
        IpAddr::V4(_) => (&OF_IPV4, ipv4_counters as fn() -> Option<Counters>),
        IpAddr::V6(_) => (&OF_IPV6, ipv6_counters as _),
    };
    *known.get_or_init(|| {
        counters().is_some_and(|count| count.replies > count.requests.saturating_add(TOO_MANY))
    })
}

struct Counters {
    /// That came in.
    replies: u64,
    /// That went out, of every program on this machine.
    requests: u64,
}

/// A line of names and a line of values (proc_net(5), RFC 4293).
fn ipv4_counters() -> Option<Counters> {
    let text = fs::read_to_string("/proc/net/snmp").ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: ")).map(str::split_whitespace);
    let (names, values) = (lines.next()?, lines.next()?);
    let counts: Vec<(&str, u64)> =
        names.zip(values).filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect();
    of(&counts, "InEchoReps", "OutEchos")
}

/// A name and a value in each line.
fn ipv6_counters() -> Option<Counters> {
    let text = fs::read_to_string("/proc/net/snmp6").ok()?;
    let counts: Vec<(&str, u64)> = text
        .lines()
        .filter_map(|line| line.split_once(char::is_whitespace))
        .filter_map(|(name, value)| Some((name, value.trim().parse().ok()?)))
        .collect();
    of(&counts, "Icmp6InEchoReplies", "Icmp6OutEchos")
}

fn of(counts: &[(&str, u64)], replies: &str, requests: &str) -> Option<Counters> {
    let count = |wanted: &str| counts.iter().find(|(name, _)| *name == wanted).map(|(_, count)| *count);
    Some(Counters { replies: count(replies)?, requests: count(requests)? })
}

/// Asks, and waits for the reply; how long that took. `EAGAIN`: none came in time.
pub fn ask(target: IpAddr, timeout: Duration) -> Result<Duration, Errno> {
    let (family, protocol, echo_request) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128),
    };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
    let mut request = [0; HEADER + 16];
    (request[0], request[7]) = (echo_request, 1);
    // The keys of each are the kernel's random numbers.
    let [first, second] = [0, 1].map(|half| RandomState::new().hash_one(half).to_be_bytes());
    request[HEADER..].copy_from_slice(&[first, second].concat());
    let sent = Instant::now();
    sendto(
        socket.as_raw_fd(),
        &request,
        &SockaddrStorage::from(SocketAddr::new(target, 0)),
        MsgFlags::empty(),
    )?;
    let mut reply = [0; HEADER + 17];
    loop {
        let left = timeout.saturating_sub(sent.elapsed());
        if left.is_zero() {
            return Err(Errno::EAGAIN);
        }
        // Zero would be for ever (socket(7)).
        let left = TimeVal::microseconds(i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1));
        setsockopt(&socket, sockopt::ReceiveTimeout, &left)?;
        let (size, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut reply)?;
        let from = from.and_then(|from| match target {
            IpAddr::V4(_) => from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip())),
            IpAddr::V6(_) => from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip())),
        });
        if from == Some(target) && reply[HEADER..].starts_with(&request[HEADER..]) && size == request.len() {
            return Ok(sent.elapsed());
        }
    }
}
