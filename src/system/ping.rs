//! One concurrent round of echo requests, with ping-rs.

use std::io;
use std::net::IpAddr;
use std::panic::catch_unwind;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use ping_rs::{PingError, send_ping};

use crate::core::health::{ProbeError, Reply};

/// ping-rs wants some payload; what it is does not matter.
const PAYLOAD: &[u8] = b"wanfo";

/// A thread waits for one answer and holds two buffers of an MTU.
const STACK_SIZE: usize = 64 * 1024;

/// Pings every target once, all at the same time, and waits for the slowest answer, at most `timeout`.
/// The answers stand in the order of the targets.
///
/// ping-rs binds its sockets to no interface and no address: the pins in the kernel decide by which line a request
/// leaves, so whoever calls this has seen to them first.
pub fn round(targets: &[IpAddr], timeout: Duration) -> Vec<Reply> {
    // The last one needs no thread of its own: most runs have one or two targets.
    let Some((last, others)) = targets.split_last() else { return Vec::new() };
    thread::scope(|scope| {
        let pings: Vec<_> = others
            .iter()
            .map(|&target| {
                let ping = move || guarded_ping(target, timeout);
                thread::Builder::new().stack_size(STACK_SIZE).spawn_scoped(scope, ping)
            })
            .collect();
        let last_result = guarded_ping(*last, timeout);
        let results = pings.into_iter().map(|thread| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(panicked())),
            Err(error) => Err(ProbeError::OwnFault(format!(
                "no thread could be started for a ping: {error}; raise the limit on processes (TasksMax=)"
            ))),
        });
        let results = results.chain([last_result]);
        targets.iter().zip(results).map(|(&address, result)| Reply { address, result }).collect()
    })
}

/// ping-rs has assertions of its own; one that fails is no failure of the line.
fn guarded_ping(target: IpAddr, timeout: Duration) -> Result<Duration, ProbeError> {
    catch_unwind(|| ping(target, timeout)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> ProbeError {
    ProbeError::OwnFault("a ping ended in a panic; please report this".to_owned())
}

fn ping(target: IpAddr, timeout: Duration) -> Result<Duration, ProbeError> {
    // ping-rs tells whole milliseconds only.
    let sent = Instant::now();
    match send_ping(&target, timeout, PAYLOAD, None) {
        // The socket takes any reply with its identifier, whoever sends it. That is no sign of life of the target.
        Ok(reply) if reply.address != target => Err(ProbeError::NoReply),
        Ok(_) => Ok(sent.elapsed()),
        Err(error) => Err(explain(error)),
    }
}

/// Tells the line's failures from our own. What is not known for a failure of the line counts as ours: it must not
/// switch anybody's line.
fn explain(error: PingError) -> ProbeError {
    let errno = match error {
        PingError::TimedOut | PingError::IoPending => return ProbeError::NoReply,
        // Something that is no echo reply came in on the socket.
        PingError::IpError(_) => return ProbeError::NoReply,
        PingError::OsError(number, _) => Errno::from_raw(number as i32),
        PingError::BadParameter(what) => return ProbeError::OwnFault(format!("ping-rs refuses our {what}")),
        PingError::DataSizeTooBig(limit) => {
            return ProbeError::OwnFault(format!("ping-rs refuses a payload over {limit} bytes"));
        }
    };
    let sentence = io::Error::from(errno).to_string();
    match errno {
        Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ECONNREFUSED => ProbeError::Unreachable,
        // A modem that hangs with its carrier up: its queue does not drain, and LAN traffic fills it.
        Errno::ENOBUFS => ProbeError::Unusable("the interface's queue is full and does not drain".to_owned()),
        Errno::ENETDOWN | Errno::ENODEV | Errno::EADDRNOTAVAIL => ProbeError::Unusable(sentence),
        Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT => {
            ProbeError::Unusable("this kernel has no IPv6, or no ICMP sockets for it".to_owned())
        }
        Errno::EACCES => ProbeError::OwnFault(
            "no permission to open an ICMP socket: our group is outside net.ipv4.ping_group_range; \
             run `sysctl -w net.ipv4.ping_group_range='0 2147483647'`, and install the sysctl snippet of wanfo so \
             that it lasts"
                .to_owned(),
        ),
        // Netfilter drops what we send (NF_DROP, net/ipv4/ip_output.c). Other links need not be concerned.
        Errno::EPERM => ProbeError::Refused(
            "a local firewall rule refuses our echo requests; allow ICMP echo requests in its output chain (or its \
             table of flows is full: `nf_conntrack: table full` in the kernel's log)"
                .to_owned(),
        ),
        // A wait with a time limit ends so when the process was stopped or frozen and goes on (signal(7)).
        Errno::EINTR => ProbeError::OwnFault(
            "the wait for an answer was interrupted, as when a process is stopped; the next run asks again".to_owned(),
        ),
        Errno::EMFILE | Errno::ENFILE => {
            ProbeError::OwnFault(format!("no ICMP socket could be opened: {sentence}; raise the limit (LimitNOFILE=)"))
        }
        _ => ProbeError::OwnFault(format!("an echo request could not be sent: {sentence}")),
    }
}
