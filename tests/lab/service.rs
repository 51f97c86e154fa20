//! What a LAN user sees: a service on the Internet that answers, and a meter that asks it all the time.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket,
    sockopt::{self, BindToDevice},
};

use super::Namespace;

/// The echo protocol's port (RFC 862).
const PORT: u16 = 7;
/// How often the meter asks, and so the smallest silence it can tell.
const PACE: Duration = Duration::from_millis(50);
/// A datagram: the meter's number, big endian, then the line that the service adds.
const ANSWER_LENGTH: usize = 5;

/// A UDP service that sends every datagram back over the line it came in on, with that line's number added.
///
/// One socket per line, bound to its device: so the answer to a LAN address needs neither NAT nor luck to
/// come back the way the question went.
pub struct Service {
    stop: Arc<AtomicBool>,
}

impl Service {
    /// Answers on `addresses` over every line; line i has the device `lineI` in `internet`.
    pub fn start(internet: &Namespace, addresses: &[IpAddr], lines: usize) -> Service {
        let stop = Arc::new(AtomicBool::new(false));
        for line in 1..=lines {
            for &address in addresses {
                let socket = internet.run(|| socket_on(&format!("line{line}"), address));
                let stop = Arc::clone(&stop);
                thread::spawn(move || answer(&socket, line as u8, &stop));
            }
        }
        Service { stop }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn socket_on(device: &str, address: IpAddr) -> UdpSocket {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let open = || -> nix::Result<UdpSocket> {
        let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        // Before bind(2): afterwards the second socket on the same address and port is refused.
        setsockopt(&fd, BindToDevice, &OsString::from(device))?;
        bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(SocketAddr::new(address, PORT)))?;
        Ok(fd.into())
    };
    open().unwrap_or_else(|error| panic!("internet: cannot serve {address} on {device}: {error}"))
}

fn answer(socket: &UdpSocket, line: u8, stop: &AtomicBool) {
    // The pause after which a stopped service notices.
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout that is not zero");
    let mut datagram = [0; ANSWER_LENGTH];
    while !stop.load(Relaxed) {
        if let Ok((_, client)) = socket.recv_from(&mut datagram) {
            datagram[ANSWER_LENGTH - 1] = line;
            // A line that is cut refuses or swallows the answer: the meter sees either as silence.
            let _ = socket.send_to(&datagram, client);
        }
    }
}

/// One answer that reached the LAN client.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub at: Instant,
    /// The line it came over, from 1.
    pub line: usize,
}

/// A LAN user who asks the service every 50 ms and notes every answer, until dropped.
pub struct Meter {
    answers: Arc<Mutex<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    /// Starts asking `service` from `client`.
    pub fn start(client: &Namespace, service: IpAddr) -> Meter {
        let socket = client.run(|| connect(service));
        let socket = socket.unwrap_or_else(|error| panic!("client: cannot ask {service}: {error}"));
        let (answers, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (noted, stopped) = (Arc::clone(&answers), Arc::clone(&stop));
        let thread = Some(thread::spawn(move || ask(&socket, &noted, &stopped)));
        Meter { answers, stop, thread }
    }

    /// The latest answer, if there ever was one.
    pub fn last_answer(&self) -> Option<Answer> {
        self.answers.lock().unwrap().last().copied()
    }

    /// How many answers there were.
    pub fn answers(&self) -> usize {
        self.answers.lock().unwrap().len()
    }

    /// The lines over which the answers came, one after the other.
    pub fn lines(&self) -> Vec<usize> {
        let mut lines: Vec<usize> = self.answers.lock().unwrap().iter().map(|answer| answer.line).collect();
        lines.dedup();
        lines
    }

    /// The longest time without an answer between two instants; about 50 ms where all is well.
    pub fn longest_silence(&self, from: Instant, to: Instant) -> Duration {
        let answers = self.answers.lock().unwrap();
        let between = answers.iter().map(|answer| answer.at).filter(|at| (from..to).contains(at));
        let (mut longest, mut heard) = (Duration::ZERO, from);
        for at in between.chain([to]) {
            longest = longest.max(at - heard);
            heard = at;
        }
        longest
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn connect(service: IpAddr) -> io::Result<UdpSocket> {
    let anywhere: IpAddr = if service.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((anywhere, 0))?;
    socket.connect((service, PORT))?;
    Ok(socket)
}

/// See `Lab::ask`.
pub(super) fn ask_once(client: &Namespace, service: IpAddr) -> io::Result<usize> {
    let socket = client.run(|| connect(service))?;
    // A UDP socket hears of "unreachable" only when it asks to, by IP_RECVERR (ip(7)); TCP always does.
    match service {
        IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    socket.set_read_timeout(Some(Duration::from_millis(1500)))?;
    socket.send(&[0; ANSWER_LENGTH])?;
    let mut answer = [0; ANSWER_LENGTH];
    socket.recv(&mut answer)?;
    Ok(answer[ANSWER_LENGTH - 1].into())
}

fn ask(socket: &UdpSocket, answers: &Mutex<Vec<Answer>>, stop: &AtomicBool) {
    let mut tick = Instant::now();
    for number in 0u32.. {
        if stop.load(Relaxed) {
            return;
        }
        let mut question = [0; ANSWER_LENGTH];
        question[..4].copy_from_slice(&number.to_be_bytes());
        // An unreachable route, or the ICMP error that an earlier question met, is silence to the user.
        let _ = socket.send(&question);
        tick += PACE;
        loop {
            let left = tick.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left)).expect("a timeout that is not zero");
            let mut answer = [0; ANSWER_LENGTH];
            if let Ok(ANSWER_LENGTH) = socket.recv(&mut answer) {
                let line = answer[ANSWER_LENGTH - 1].into();
                answers.lock().unwrap().push(Answer { at: Instant::now(), line });
            }
        }
    }
}
