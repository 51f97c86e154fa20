//! When the links were last proven by a drill: it outlives a reboot.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The latest proof of each link that has one, by the wall clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proofs(BTreeMap<String, Timestamp>);

impl Proofs {
    pub fn of(&self, link: &str) -> Option<Timestamp> {
        self.0.get(link).copied()
    }

    pub fn note(&mut self, link: &str, at: Timestamp) {
        self.0.insert(link.to_owned(), at);
    }

    /// Forgets those that are not in the config any more.
    pub fn keep(&mut self, names: &[String]) {
        self.0.retain(|link, _| names.contains(link));
    }
}
