//! Echo requests, with ping-rs, which blocks and cannot be called back: each waits in a thread of its own that reports
//! over a channel and ends with the process.

mod own;

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use ping_rs::{PingError, send_ping};

use super::{clock, icmp, uids};
use crate::core::health::{EchoRequest, ProbeError, Reply};
use crate::core::time::BootTime;
use crate::core::world::Heard;

/// ping-rs wants some payload; what it is does not matter.
const PAYLOAD: &[u8] = b"wanfo";

/// A thread waits for one answer and holds two buffers of an MTU.
const STACK_SIZE: usize = 64 * 1024;

/// For how long a request is open: longer than any queue of a line that is of use.
const OPEN: Duration = Duration::from_secs(15);

/// How many are open at a time. Each has a thread and a socket; what would be more is not sent.
const MOST_OPEN: usize = 600;

/// As many descriptors are left for the kernel's routes, the state file and the scripts.
const SPARE: u64 = 32;

/// The echo requests of one run.
pub struct Pinger {
    sender: Sender<Heard>,
    receiver: Receiver<Heard>,
    /// What came back while the calling thread waited for one of them.
    ready: Vec<Heard>,
    open: Arc<AtomicUsize>,
    most_open: usize,
    asked: HashSet<EchoRequest>,
}

impl Default for Pinger {
    fn default() -> Pinger {
        let (sender, receiver) = channel();
        let open = Arc::new(AtomicUsize::new(0));
        let most_open = room(getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft));
        Pinger { sender, receiver, ready: Vec::new(), open, most_open, asked: HashSet::new() }
    }
}

impl Pinger {
    /// Sends the requests. The last is waited for in this thread, if `patience` is not zero: most runs have one or two
    /// targets, and their answers come at once.
    ///
    /// ping-rs binds its sockets to no interface and no address: the pins in the kernel decide by which line a request
    /// leaves, so whoever calls this has seen to them first.
    pub fn ping(&mut self, requests: &[EchoRequest], patience: Duration) {
        let Some((last, others)) = requests.split_last() else { return };
        others.iter().for_each(|request| self.send(*request));
        if patience.is_zero() {
            return self.send(*last);
        }
        self.asked.insert(*last);
        match ask(*last, patience) {
            // It may be on its way still.
            Reply { result: Err(ProbeError::NoReply), .. } => {}
            reply => self.ready.push(Heard::Reply(reply)),
        }
    }

    fn send(&mut self, request: EchoRequest) {
        let is_first = self.asked.insert(request);
        if self.most_open < MOST_OPEN && self.open.load(Ordering::Relaxed) >= self.most_open / 2 {
            self.raise_limit();
        }
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most_open {
            self.open.fetch_sub(1, Ordering::Relaxed);
            if is_first {
                self.ready.push(Heard::Reply(reply_to(request, Err(explain_errno(Errno::EMFILE)))));
            }
            return;
        }
        let (sender, open) = (self.sender.clone(), Arc::clone(&self.open));
        let waits = move || {
            let reply = ask(request, OPEN);
            open.fetch_sub(1, Ordering::Relaxed);
            // Where a first request could go out, one that cannot is one request less and says nothing.
            let is_own_fault = matches!(&reply.result, Err(error) if error.is_own_fault());
            if is_first || !is_own_fault {
                // The run may have ended.
                let _ = sender.send(Heard::Reply(reply));
            }
        };
        if let Err(error) = thread::Builder::new().stack_size(STACK_SIZE).spawn(waits) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            if is_first {
                let why = format!(
                    "no thread could be started for a ping: {error}; raise the limit on processes (TasksMax=)"
                );
                self.ready.push(Heard::Reply(reply_to(request, Err(ProbeError::OwnFault(why)))));
            }
        }
    }

    /// By which others report what they have heard.
    pub fn sender(&self) -> Sender<Heard> {
        self.sender.clone()
    }

    /// What has come back, after a wait of at most `limit` for the first.
    pub fn listen(&mut self, limit: Duration) -> Vec<Heard> {
        let mut replies = std::mem::take(&mut self.ready);
        if replies.is_empty() {
            replies.extend(self.receiver.recv_timeout(limit));
        }
        replies.extend(self.receiver.try_iter());
        replies
    }

    /// Where a smaller limit than the usual one of a thousand stands in the way of `MOST_OPEN` (getrlimit(2)).
    fn raise_limit(&mut self) {
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
            && soft < hard
            && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()
        {
            self.most_open = room(hard);
        }
    }
}

fn room(limit: u64) -> usize {
    MOST_OPEN.min(limit.saturating_sub(SPARE) as usize)
}

fn reply_to(request: EchoRequest, result: Result<Duration, ProbeError>) -> Reply {
    // The clock cannot fail where the run has read it before.
    let at = clock::now().map_or(BootTime(0), |now| now.boot);
    Reply { link: request.link, address: request.target, at, result }
}

/// ping-rs has assertions of its own; one that fails is no failure of the line.
fn ask(request: EchoRequest, timeout: Duration) -> Reply {
    let ask = || {
        catch_unwind(|| ping(request.target, timeout)).unwrap_or_else(|_| {
            Err(ProbeError::OwnFault("a ping ended in a panic; please report this".to_owned()))
        })
    };
    // It was tried when the run looked around.
    let result = uids::acting_as(request.uid, ask).unwrap_or_else(|| {
        Err(ProbeError::OwnFault("the uid of a link cannot be taken any more (CAP_SETUID)".to_owned()))
    });
    reply_to(request, result)
}

fn ping(target: IpAddr, timeout: Duration) -> Result<Duration, ProbeError> {
    if own::is_needed(target) {
        return own::ask(target, timeout).map_err(|errno| match errno {
            Errno::EAGAIN | Errno::EINTR => ProbeError::NoReply,
            errno => explain_errno(errno),
        });
    }
    let sent = Instant::now();
    // ping-rs tells whole milliseconds only.
    match send_ping(&target, timeout, PAYLOAD, None) {
        // The socket takes any reply with its identifier, whoever sends it. That is no sign of life of the target.
        Ok(reply) if reply.address != target => Err(ProbeError::NoReply),
        Ok(_) => Ok(sent.elapsed()),
        // A wait with a time limit ends so when the process was stopped or frozen and goes on (signal(7)). That request
        // is lost; the run asks again.
        Err(PingError::OsError(number, _)) if number as i32 == Errno::EINTR as i32 => {
            Err(ProbeError::NoReply)
        }
        Err(error) => Err(explain(error)),
    }
}

/// What would keep us from asking anybody; the sentence tells the cure.
pub fn fault() -> Option<String> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp);
    socket.err().map(|errno| explain_errno(errno).to_string())
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
    explain_errno(errno)
}

fn explain_errno(errno: Errno) -> ProbeError {
    let sentence = io::Error::from(errno).to_string();
    match errno {
        Errno::ECONNREFUSED => ProbeError::Unreachable,
        errno if icmp::says_unreachable(errno) => ProbeError::Unreachable,
        // A modem that hangs with its carrier up: its queue does not drain, and LAN traffic fills it.
        Errno::ENOBUFS => ProbeError::Unusable("the interface's queue is full and does not drain, or the kernel is short of memory".to_owned()),
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
        Errno::EMFILE | Errno::ENFILE => {
            ProbeError::OwnFault(format!("no ICMP socket could be opened: {sentence}; raise the limit (LimitNOFILE=)"))
        }
        _ => ProbeError::OwnFault(format!("an echo request could not be sent: {sentence}")),
    }
}
