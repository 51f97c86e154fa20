//! Sees every echo request that leaves the router, and by which interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};

use crate::lab::Namespace;

/// A packet socket (packet(7)) on all interfaces of a namespace.
pub struct Wiretap<'a> {
    router: &'a Namespace,
    socket: OwnedFd,
}

impl Wiretap<'_> {
    pub fn on(router: &Namespace) -> Wiretap<'_> {
        // SOCK_DGRAM: packets come without the Ethernet header.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let open = || socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll);
        let socket = router.run(open).expect("root of a namespace may open a packet socket");
        setsockopt(&socket, sockopt::RcvBuf, &(1 << 20)).expect("a larger buffer");
        Wiretap { router, socket }
    }

    /// The echo requests that left since the last call: interface and destination.
    pub fn echo_requests(&self) -> Vec<(String, IpAddr)> {
        let mut seen = Vec::new();
        let mut packet = [0; 2048];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut packet) {
                Ok((length, Some(from))) if from.pkttype() == libc::PACKET_OUTGOING => {
                    if let Some(destination) = echo_request(&packet[..length]) {
                        let index = from.ifindex() as u32;
                        let name =
                            self.router.run(|| if_indextoname(index)).expect("an interface that sends");
                        seen.push((name.to_string_lossy().into_owned(), destination));
                    }
                }
                Ok(_) => {}
                Err(Errno::EAGAIN) => return seen,
                // An interface that goes down says so to every packet socket.
                Err(Errno::ENETDOWN) => {}
                Err(error) => panic!("the packet socket failed: {error}"),
            }
        }
    }
}

/// The destination of an ICMP or ICMPv6 echo request (RFC 792, RFC 4443).
fn echo_request(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => {
            let header_length = usize::from(packet[0] & 0xf) * 4;
            let is_request = *packet.get(9)? == 1 && *packet.get(header_length)? == 8;
            let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            is_request.then(|| Ipv4Addr::from(destination).into())
        }
        6 => {
            let is_request = *packet.get(6)? == 58 && *packet.get(40)? == 128;
            let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            is_request.then(|| Ipv6Addr::from(destination).into())
        }
        _ => None,
    }
}
