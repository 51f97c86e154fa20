//! The service checks of the links within one run, and what they say of a line.
//!
//! A round asks all checks of a link at once. It has failed where none of them passes: some other server may have its own
//! troubles. Whether that is the line's fault the other links show: a server that answers nobody over any line says nothing
//! of a line.

use std::time::Duration;

use super::service::{Check, CheckError, CheckResult, CheckState, Services};
use super::time::BootTime;

/// How often the active link is asked, and one before it in the list, which would have the traffic back.
const ACTIVE: Duration = Duration::from_secs(30);

/// How often one that waits is asked: the metered lines are the backups.
const WAITING: Duration = Duration::from_secs(10 * 60);

/// While the active one fails, any that could have the traffic is asked as often as that at first, and half as often after
/// each so many of its rounds: a server may be dead for days, and each question to it over a metered line is paid for.
const PATIENT_ROUNDS: u32 = 16;

/// Soon again where a check has failed that passed before; and no answer of a candidate may be older.
const AGAIN: Duration = Duration::from_secs(5);

/// A round that is older shows nothing of another line's fault.
const RECENT: Duration = Duration::from_secs(60);

/// A check that has not come back by then never will: each has a limit of its own, which is shorter.
const GIVEN_UP: Duration = Duration::from_secs(7);

/// So many rounds in a row in which none passes, and the link is of no use.
const USELESS: u32 = 2;

/// How much it matters how a link stands just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The traffic may move to it in this run.
    Candidate,
    /// It carries the traffic, or would have it back.
    Active,
    /// It waits, and could have the traffic of the active one, which has failed in so many rounds.
    Spare(u32),
    Waiting,
}

/// The checks of one link, in one run.
pub struct Round<'a> {
    checks: &'a [Check],
    /// Why a check cannot be sent through this link.
    barred: Vec<Option<CheckError>>,
    before: Services,
    asked_at: Option<BootTime>,
    results: Vec<Option<Result<Duration, CheckError>>>,
}

