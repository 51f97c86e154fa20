use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{Builder, sleep, spawn};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::*;
use crate::lab::SERVICE;
use crate::story::Story;

const SWITCHES: usize = 200;
const UDP_FLOWS: usize = 1000;
const CONNECTIONS: usize = 200;
/// How often each flow says something.
const PAUSE: Duration = Duration::from_millis(250);
const TCP_PORT: u16 = 2007;

pub fn flows_of_the_lan_are_refused_nothing_while_the_traffic_moves() {
    let story = Story::of_two_links();
    story.check();
    let (stop, said, heard) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::default());
    let udp = spawn({
        let sockets: Vec<UdpSocket> = (0..load(UDP_FLOWS)).map(|_| udp_flow(&story)).collect();
        let (stop, said, heard): (_, _, Arc<AtomicUsize>) =
            (Arc::clone(&stop), Arc::clone(&said), Arc::clone(&heard));
        move || {
            while !stop.load(Relaxed) {
                for socket in &sockets {
                    // Here an ICMP error is told as well that an earlier datagram met.
                    socket.send(&[0; 5]).expect("a datagram of the LAN's is refused");
                    said.fetch_add(1, Relaxed);
                    while socket.recv(&mut [0; 8]).is_ok() {
                        heard.fetch_add(1, Relaxed);
                    }
                    sleep(PAUSE / sockets.len() as u32);
                }
            }
        }
    });
    echo_over_tcp(&story);
    let echoes = Arc::<AtomicUsize>::default();
    let tcp = spawn({
        let (stop, echoes) = (Arc::clone(&stop), Arc::clone(&echoes));
        let mut connections: Vec<TcpStream> = (0..load(CONNECTIONS)).map(|_| connection(&story)).collect();
        move || {
            while !stop.load(Relaxed) {
                for connection in &mut connections {
                    connection.write_all(b"?").expect("a connection of the LAN's breaks");
                    connection.read_exact(&mut [0]).expect("a connection of the LAN's breaks");
                    echoes.fetch_add(1, Relaxed);
                }
                sleep(PAUSE);
            }
        }
    });

    for number in 0..load(SWITCHES) {
        story.succeeds(&[["force-failover", "failback"][number % 2]]);
        story.check();
    }
    stop.store(true, Relaxed);
    udp.join().expect("no flow is refused");
    tcp.join().expect("no connection breaks");
    println!(
        "{} switches under {} UDP flows and {} TCP connections: {} datagrams sent and {} answered, {} echoes, none refused, \
         none broken.",
        load(SWITCHES),
        load(UDP_FLOWS),
        load(CONNECTIONS),
        said.load(Relaxed),
        heard.load(Relaxed),
        echoes.load(Relaxed)
    );
    assert!(heard.load(Relaxed) > said.load(Relaxed) / 2, "{heard:?} of {said:?}");
    assert!(echoes.load(Relaxed) > load(CONNECTIONS));
}

/// To the service, from a port of its own.
fn udp_flow(story: &Story) -> UdpSocket {
    let socket = story.client.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a port");
    setsockopt(&socket, sockopt::Ipv4RecvErr, &true).expect("ip(7)");
    socket.connect((SERVICE, 7)).expect("a way out");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

fn connection(story: &Story) -> TcpStream {
    let connection =
        story.client.run(|| TcpStream::connect((SERVICE, TCP_PORT))).expect("the service listens");
    connection.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout that is not zero");
    connection.set_nodelay(true).expect("a socket");
    connection
}

/// Every byte comes back, over line 1.
fn echo_over_tcp(story: &Story) {
    let listener = story.internet.run(|| TcpListener::bind((SERVICE, TCP_PORT))).expect("a port");
    spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let echo = move || {
                let mut byte = [0];
                while connection.read_exact(&mut byte).and_then(|()| connection.write_all(&byte)).is_ok() {}
            };
            Builder::new().stack_size(64 << 10).spawn(echo).expect("a thread");
        }
    });
}
