//! Which link should carry the traffic: the choice among those that work, and when it may be acted upon.

use std::time::Duration;

/// What is known of one link at the moment of the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The verdict.
    pub up: bool,
    /// Its round in this very run was good.
    pub good_just_now: bool,
}

impl Candidate {
    fn is_eligible(self) -> bool {
        self.up && self.good_just_now
    }
}

/// What keeps an automatic switch from leaving the active link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// Nothing does.
    Free,
    /// The active link's delay, or `--for`, runs for so long still.
    For(Duration),
    /// `force-failover --hold`.
    UntilFailback,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The active link is the best there is.
    Keep,
    /// A better link is there, but not yet to be taken.
    Wait {
        better: usize,
    },
    /// The active link is down, and nothing else is known to work: moving would help nobody.
    NothingBetter,
    Switch {
        to: usize,
    },
}

/// The best link: the first in the list that is up and whose latest round was good.
pub fn best(links: &[Candidate]) -> Option<usize> {
    links.iter().position(|link| link.is_eligible())
}

/// The automatic choice of a `check`.
///
/// A link known to be down is left at once, delay or hold notwithstanding. A link that is up is left only for one
/// that stands before it in the list, and only when nothing keeps it.
pub fn decide(links: &[Candidate], active: usize, stay: Stay) -> Decision {
    match best(links) {
        Some(to) if !links[active].up => Decision::Switch { to },
        None if !links[active].up => Decision::NothingBetter,
        Some(better) if better < active => match stay {
            Stay::Free => Decision::Switch { to: better },
            Stay::For(_) | Stay::UntilFailback => Decision::Wait { better },
        },
        _ => Decision::Keep,
    }
}

/// Where `force-failover` goes: to the named link, else to the first backup that works.
/// `None`: there is no such link, or it is not known to work just now.
pub fn forced(links: &[Candidate], active: usize, to: Option<usize>) -> Option<usize> {
    match to {
        Some(to) => links[to].is_eligible().then_some(to),
        None if active > 0 && links[active].up => Some(active),
        None => (1..links.len()).find(|&index| links[index].is_eligible()),
    }
}
