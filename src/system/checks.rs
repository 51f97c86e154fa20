//! Service checks: one question and its answer, over plain sockets.
//!
//! They are bound to no interface and no address: the pins in the kernel decide by which line a question leaves, so whoever
//! calls this has seen to them first. Whatever the server does, a check ends in time and takes little memory.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::panic::catch_unwind;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::{icmp, uids};
use crate::core::service::{Check, CheckError, Dns, Http, dns, http};
use crate::core::world::Heard;

/// For all of a check, however little comes at a time.
pub const LIMIT: Duration = Duration::from_secs(5);

/// A datagram may get lost: so often the question is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The longest answer that is read; we have asked for 512 bytes at most.
const DATAGRAM: usize = 4096;

/// A thread holds one buffer, and the lists of a hundred headers or records.
const STACK_SIZE: usize = 256 * 1024;

/// What is read of a page at a time.
const PIECE: usize = 4096;

/// Asks in a thread of its own, which reports and ends with the process.
pub fn start(report: &Sender<Heard>, link: usize, uid: Option<u32>, check: &Check) {
    let (sender, asked) = (report.clone(), check.clone());
    let asks = move || {
        // It was tried when the run looked around.
        let result = uids::acting_as(uid, || ask(&asked)).unwrap_or_else(|| {
            let why = "could not be asked: the uid of a link cannot be taken any more (CAP_SETUID)";
            Err(CheckError::OwnFault(why.to_owned()))
        });
        // The run may have ended.
        let _ = sender.send(Heard::Checked { link, check: asked, result });
    };
    if let Err(error) = thread::Builder::new().stack_size(STACK_SIZE).spawn(asks) {
        let why = format!(
            "could not be asked, no thread could be started: {error}; raise the limit on processes (TasksMax=)"
        );
        let _ = report.send(Heard::Checked {
            link,
            check: check.clone(),
            result: Err(CheckError::OwnFault(why)),
        });
    }
}

/// Asks, and waits for the answer; how long that took.
pub fn ask(check: &Check) -> Result<Duration, CheckError> {
    let start = Instant::now();
    let deadline = start + LIMIT;
    let asked = catch_unwind(|| match check {
        Check::Dns(dns) => ask_dns(dns, deadline),
        Check::Tcp(tcp) => connect(tcp.server, tcp.port, deadline).map(drop),
        Check::Http(http) => ask_http(http, deadline),
    });
    let panicked = |_| Err(CheckError::OwnFault("a check ended in a panic; please report this".to_owned()));
    asked.unwrap_or_else(panicked).map(|()| start.elapsed())
}

/// What is left of the time; zero would mean for ever to a socket.
fn left(deadline: Instant) -> Result<Duration, CheckError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(CheckError::NoReply) } else { Ok(left) }
}

fn ask_dns(dns: &Dns, deadline: Instant) -> Result<(), CheckError> {
    let any: IpAddr = match dns.server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).map_err(|error| explain(&error, dns.server))?;
    // From here on the kernel lets in nothing but what has the server's address and port.
    socket.connect((dns.server, 53)).map_err(|error| explain(&error, dns.server))?;
    let id = random();
    let question = dns::question(dns, id);
    let mut datagram = [0; DATAGRAM];
    let mut ask_at = Instant::now();
    loop {
        let left = left(deadline)?;
        if Instant::now() >= ask_at {
            socket.send(&question).map_err(|error| explain(&error, dns.server))?;
            ask_at = Instant::now() + ASK_AGAIN;
        }
        let wait = ask_at.saturating_duration_since(Instant::now()).min(left).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait)).map_err(|error| explain(&error, dns.server))?;
        match socket.recv(&mut datagram) {
            Ok(length) => {
                if let Some(verdict) = dns::judge(dns, id, &datagram[..length]) {
                    return verdict;
                }
            }
            Err(error) if is_a_pause(&error) => {}
            Err(error) => return Err(explain(&error, dns.server)),
        }
    }
}

/// The standard library seeds its tables from getrandom(2).
fn random() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}

fn connect(server: IpAddr, port: u16, deadline: Instant) -> Result<TcpStream, CheckError> {
    TcpStream::connect_timeout(&SocketAddr::new(server, port), left(deadline)?)
        .map_err(|error| explain(&error, server))
}

fn ask_http(http: &Http, deadline: Instant) -> Result<(), CheckError> {
    let mut stream = connect(http.server, http.port, deadline)?;
    stream.set_write_timeout(Some(left(deadline)?)).map_err(|error| explain(&error, http.server))?;
    // Smaller than any buffer of a socket: it waits for nobody.
    stream.write_all(&http::request(http)).map_err(|error| explain(&error, http.server))?;
    let mut answer = http::Answer::to(http);
    let mut piece = [0; PIECE];
    loop {
        let left = match left(deadline) {
            Err(_) if answer.has_begun() => {
                return Err(CheckError::Wrong("answers too slowly, or without end".to_owned()));
            }
            left => left?,
        };
        stream.set_read_timeout(Some(left)).map_err(|error| explain(&error, http.server))?;
        match stream.read(&mut piece) {
            Ok(0) => return Err(answer.end()),
            Ok(length) => {
                if let Some(verdict) = answer.take(&piece[..length]) {
                    return verdict;
                }
            }
            Err(error) if is_a_pause(&error) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(answer.end()),
            Err(error) => return Err(explain(&error, http.server)),
        }
    }
}

/// Nothing is there yet, or the process was stopped and goes on (signal(7)).
fn is_a_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Tells the line's failures from our own. What is not known for a failure of the line counts as ours: it must not
/// switch anybody's line.
fn explain(error: &io::Error, server: IpAddr) -> CheckError {
    // Without a number it is the standard library's own time limit.
    let Some(number) = error.raw_os_error() else { return CheckError::NoReply };
    let sentence = error.to_string();
    match Errno::from_raw(number) {
        Errno::ECONNREFUSED => CheckError::Refused,
        Errno::ETIMEDOUT | Errno::EAGAIN => CheckError::NoReply,
        Errno::ECONNRESET | Errno::EPIPE => CheckError::Wrong("hangs up".to_owned()),
        errno if icmp::says_unreachable(errno) => CheckError::Unreachable("is unreachable".to_owned()),
        Errno::ENETDOWN | Errno::ENODEV | Errno::EADDRNOTAVAIL | Errno::ENOBUFS => {
            CheckError::Unreachable(format!("cannot be reached: {sentence}"))
        }
        // What a router on the way says by ICMPv6 (icmpv6_err_convert, net/ipv6/icmp.c). To IPv4 that is EHOSTUNREACH, and EACCES is
        // our own doing.
        Errno::EACCES if server.is_ipv6() => {
            CheckError::Unreachable("is forbidden by a router on the way".to_owned())
        }
        Errno::EAFNOSUPPORT => CheckError::Unreachable("cannot be reached: this kernel has no IPv6".to_owned()),
        // Netfilter drops what we send (NF_DROP, net/ipv4/ip_output.c). Other links need not be concerned.
        Errno::EPERM => CheckError::NotAsked(
            "could not be asked: a local firewall rule refuses it; allow it in its output chain (or its table of flows is \
             full: `nf_conntrack: table full` in the kernel's log)"
                .to_owned(),
        ),
        Errno::EMFILE | Errno::ENFILE => CheckError::OwnFault(format!(
            "could not be asked, no socket could be opened: {sentence}; raise the limit (LimitNOFILE=)"
        )),
        _ => CheckError::OwnFault(format!("could not be asked: {sentence}")),
    }
}
