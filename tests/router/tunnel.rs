//! A real point-to-point line: a tun device at either end, and this process as the wire.

use std::fs::{File, OpenOptions};
use std::io::{Error, Read, Result, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::lab::{self, LAN, Namespace, SERVICE, gateway, router_address};
use crate::story::{PROBE, Story, assert_same, config, two_links};

/// Both devices are gone when it is dropped.
struct Wire {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    fn between(a: &Namespace, b: &Namespace) -> Result<Wire> {
        let ends = [a.run(open)?, b.run(open)?];
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = Some(thread::spawn(move || carry(ends, &stopped)));
        Ok(Wire { stop, thread })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The device `tun0` (linux/if_tun.h), in the namespace of the calling thread.
fn open() -> Result<File> {
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        rest_of_ifreq: [u8; 22],
    }
    let mut options = OpenOptions::new();
    let device = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short,
        rest_of_ifreq: [0; 22],
    };
    request.name[..4].copy_from_slice(b"tun0");
    // SAFETY: TUNSETIFF reads and writes one struct ifreq, which Request is laid out as.
    #[expect(unsafe_code, reason = "an ioctl of one driver's")]
    let made = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &mut request) };
    match made {
        0 => Ok(device),
        _ => Err(Error::last_os_error()),
    }
}

fn carry(mut ends: [File; 2], stop: &AtomicBool) {
    let mut packet = [0; 2048];
    while !stop.load(Relaxed) {
        let mut ready = ends.each_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        // The pause after which a wire that is to be cut notices.
        let _ = poll(&mut ready, PollTimeout::from(20u8));
        for (from, to) in [(0, 1), (1, 0)] {
            while let Ok(length) = ends[from].read(&mut packet) {
                // A device that is down takes no packet.
                let _ = ends[to].write(&packet[..length]);
            }
        }
    }
}

/// Line 2 goes through a tunnel in place of its cable.
fn dial_in(story: &Story) -> Result<Wire> {
    let wire = Wire::between(&story.router, story.provider(2))?;
    let (own, peer) = (router_address(2), gateway(2));
    story.router.ip(&format!("address add {own} peer {peer}/32 dev tun0"));
    story.router.ip("link set tun0 up");
    story.provider(2).ip(&format!("address add {peer} peer {own}/32 dev tun0"));
    story.provider(2).ip("link set tun0 up");
    story.provider(2).ip(&format!("route add {LAN} dev tun0"));
    Ok(wire)
}

pub fn a_tunnel_that_hangs_up_is_left_at_once_and_taken_again_under_another_index() {
    lab::need(&["/dev/net/tun"]);
    let links = two_links(["", "interface: tun0"]);
    let story = Story::begin(2, &config(&links, &[PROBE]));
    story.router.ip("link delete wan2");
    let wire = dial_in(&story).expect("the device can be opened");
    story.check();
    let calm = story.ours();
    assert_eq!(story.problems(), "");
    story.assert_served_over(1, SERVICE);
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    story.assert_served_over(2, SERVICE);

    drop(wire);
    // A fork of another story may hold the device open until its exec.
    let is_there = || {
        let shown = story.router.command("ip").args(["link", "show", "tun0"]).output();
        shown.expect("ip starts").status.success()
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while is_there() {
        assert!(Instant::now() < deadline, "tun0 lives on");
        thread::sleep(Duration::from_millis(10));
    }
    story.check();
    assert_eq!(story.link("secondary")["up"], false);
    assert!(story.problems().contains("tun0 does not exist"), "{}", story.problems());
    let _wire = dial_in(&story).expect("a second tunnel like the first");
    story.check_until("a tunnel that is up", |status| status["links"][1]["up"] == true);
    assert_eq!(story.active(), "secondary");
    story.assert_served_over(2, SERVICE);
    story.repair(1);
    story.check_until_active("primary");
    story.assert_served_over(1, SERVICE);
    assert_same(&calm, &story.ours());
}