impl<'a> Round<'a> {
    /// What was known `before` goes on for the checks that the config still has.
    pub fn new(
        checks: &'a [Check],
        barred: Vec<Option<CheckError>>,
        before: &Services,
        now: BootTime,
    ) -> Round<'a> {
        let before = before.of(checks, now);
        Round { checks, barred, before, asked_at: None, results: vec![None; checks.len()] }
    }

    pub fn has_checks(&self) -> bool {
        !self.checks.is_empty()
    }

    pub fn is_due(&self, need: Need, now: BootTime) -> bool {
        let interval = match need {
            Need::Candidate => AGAIN,
            _ if self.before.has_news() => AGAIN,
            Need::Active => ACTIVE,
            Need::Spare(failed) => WAITING.min(ACTIVE * 2_u32.saturating_pow(failed / PATIENT_ROUNDS)),
            Need::Waiting => WAITING,
        };
        let asked = self.before.asked_at.filter(|_| self.before.knows_all_of(self.checks));
        self.has_checks()
            && self.asked_at.is_none()
            && asked.and_then(|at| now.since(at)).is_none_or(|time| time >= interval)
    }

    /// Begins; what is to be sent.
    pub fn begin(&mut self, now: BootTime) -> Vec<&'a Check> {
        self.asked_at = Some(now);
        self.results = self.barred.iter().map(|barred| barred.clone().map(Err)).collect();
        let open = self.checks.iter().zip(&self.results).filter(|(_, result)| result.is_none());
        open.map(|(check, _)| check).collect()
    }

    pub fn take(&mut self, check: &Check, result: &Result<Duration, CheckError>) {
        for (_, slot) in self.checks.iter().zip(&mut self.results).filter(|(own, _)| *own == check) {
            slot.get_or_insert_with(|| result.clone());
        }
    }

    /// Whether an answer is waited for.
    pub fn is_open(&self, now: BootTime) -> bool {
        let is_over = self.asked_for(now).is_none_or(|time| time >= GIVEN_UP);
        !is_over && self.results.iter().any(Option::is_none)
    }

    /// For how long, in this run.
    pub fn asked_for(&self, now: BootTime) -> Option<Duration> {
        Some(now.since(self.asked_at?).unwrap_or_default())
    }

    pub fn has_passed(&self) -> bool {
        self.results.iter().any(|result| matches!(result, Some(Ok(_))))
    }

    /// All of them have come back in this run, none passed, and nothing of that is a fault of our own.
    pub fn has_failed(&self, now: BootTime) -> bool {
        let is_verdict = |result: &Option<Result<_, CheckError>>| match result {
            Some(Ok(_)) => false,
            Some(Err(error)) => !error.is_no_verdict(),
            None => true,
        };
        self.asked_at.is_some() && !self.is_open(now) && self.results.iter().all(is_verdict)
    }

    /// Whether there were so many failed rounds in a row that the link is of no use.
    pub fn has_failed_often(&self, now: BootTime) -> bool {
        self.has_failed(now) && self.before.failed_rounds + 1 >= USELESS
    }

    /// In how many rounds in a row before this run none passed.
    pub fn failed_rounds(&self) -> u32 {
        self.before.failed_rounds
    }

    /// Whether other links are to show whose fault it is. They have done so when it goes on failing.
    pub fn wants_witnesses(&self, now: BootTime) -> bool {
        self.has_failed(now) && self.before.failed_rounds < USELESS
    }

    /// What is known of each check, by this run or the last that asked: when, and whether it passed.
    fn known(&self, now: BootTime) -> impl Iterator<Item = (&Check, BootTime, bool)> {
        self.checks.iter().zip(&self.results).filter_map(move |(check, result)| {
            match (result, self.asked_at) {
                (Some(result), Some(at)) if !is_no_verdict(result) => Some((check, at, result.is_ok())),
                (None, Some(at)) if !self.is_open(now) => Some((check, at, false)),
                _ => {
                    let known = self.before.of_check(check)?;
                    Some((check, self.before.asked_at?, known.error.is_none()))
                }
            }
        })
    }

    fn passes_recently(&self, wanted: Option<&Check>, now: BootTime) -> bool {
        self.known(now).any(|(check, at, passes)| {
            passes
                && wanted.is_none_or(|wanted| wanted == check)
                && now.since(at).is_none_or(|time| time <= RECENT)
        })
    }

    /// The last round, in this run or before, in which none passed.
    pub fn fails(&self, now: BootTime) -> bool {
        let mut known = self.known(now).peekable();
        known.peek().is_some() && known.all(|(_, _, passes)| !passes)
    }

    /// What the next run is to know. A fault of our own teaches nothing.
    pub fn services(&self, now: BootTime) -> Services {
        let (Some(asked_at), false) = (self.asked_at, self.is_void(now)) else { return self.before.clone() };
        let is_over = self.asked_for(now).is_none_or(|time| time >= GIVEN_UP);
        let state = |(check, result): (&Check, &Option<Result<Duration, CheckError>>)| {
            let known = self.before.of_check(check);
            match (result, known) {
                // Another one has passed, and this was not waited for: it stays what it was.
                (None, Some(known)) if !is_over => known.clone(),
                (result, known) => {
                    let result = result.as_ref().unwrap_or(&Err(CheckError::NoReply));
                    CheckState::new(check, result, known.map_or(0, |known| known.failed))
                }
            }
        };
        let failed_rounds = if self.has_passed() { 0 } else { self.before.failed_rounds.saturating_add(1) };
        let checks = self.checks.iter().zip(&self.results).map(state).collect();
        Services { asked_at: Some(asked_at), failed_rounds, useless: self.before.useless, checks }
    }

    /// Nothing was learnt: still under way when the run ended, or a fault of our own.
    fn is_void(&self, now: BootTime) -> bool {
        !self.has_passed() && !self.has_failed(now)
    }

    pub fn was_useless(&self) -> bool {
        self.before.useless
    }

    /// What became of each check that was asked in this run.
    pub fn results(&self) -> Vec<CheckResult> {
        let asked = self.checks.iter().zip(&self.results);
        asked
            .filter_map(|(check, result)| Some(CheckResult { check: check.clone(), result: result.clone()? }))
            .collect()
    }
}

fn is_no_verdict(result: &Result<Duration, CheckError>) -> bool {
    result.as_ref().is_err_and(CheckError::is_no_verdict)
}

/// A link, as far as it shows whose fault it is that another one's checks fail.
pub struct Seen<'a, 'b> {
    pub round: &'a Round<'b>,
    /// It may have the default traffic.
    pub carries: bool,
    /// It is up, and answers pings just now.
    pub answers: bool,
}

/// Whether it is the line's fault that the checks of this link fail: another link shows that the servers are alive, or has
/// nothing against it.
pub fn is_the_lines_fault(of: usize, links: &[Seen], now: BootTime) -> bool {
    let own = links[of].round;
    own.fails(now)
        && links.iter().enumerate().filter(|(index, _)| *index != of).any(|(_, other)| {
            let has = |check: &Check| other.round.checks.contains(check);
            own.checks.iter().any(|check| other.round.passes_recently(Some(check), now))
                || other.carries
                    && other.answers
                    && (!other.round.has_checks()
                        || other.round.passes_recently(None, now) && !own.checks.iter().all(has))
        })
}
