//! The router that wanfo runs on, as the core's `World`.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Error, Result};

use super::kernel::{Kernel, Selection};
use super::ping::Pinger;
use super::spool::Spool;
use super::store::{self, Store};
use super::{
    checks, clock, conntrack, counters, files, iproute, leases, recording, records, script, settings, trust,
    uids,
};
use crate::core::change::Change;
use crate::core::config::{Config, Pin};
use crate::core::defaults;
use crate::core::facts::Facts;
use crate::core::flow::{Flow, RouteAnswer};
use crate::core::gateway;
use crate::core::health::EchoRequest;
use crate::core::record::Record;
use crate::core::recorder::Recorder;
use crate::core::script::{Call, Ending};
use crate::core::service::Check;
use crate::core::spool::{Message, Outlook};
use crate::core::state::{Loaded, State};
use crate::core::time::Moment;
use crate::core::world::{Heard, Level, Order, World};

/// The real one. It holds the lock for as long as it lives.
pub struct Router<'a> {
    config: &'a Config,
    boot_id: &'a str,
    kernel: Kernel,
    store: Store,
    pinger: Pinger,
    /// With `probe.record`.
    recorder: Option<Recorder>,
}

impl<'a> Router<'a> {
    pub fn new(config: &'a Config, boot_id: &'a str, store: Store) -> Result<Router<'a>> {
        let recorder = config.probe.record.then(|| clock::now().map(Recorder::new)).transpose()?;
        Ok(Router { config, boot_id, kernel: Kernel::open()?, store, pinger: Pinger::default(), recorder })
    }

    /// Forgets everything that the runs have left.
    pub fn forget(&self) -> Result<()> {
        self.store.forget()?;
        store::save_hold(&self.config.paths.state, None)?;
        settings::forget(&self.config.paths.run)
    }

    /// Runs a script; of its ending, `told` is what a recording keeps.
    fn call(
        &mut self,
        script: &Path,
        call: &Call,
        limit: Duration,
        told: impl Fn(&Ending) -> Option<Ending>,
    ) -> Ending {
        let began = clock::now();
        let ending = script::run(script, &call.arguments, &call.environment, limit);
        if let (Some(recorder), Ok(began), Ok(ended)) = (&mut self.recorder, began, clock::now()) {
            recorder.called(told(&ending), began.boot, ended.boot);
        }
        ending
    }

    /// What stands there is the admin's, and is written by root.
    fn trust_state_folder(&self) -> Result<()> {
        let folder = &self.config.paths.state;
        match folder.exists() {
            true => trust::refuse_if_others_can_write(folder, "directory").map_err(Error::new),
            false => Ok(()),
        }
    }
}

