//! The router that `check --dry-run` runs on.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::kernel::Kernel;
use super::ping::Pinger;
use super::{checks, clock, counters, router, store};
use crate::core::change::Change;
use crate::core::config::Config;
use crate::core::facts::Facts;
use crate::core::flow::{Flow, RouteAnswer};
use crate::core::health::EchoRequest;
use crate::core::record::Record;
use crate::core::script::{Call, Ending};
use crate::core::service::Check;
use crate::core::spool::{Message, Outlook};
use crate::core::state::{Loaded, State};
use crate::core::time::Moment;
use crate::core::world::{Heard, Level, Order, World};

/// A dry run: it looks and probes like a run, tells what a run would do, and changes nothing, no file and no route.
/// What it pretends to have changed it sees from then on, so that it tells the whole of a switch.
pub struct DryRun<'a> {
    config: &'a Config,
    boot_id: &'a str,
    kernel: Kernel,
    pretended: Vec<Change>,
    tell: fn(&str) -> Result<()>,
    pinger: Pinger,
}

impl<'a> DryRun<'a> {
    /// `tell` prints one line to the user.
    pub fn new(config: &'a Config, boot_id: &'a str, tell: fn(&str) -> Result<()>) -> Result<DryRun<'a>> {
        let kernel = Kernel::open()?;
        Ok(DryRun { config, boot_id, kernel, pretended: Vec::new(), tell, pinger: Pinger::default() })
    }

    fn would(&self, what: &str) {
        // Nobody reads it any more: the run comes to its end all the same.
        let _ = (self.tell)(&format!("would {what}\n"));
    }
}

impl World for DryRun<'_> {
    fn now(&mut self) -> Result<Moment> {
        clock::now()
    }

    fn load(&mut self) -> Result<Loaded> {
        store::peek(&self.config.paths.run, self.boot_id)
    }

    fn save(&mut self, _: &State) -> Result<()> {
        Ok(())
    }

    fn look(&mut self, config: &Config) -> Result<Facts> {
        let mut facts = router::look(&mut self.kernel, config)?;
        self.pretended.iter().for_each(|change| change.pretend(&mut facts));
        facts.pretended = !self.pretended.is_empty();
        Ok(facts)
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<String> {
        changes.iter().for_each(|change| self.would(&format!("run: {change}")));
        self.pretended.extend_from_slice(changes);
        Vec::new()
    }

    /// What was only pretended the kernel knows nothing of.
    fn way(&mut self, flow: &Flow) -> Result<RouteAnswer> {
        self.kernel.way(flow)
    }

    fn ping(&mut self, requests: &[EchoRequest], patience: Duration) {
        self.pinger.ping(requests, patience);
    }

    fn check(&mut self, link: usize, uid: Option<u32>, check: &Check) {
        checks::start(&self.pinger.sender(), link, uid, check);
    }

    fn listen(&mut self, limit: Duration) -> Vec<Heard> {
        self.pinger.listen(limit)
    }

    fn ask(&mut self, script: &Path, call: &Call, limit: Duration) -> Ending {
        self.run(script, call, limit)
    }

    fn run(&mut self, script: &Path, call: &Call, _: Duration) -> Ending {
        self.would(&format!("run: {} {}", script.display(), call.arguments.join(" ")));
        Ending::Exit(0)
    }

    fn flush(&mut self, addresses: &[IpAddr]) -> Result<u32, String> {
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        self.would(&format!("delete the flows of {}", addresses.join(", ")));
        Ok(0)
    }

    fn bytes(&mut self, interface: &str) -> Option<u64> {
        counters::bytes(interface)
    }

    fn spool(&mut self, mail: &Message) -> Result<()> {
        match (&mail.call, &self.config.link_script) {
            (Some(_), Some(script)) => {
                self.would(&format!("have run: {} {}", script.display(), mail.subject))
            }
            _ => self.would(&format!("mail: {}", mail.subject)),
        }
        Ok(())
    }

    fn wake(&mut self, _: &mut Outlook) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, _: &[Record]) -> Result<()> {
        Ok(())
    }

    fn load_hold(&mut self) -> Result<Option<String>> {
        store::load_hold(&self.config.paths.state)
    }

    fn save_hold(&mut self, _: Option<&str>) -> Result<()> {
        Ok(())
    }

    fn keep_round(&mut self, _: &Order, _: &State) -> Result<()> {
        Ok(())
    }

    fn say(&mut self, level: Level, line: &str) {
        log::log!(router::log_level(level), "would say: {line}");
    }
}
