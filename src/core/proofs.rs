//! When the links were last proven by a drill: it outlives a reboot.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::LinkState;

/// The latest proof of each link that has one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proofs(BTreeMap<String, Proof>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Proof {
    /// By the wall clock.
    at: Timestamp,
    /// Over which it was.
    interface: String,
}

impl Proofs {
    /// That of a link which has got another interface since is none of that line.
    pub fn of(&self, link: &LinkState) -> Option<Timestamp> {
        let proof = self.0.get(&link.name)?;
        (link.interface.as_ref() == Some(&proof.interface)).then_some(proof.at)
    }

    pub fn note(&mut self, link: &str, interface: &str, at: Timestamp) {
        self.0.insert(link.to_owned(), Proof { at, interface: interface.to_owned() });
    }

    /// Forgets those that are not in the config any more.
    pub fn keep(&mut self, names: &[String]) {
        self.0.retain(|link, _| names.contains(link));
    }
}
