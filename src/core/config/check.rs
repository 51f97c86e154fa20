//! What no link can be asked alone: whether the links get into each other's way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;

use super::fields::{Faults, Place, Placed, Reported};
use super::{Gateway, Link, Pin, Target};
use crate::core::facts::is_link_local;
use crate::core::service::Check;

/// A link as far as it could be read.
pub struct Draft {
    pub place: Place,
    /// None: missing or no good, and reported.
    pub name: Option<Placed<String>>,
    pub interface: Result<Option<Placed<String>>, Reported>,
    pub gateway: Result<Gateway, Reported>,
    pub gateway6: Gateway,
    pub address: Vec<Placed<IpNetwork>>,
    pub targets: Vec<Placed<Target>>,
    pub quorum: u32,
    pub checks: Vec<Check>,
    pub delay: Duration,
    pub stable: Duration,
    pub standby_interval: Duration,
    pub routes: Vec<Placed<IpNetwork>>,
    pub routes_only: bool,
    pub inbound: bool,
}

impl Draft {
    /// None where something without a default could not be read.
    pub fn into_link(self) -> Option<Link> {
        Some(Link {
            name: self.name?.value,
            interface: self.interface.ok()?.map(|interface| interface.value),
            gateway: self.gateway.ok()?,
            gateway6: self.gateway6,
            address: self.address.into_iter().map(|address| address.value).collect(),
            targets: self.targets.into_iter().map(|target| target.value).collect(),
            quorum: self.quorum,
            checks: self.checks,
            delay: self.delay,
            stable: self.stable,
            standby_interval: self.standby_interval,
            routes: self.routes.into_iter().map(|route| route.value).collect(),
            routes_only: self.routes_only,
            inbound: self.inbound,
        })
    }

    /// What a target is known to be before any run: the word `gateway` may stand for a written address.
    fn address_of(&self, target: Target) -> Option<IpAddr> {
        match (target, self.gateway, self.gateway6) {
            (Target::Address(address), ..) => Some(address),
            (Target::Gateway, Ok(Gateway::Address(address)), _) => Some(address),
            (Target::Gateway, Ok(Gateway::None), Gateway::Address(address)) => Some(address),
            (Target::Gateway, ..) => None,
        }
    }
}

pub fn links(links: &[Draft], pin: Pin, faults: &mut Faults) {
    names(links, faults);
    lines(links, faults);
    addresses(links, faults);
    gateway_targets(links, faults);
    targets(links, pin, faults);
    routes(links, faults);
}

fn names(links: &[Draft], faults: &mut Faults) {
    let mut seen = HashMap::new();
    for name in links.iter().filter_map(|link| link.name.as_ref()) {
        if let Some(first) = seen.get(&name.value) {
            faults.add(
                &name.place,
                format!("{} is also {first}; every link needs a name of its own", name.value),
            );
        } else {
            seen.insert(&name.value, &name.place.path);
        }
    }
}

/// Two links over one interface are two lines only where each names a router of its own.
fn lines(links: &[Draft], faults: &mut Faults) {
    for (i, link) in links.iter().enumerate() {
        for earlier in &links[..i] {
            let (Ok(interface), Ok(gateway)) = (&link.interface, link.gateway) else { continue };
            let (Ok(earlier_interface), Ok(earlier_gateway)) = (&earlier.interface, earlier.gateway) else {
                continue;
            };
            let both_named = matches!((gateway, earlier_gateway), (Gateway::Address(_), Gateway::Address(_)));
            let other = &earlier.place.path;
            match (interface, earlier_interface) {
                (Some(a), Some(b)) if a.value == b.value && !(both_named && gateway != earlier_gateway) => {
                    let text = format!(
                        "{} is also the interface of {other}; give each link an interface of its own, or \
                         write a different address under \"gateway\" of both",
                        a.value
                    );
                    faults.add(&a.place, text);
                    break;
                }
                (Some(_), Some(_)) => {}
                // Which line is meant would be found out by the gateway alone, and that is the same.
                _ if both_named && gateway == earlier_gateway => {
                    let text =
                        format!("the gateway is also that of {other}; write the \"interface\" of both links");
                    faults.add(&link.place, text);
                    break;
                }
                _ => {}
            }
        }
    }
}

/// Each address stands on one interface, and which one has to be said.
fn addresses(links: &[Draft], faults: &mut Faults) {
    let mut seen: HashMap<IpAddr, &str> = HashMap::new();
    for link in links {
        if let (Ok(None), Some(first)) = (&link.interface, link.address.first()) {
            let text = "this link names no interface to put it on; write its \"interface\" too";
            faults.add(&first.place, text.into());
        }
        for own in &link.address {
            let address = own.value.ip();
            if let Some(first) = seen.insert(address, &own.place.path) {
                faults.add(&own.place, format!("{address} is also {first}; keep one of the two"));
            }
            if link.gateway == Ok(Gateway::Address(address)) || link.gateway6 == Gateway::Address(address) {
                let text = format!("{address} is also the gateway; write the router's own address here");
                faults.add(&own.place, text);
            }
        }
        for target in &link.targets {
            let Some(address) = link.address_of(target.value) else { continue };
            if link.address.iter().any(|own| own.value.ip() == address) {
                let text = format!(
                    "{address} is this link's own address, which always answers; write the address of a host \
                     behind the link"
                );
                faults.add(&target.place, text);
            }
        }
    }
}

fn gateway_targets(links: &[Draft], faults: &mut Faults) {
    for link in links {
        for target in link.targets.iter().filter(|target| target.value == Target::Gateway) {
            let fault = match (link.gateway, link.gateway6) {
                (Ok(Gateway::None), Gateway::None) => "this link has no gateway to ping",
                (Ok(Gateway::None), Gateway::Address(address)) if is_link_local(address) => {
                    "the gateway is a link-local address, and ping-rs cannot be told the interface (scope \
                     id) it needs"
                }
                _ => continue,
            };
            faults.add(&target.place, format!("{fault}; write the address of a host behind this link"));
        }
    }
}

/// A target stands once. With `pin: target` it serves one link: echo requests to it can be tied to one way out only.
fn targets(links: &[Draft], pin: Pin, faults: &mut Faults) {
    let condition = match pin {
        Pin::Link => "a target stands once in a link",
        Pin::Target => "with \"pin: target\" a target stands once, for one link",
    };
    let mut seen: HashMap<IpAddr, &str> = HashMap::new();
    for link in links {
        if pin == Pin::Link {
            seen.clear();
        }
        let mut gateway_word: Option<&str> = None;
        for target in &link.targets {
            let path = target.place.path.as_str();
            let (first, what) = match link.address_of(target.value) {
                Some(address) => (seen.insert(address, path), address.to_string()),
                None => (gateway_word.replace(path), "gateway".into()),
            };
            if let Some(first) = first {
                let text = format!("{what} is also {first}; {condition}: keep one of the two");
                faults.add(&target.place, text);
            }
        }
    }
}

fn routes(links: &[Draft], faults: &mut Faults) {
    let mut seen: HashMap<IpNetwork, &str> = HashMap::new();
    for route in links.iter().flat_map(|link| &link.routes) {
        if let Some(first) = seen.insert(route.value, &route.place.path) {
            let text = format!("{} is also {first}; keep one of the two", route.value);
            faults.add(&route.place, text);
        }
    }
}
