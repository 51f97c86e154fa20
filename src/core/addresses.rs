//! The static addresses of links: what should be on their interfaces, and what of it is wanfo's own.
//!
//! Routes and rules carry a protocol number. An address has had one only since Linux 5.18 (IFA_PROTO), and `ip` takes it
//! only since iproute2 6.3, so the state file remembers instead what wanfo has put where. That file is gone after a
//! reboot, and so are the addresses.

use ipnetwork::IpNetwork;

use super::change::{Change, Wanted};
use super::config::Config;
use super::facts::{Address, Assignment, Facts, Family, Interface};

impl Assignment {
    fn is_there(&self, facts: &Facts) -> bool {
        facts.interface(&self.interface).is_some_and(|interface| has(interface, self.address))
    }
}

fn has(interface: &Interface, address: IpNetwork) -> bool {
    interface.addresses.iter().any(|own| own.network == address && own.peer.is_none())
}

/// What the config puts on interfaces.
pub fn wanted(config: &Config) -> Vec<Assignment> {
    let links = config.links.iter().filter_map(|link| Some((link.interface.as_ref()?, &link.address)));
    links
        .flat_map(|(interface, addresses)| {
            addresses.iter().map(|&address| Assignment { interface: interface.clone(), address })
        })
        .collect()
}

/// What is wanfo's own from now on: of what it knew before, all that still matters; and what it is about to add. An
/// address that is there already, and was not put there by wanfo, stays foreign.
pub fn owned(before: &[Assignment], config: &Config, facts: &Facts) -> Vec<Assignment> {
    let wanted = wanted(config);
    let kept = before.iter().filter(|own| wanted.contains(own) || own.is_there(facts));
    let added = wanted.iter().filter(|new| {
        !before.contains(new) && facts.interface(&new.interface).is_some() && !new.is_there(facts)
    });
    kept.chain(added).cloned().collect()
}

/// What the config does not want any more.
pub fn leaving(owned: &[Assignment], config: &Config) -> Vec<Assignment> {
    let wanted = wanted(config);
    owned.iter().filter(|own| !wanted.contains(own)).cloned().collect()
}

/// The changes that put the addresses right. They come before those of the routes, which hang on them.
pub fn plan(facts: &Facts, wanted: &Wanted) -> Vec<Change> {
    let mut changes = Vec::new();
    // Removals first, unlike with routes: IPv6 refuses an address that is there with another prefix length, and of two
    // IPv4 addresses in one subnet the kernel takes the second away together with the first.
    // What the config now says by another name of the interface (altname) stays.
    let is_wanted = |old: &Assignment| {
        let interface = facts.interface(&old.interface);
        wanted
            .addresses
            .iter()
            .any(|new| new.address == old.address && facts.interface(&new.interface) == interface)
    };
    for old in wanted.leaving.iter().filter(|old| old.is_there(facts) && !is_wanted(old)) {
        changes.push(Change::DeleteAddress(old.clone()));
        changes.extend(endangered(old, facts, &wanted.leaving).map(Change::RestoreAddress));
    }
    for new in &wanted.addresses {
        let Some(interface) = facts.interface(&new.interface) else { continue };
        let up = Change::SetUp(interface.name.clone());
        if !interface.up && !changes.contains(&up) {
            changes.push(up);
        }
        if !has(interface, new.address) {
            changes.push(Change::AddAddress(new.clone()));
        }
    }
    changes
}

/// Addresses that go with this one unless `promote_secondaries` is set, though nobody wants them gone: those in the same
/// IPv4 subnet (__inet_del_ifa, net/ipv4/devinet.c). Whether they went is not known beforehand.
fn endangered<'a>(
    old: &'a Assignment,
    facts: &'a Facts,
    leaving: &'a [Assignment],
) -> impl Iterator<Item = Assignment> + 'a {
    let others = facts.interface(&old.interface).into_iter().flat_map(|interface| &interface.addresses);
    let goes_along = |other: &&Address| {
        let (own, other) = (old.address, other.network);
        Family::from(&own) == Family::V4
            && own != other
            && own.prefix() == other.prefix()
            && own.network() == other.network()
    };
    let assignment =
        |other: &Address| Assignment { interface: old.interface.clone(), address: other.network };
    others.filter(goes_along).map(assignment).filter(|other| !leaving.contains(other))
}
