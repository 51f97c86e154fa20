//! Looking at the world, and bringing the kernel to what should be there.

use anyhow::Result;

use crate::core::facts::Assignment;
use crate::core::config::Config;
use crate::core::event::Event;
use crate::core::facts::Facts;
use crate::core::gateway::{self, ResolvedLink};
use crate::core::change::{Change, Wanted};
use crate::core::routing;
use crate::system::kernel::{self, Kernel};
use crate::system::{iproute, leases};

/// What was seen, and each link as it stands in it.
pub struct View {
    pub facts: Facts,
    pub links: Vec<ResolvedLink>,
}

/// Asks the kernel for everything that matters, and the DHCP clients' files for what the kernel does not know.
pub fn look(kernel: &mut Kernel, config: &Config) -> Result<View> {
    let interfaces = kernel.interfaces()?;
    let of_links = config.links.iter().filter_map(|link| gateway::interface_of(link, &interfaces));
    let wan: Vec<String> = of_links.map(|interface| interface.name.clone()).collect();
    let wanted = kernel::Selection {
        protocol: config.routing.protocol,
        wan: &wan.iter().map(String::as_str).collect::<Vec<_>>(),
        every_default: routing::needs_every_default(config),
        tables: config.tables(),
        rule_priority: config.routing.rule_priority,
    };
    let mut facts = kernel.facts(interfaces, &wanted)?;
    facts.leases = leases::of(&gateway::in_need_of_a_lease(config, &facts), &config.paths.run);
    let links = gateway::survey(config, &facts);
    Ok(View { facts, links })
}

/// The kernel after it was brought in line.
pub struct Reconciled {
    /// As it was read back.
    pub view: View,
    /// What was tried.
    pub changes: Vec<Change>,
    /// What `ip` complained of.
    failures: Vec<String>,
    /// What is still not as it should be.
    pub left: Vec<Change>,
}

/// Brings the kernel to what is wanted, and reads it back. Where nothing differs no process is started.
///
/// The world may move on meanwhile: an IPv6 address becomes usable, a DHCP client sets a route. What is wanted only
/// since then is done as well, but only once, lest somebody who changes things without pause keep us here for ever.
pub fn reconcile(
    kernel: &mut Kernel,
    config: &Config,
    view: View,
    wanted: impl Fn(&View) -> Wanted,
) -> Result<Reconciled> {
    let plan = |view: &View| routing::plan(&view.facts, &wanted(view), config.routing.protocol);
    let left = plan(&view);
    let mut reconciled = Reconciled::untouched(view, left);
    for _ in 0..2 {
        let untried = |change: &&Change| !reconciled.changes.contains(change);
        let new: Vec<Change> = reconciled.left.iter().filter(untried).cloned().collect();
        if new.is_empty() {
            break;
        }
        reconciled.failures.extend(iproute::apply(&new));
        reconciled.changes.extend(new);
        reconciled.view = look(kernel, config)?;
        reconciled.left = plan(&reconciled.view);
    }
    Ok(reconciled)
}

/// Takes out every route and rule that has this protocol number, and these addresses.
pub fn take_out(
    kernel: &mut Kernel,
    config: &Config,
    protocol: u8,
    leaving: &[Assignment],
) -> Result<Reconciled> {
    let mut config = config.clone();
    config.routing.protocol = protocol;
    let view = look(kernel, &config)?;
    reconcile(kernel, &config, view, |_| Wanted { leaving: leaving.to_vec(), ..Wanted::default() })
}

impl Reconciled {
    /// Nothing was tried: what a run would change is all still to be done.
    pub fn untouched(view: View, left: Vec<Change>) -> Reconciled {
        Reconciled { view, changes: Vec::new(), failures: Vec::new(), left }
    }

    /// What keeps the kernel from being as it should. An `ip` that failed where the kernel is right all the same (the
    /// route was there already, or went with its interface) did no harm.
    pub fn faults(&self) -> Vec<String> {
        match (&self.left[..], &self.failures[..]) {
            ([], _) => Vec::new(),
            (left, []) => left
                .iter()
                .filter(|change| self.changes.contains(change))
                .map(|change| format!("`{change}` is said to be done, and the kernel does not show it"))
                .collect(),
            (_, failures) => failures.to_vec(),
        }
    }

    /// Whether the default traffic goes where it should. A pin or a destination that a foreign route keeps us from
    /// is a fault, but no reason to tell nobody of the switch.
    pub fn default_traffic_moved(&self) -> bool {
        !self.left.iter().any(Change::moves_default_traffic)
    }

    pub fn event(&self, kind: fn(Vec<Change>) -> Event) -> Option<Event> {
        let done = self.changes.iter().filter(|change| !self.left.contains(change));
        let done: Vec<Change> = done.cloned().collect();
        (!done.is_empty()).then(|| kind(done))
    }
}