impl World for Router<'_> {
    fn now(&mut self) -> Result<Moment> {
        let now = clock::now()?;
        self.recorder.iter_mut().for_each(|recorder| recorder.reads_the_clock(now));
        Ok(now)
    }

    fn load(&mut self) -> Result<Loaded> {
        let loaded = self.store.load(self.boot_id)?;
        self.recorder.iter_mut().for_each(|recorder| recorder.goes_on_from(&loaded));
        Ok(loaded)
    }

    fn save(&mut self, state: &State) -> Result<()> {
        self.store.save(state)
    }

    fn look(&mut self, config: &Config) -> Result<Facts> {
        let facts = look(&mut self.kernel, config)?;
        self.recorder.iter_mut().for_each(|recorder| recorder.saw(config, &facts));
        Ok(facts)
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<String> {
        iproute::apply(changes)
    }

    fn way(&mut self, flow: &Flow) -> Result<RouteAnswer> {
        let answer = self.kernel.way(flow);
        self.recorder.iter_mut().for_each(|recorder| recorder.learnt_the_way(self.config, flow, &answer));
        answer
    }

    fn ping(&mut self, requests: &[EchoRequest], patience: Duration) {
        self.recorder.iter_mut().for_each(|recorder| recorder.asked(requests));
        self.pinger.ping(requests, patience);
    }

    fn check(&mut self, link: usize, uid: Option<u32>, check: &Check) {
        self.recorder.iter_mut().for_each(|recorder| recorder.checked(link, check));
        checks::start(&self.pinger.sender(), link, uid, check);
    }

    fn listen(&mut self, limit: Duration) -> Vec<Heard> {
        let heard = self.pinger.listen(limit);
        if let (Some(recorder), Ok(now)) = (&mut self.recorder, clock::now()) {
            recorder.heard(&heard, now.boot);
        }
        heard
    }

    fn ask(&mut self, script: &Path, call: &Call, limit: Duration) -> Ending {
        self.call(script, call, limit, |ending| Some(ending.clone()))
    }

    fn run(&mut self, script: &Path, call: &Call, limit: Duration) -> Ending {
        self.call(script, call, limit, |_| None)
    }

    fn flush(&mut self, addresses: &[IpAddr]) -> Result<u32, String> {
        conntrack::flush(addresses)
    }

    fn bytes(&mut self, interface: &str) -> Option<u64> {
        counters::bytes(interface)
    }

    fn spool(&mut self, mail: &Message) -> Result<()> {
        self.trust_state_folder()?;
        Spool::new(&self.config.paths.state).put(mail)
    }

    fn wake(&mut self, outlook: &mut Outlook) -> Result<()> {
        let spool = Spool::new(&self.config.paths.state);
        spool.wake_if_due(&self.config.paths.run, outlook, clock::now()?.wall)
    }

    fn record(&mut self, records: &[Record]) -> Result<()> {
        self.trust_state_folder()?;
        records::append(&self.config.paths.state, records)
    }

    fn load_hold(&mut self) -> Result<Option<String>> {
        self.trust_state_folder()?;
        store::load_hold(&self.config.paths.state)
    }

    fn save_hold(&mut self, link: Option<&str>) -> Result<()> {
        self.trust_state_folder()?;
        store::save_hold(&self.config.paths.state, link)
    }

    fn keep_round(&mut self, order: &Order, state: &State) -> Result<()> {
        match &self.recorder {
            Some(recorder) => {
                recording::append(&self.config.paths.run, recorder, order, state, clock::now()?)
            }
            None => Ok(()),
        }
    }

    fn say(&mut self, level: Level, line: &str) {
        log::log!(log_level(level), "{line}");
    }
}

/// The levels of the log facade.
pub fn log_level(level: Level) -> log::Level {
    match level {
        Level::Error => log::Level::Error,
        Level::Warn => log::Level::Warn,
        Level::Info => log::Level::Info,
        Level::Debug => log::Level::Debug,
    }
}

/// Asks the kernel for everything that matters, and the DHCP clients' files for what the kernel does not know.
pub fn look(kernel: &mut Kernel, config: &Config) -> Result<Facts> {
    let names = config.links.iter().filter_map(|link| link.interface.as_deref());
    let interfaces = kernel.interfaces(&names.collect::<Vec<_>>())?;
    let of_links = config.links.iter().filter_map(|link| gateway::interface_of(link, &interfaces));
    let wan: Vec<String> = of_links.map(|interface| interface.name.clone()).collect();
    let selection = Selection {
        protocol: config.routing.protocol,
        wan: &wan.iter().map(String::as_str).collect::<Vec<_>>(),
        tables: config.tables(),
        rule_priorities: config.rule_priorities(),
    };
    let mut facts = kernel.facts(interfaces, &selection)?;
    for interface in gateway::with_a_choice(config, &facts).into_iter().cloned().collect::<Vec<_>>() {
        facts.silent_gateways.extend(kernel.silent_neighbours(&interface)?);
    }
    for family in defaults::all_needed(config, &gateway::survey(config, &facts), &facts) {
        let elsewhere = kernel.defaults_elsewhere(&facts, &selection, family)?;
        facts.routes.extend(elsewhere);
    }
    facts.leases = leases::of(&gateway::in_need_of_a_lease(config, &facts), &config.paths.run);
    facts.without_conntrack = config.flush_conntrack && !conntrack::is_installed();
    if config.probe.pin == Pin::Link {
        facts.cannot_take_uids = uids::cannot_take(config.uids());
        facts.owned_uids = uids::owners(config.uids());
    }
    facts.files = files::look(config);
    facts.sandboxed = script::sandboxed();
    Ok(facts)
}
