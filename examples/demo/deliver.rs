//! What wanfo-deliver.path and wanfo-deliver.service do where there is systemd.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::lab::Lab;

/// How long a mail may lie there before it is noticed.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts `wanfo deliver` whenever a run of `wanfo check` asks for it.
pub struct Deliverer {
    watch: Inotify,
    /// What the last delivery said.
    said: Mutex<String>,
}

impl Deliverer {
    /// From now on nothing is missed. The directory of the run files must be there.
    pub fn new(lab: &Lab) -> Result<Deliverer> {
        let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
        let watch = watch.context("cannot make an inotify instance to watch for mails")?;
        // As PathChanged= has it (systemd.path(5)): written and closed.
        watch
            .add_watch(&lab.path("run"), AddWatchFlags::IN_CLOSE_WRITE)
            .context("cannot watch the directory of wanfo's run files")?;
        Ok(Deliverer { watch, said: Mutex::default() })
    }

    pub fn work(&self, lab: &Lab, stop: &AtomicBool) {
        while !stop.load(Relaxed) {
            if self.is_asked_for() {
                let run = lab.wanfo(&["deliver"]);
                *self.said.lock().unwrap() = run.stderr.trim().to_owned();
            }
            sleep(PAUSE);
        }
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn is_asked_for(&self) -> bool {
        match self.watch.read_events() {
            Ok(events) => events.iter().any(|event| event.name.as_deref() == Some("deliver".as_ref())),
            Err(Errno::EAGAIN) => false,
            Err(error) => panic!("inotify cannot be read: {error}"),
        }
    }
}
