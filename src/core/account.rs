//! What the records add up to: how long each thing lasted, and what became of each link.
//!
//! Everything is measured on one axis, the time that is known. Between two records of one boot it advances by the boot
//! clock. It stands still while nobody watched: where a run found no state (`Event::Started`), or came late
//! (`Event::NotWatched`). The wall clock only labels points of that axis for people.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::record::{Event, Record};
use super::time::{BootTime, Moment};

/// This moment, and up to when anything is known.
#[derive(Debug, Clone)]
pub struct Present<'a> {
    pub boot_id: &'a str,
    pub now: Moment,
    /// The last run of this boot; `None`: none left a state, and nothing is known after the last record.
    pub last_run: Option<BootTime>,
}

/// The history of a period.
#[derive(Debug, Clone, PartialEq)]
pub struct Account<'a> {
    /// Wall-clock times: the period begins no earlier than the first record, and ends now.
    pub from: Timestamp,
    pub to: Timestamp,
    /// How much of the period wanfo can vouch for.
    pub known: Duration,
    /// How things stood when the period began, by what had happened before.
    pub outset: Outset<'a>,
    /// Oldest first.
    pub entries: Vec<Entry<'a>>,
    /// In order of preference, then links that only the records of the period have.
    pub links: Vec<LinkSummary<'a>>,
    /// What was so for a while, by the clock on the wall.
    pub stretches: Vec<Stretch<'a>>,
}

/// A link was in one state from one moment to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch<'a> {
    pub link: &'a str,
    pub standing: Standing,
    pub from: Timestamp,
    pub to: Timestamp,
}

impl<'a> Stretch<'a> {
    /// What is left of it beside these times, which come one after the other.
    fn without(self, times: &[(Timestamp, Timestamp)]) -> Vec<Stretch<'a>> {
        let Stretch { link, standing, mut from, to } = self;
        let mut left = Vec::new();
        for &(begins, ends) in times {
            if begins >= to || ends <= from {
                continue;
            }
            if begins > from {
                left.push(Stretch { link, standing, from, to: begins });
            }
            from = ends;
        }
        // What begins and ends at one moment is there all the same.
        if from < to || left.is_empty() && from == to {
            left.push(Stretch { link, standing, from, to });
        }
        left
    }
}

/// Of what is so at the same time, the greatest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nobody watched.
    Unknown,
    Up,
    /// It carries the traffic.
    Active,
    Down,
}

impl Account<'_> {
    /// The period in so many parts of the same length, and how the link stood in each.
    pub fn strip(&self, link: &str, parts: usize) -> Vec<Standing> {
        let [from, to] = [self.from, self.to].map(|at| at.as_millisecond());
        let border = |part: usize| from + (to - from) * part as i64 / parts.max(1) as i64;
        let overlaps = |stretch: &&Stretch, part: usize| {
            let [begins, ends] = [stretch.from, stretch.to].map(|at| at.as_millisecond());
            stretch.link == link && begins < border(part + 1).max(border(part) + 1) && ends > border(part)
        };
        let standing =
            |part| self.stretches.iter().filter(|it| overlaps(it, part)).map(|it| it.standing).max();
        (0..parts).map(|part| standing(part).unwrap_or(Standing::Unknown)).collect()
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outset<'a> {
    pub active: Option<&'a str>,
    pub down: Vec<&'a str>,
}

/// One record, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    pub record: &'a Record,
    /// By what the clock of the same boot said last: a clock that was set meanwhile does no harm.
    pub at: Timestamp,
    /// How long the link entered was active, or the link that went down was down.
    pub lasted: Option<Span>,
    /// How long the outage was that this ends.
    pub after: Option<Duration>,
    /// What went over the backup that is entered here, once it is left.
    pub backup_bytes: Option<u64>,
    /// For how long before it nobody watched.
    pub unknown_before: Option<Duration>,
}

/// How long something lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    Ended(Duration),
    /// It lasts still.
    SoFar(Duration),
    /// Its end was not seen.
    AtLeast(Duration),
}

/// One link in the period.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkSummary<'a> {
    pub link: &'a str,
    /// The time in which it was known whether the link is up.
    pub known: Duration,
    pub up: Duration,
    pub active: Duration,
    pub outages: usize,
    /// The part of the longest outage that lies in the period.
    pub longest_outage: Option<Span>,
    /// Bytes over it in its times as the active backup that ended in the period.
    pub backup_bytes: u64,
    /// There is more that was not counted: the count was lost, or the link is active still.
    pub more_bytes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IntervalKind {
    Active,
    Up,
    Down,
}

/// Something that was so for a while, from one point of the axis to another.
struct Interval<'a> {
    link: &'a str,
    kind: IntervalKind,
    /// The record that began it.
    begins: usize,
    from: Duration,
    to: Duration,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By this record.
    By(usize),
    /// It lasts still.
    Open,
    /// It was not seen.
    Lost,
}

/// The records on the axis, and what lasted between them.
struct Timeline<'a> {
    records: &'a [Record],
    /// Where each record lies.
    points: Vec<Duration>,
    /// Where knowledge ends.
    end: Duration,
    /// The wall-clock time of each record.
    walls: Vec<Timestamp>,
    intervals: Vec<Interval<'a>>,
}

/// Adds up the records, which stand in the order in which they were written. `links` are the names of today's links in
/// order of preference; with `since` the account covers what came after it. Without any record there is none.
pub fn account<'a>(
    records: &'a [Record],
    links: &'a [String],
    present: &Present,
    since: Option<Timestamp>,
) -> Option<Account<'a>> {
    let timeline = Timeline::of(records, present)?;
    let since = since.unwrap_or(Timestamp::MIN);
    // A record is shown if it, or one written before it, is late enough: where clocks contradict each other too much
    // is better than too little.
    let first = timeline.walls.iter().position(|wall| *wall >= since).unwrap_or(records.len());
    let start = timeline.point_before(first, since);
    let from = since.max(timeline.walls[0]);
    Some(Account {
        from,
        to: present.now.wall.max(from),
        known: timeline.end.saturating_sub(start),
        outset: timeline.outset(first, start),
        entries: (first..records.len()).map(|index| timeline.entry(index)).collect(),
        links: (names(records, links).into_iter())
            .map(|link| timeline.summary(link, first, start, links.first().is_some_and(|name| name == link)))
            .filter(|summary| links.iter().any(|link| link == summary.link) || summary.was_there())
            .collect(),
        stretches: timeline.stretches(present.now.wall),
    })
}

fn names<'a>(records: &'a [Record], links: &'a [String]) -> Vec<&'a str> {
    let mut names: Vec<&str> = links.iter().map(String::as_str).collect();
    let mut add = |name: &'a str| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    for record in records {
        match &record.event {
            Event::Started { links, .. } | Event::LinksChanged { links, .. } => {
                links.iter().for_each(|link| add(link));
            }
            Event::Switched { from, to, .. } => [from, to].into_iter().for_each(|link| add(link)),
            Event::LinkDown { link, .. } | Event::LinkUp { link, .. } => add(link),
            _ => {}
        }
    }
    names
}

/// Whether what lasted when the first was written can have ended unseen before the second.
fn is_gap(before: &Record, after: &Record) -> bool {
    before.boot_id != after.boot_id || matches!(after.event, Event::Started { .. })
}

/// How much of the time between two records is known.
fn watched(before: &Record, after: &Record) -> Duration {
    match after.event {
        _ if is_gap(before, after) => Duration::ZERO,
        Event::NotWatched { since_ms: until } | Event::TakenOut { watched_ms: until } => {
            until.since(before.boot_ms).unwrap_or_default()
        }
        _ => before.until(after).unwrap_or_default(),
    }
}

/// `earlier` told in the wall-clock time of a later moment of the same boot.
fn wall_time(earlier: BootTime, later: BootTime, wall: Timestamp) -> Timestamp {
    set_back(wall, later.since(earlier).unwrap_or_default())
}

fn set_back(wall: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| wall.checked_sub(by).ok()).unwrap_or(wall)
}

impl<'a> Timeline<'a> {
    fn of(records: &'a [Record], present: &Present) -> Option<Timeline<'a>> {
        let last = records.last()?;
        let mut points = vec![Duration::ZERO];
        for pair in records.windows(2) {
            let step = watched(&pair[0], &pair[1]);
            points.push(points[points.len() - 1].saturating_add(step));
        }
        let last_run = present.last_run.filter(|_| last.boot_id == present.boot_id);
        let after_last = last_run.and_then(|run| run.since(last.boot_ms)).unwrap_or_default();
        let end = points[points.len() - 1].saturating_add(after_last);
        let mut timeline =
            Timeline { records, points, end, walls: walls(records, present), intervals: Vec::new() };
        timeline.interval(if last_run.is_some() { End::Open } else { End::Lost });
        Some(timeline)
    }

    /// The times within a boot in which nobody watched.
    fn unwatched(&self) -> Vec<(Timestamp, Timestamp)> {
        let gap = |(record, wall): (&Record, &Timestamp)| match record.event {
            Event::NotWatched { since_ms } => Some((wall_time(since_ms, record.boot_ms, *wall), *wall)),
            _ => None,
        };
        self.records.iter().zip(&self.walls).filter_map(gap).collect()
    }

    fn stretches(&self, now: Timestamp) -> Vec<Stretch<'a>> {
        let unwatched = self.unwatched();
        let stretch = |interval: &Interval<'a>| {
            // What is told late began, or ended, before its record.
            let before = |record: usize, point: Duration| {
                set_back(self.walls[record], self.points[record].saturating_sub(point))
            };
            let from = before(interval.begins, interval.from);
            let length = SignedDuration::try_from(interval.to.saturating_sub(interval.from));
            let to = match interval.end {
                End::By(record) => before(record, interval.to),
                End::Open => now,
                End::Lost => length.ok().and_then(|it| from.checked_add(it).ok()).unwrap_or(from),
            };
            let standing = match interval.kind {
                IntervalKind::Active => Standing::Active,
                IntervalKind::Up => Standing::Up,
                IntervalKind::Down => Standing::Down,
            };
            Stretch { link: interval.link, standing, from, to }
        };
        self.intervals.iter().flat_map(|interval| stretch(interval).without(&unwatched)).collect()
    }

    /// Finds what lasted from record to record; `at_the_end` is how those end that no record ends.
    fn interval(&mut self, at_the_end: End) {
        let mut open: Vec<Interval> = Vec::new();
        for (index, record) in self.records.iter().enumerate() {
            if index > 0 && is_gap(&self.records[index - 1], record) {
                self.close(&mut open, |_| true, self.points[index], End::Lost);
            }
            let point = self.points[index];
            let begin =
                |link, kind| Interval { link, kind, begins: index, from: point, to: point, end: End::Lost };
            match &record.event {
                Event::Started { active, links } => {
                    open.push(begin(active, IntervalKind::Active));
                    open.extend(links.iter().map(|link| begin(link, IntervalKind::Up)));
                }
                Event::Switched { to, .. } => {
                    self.close(&mut open, |old| old.kind == IntervalKind::Active, point, End::By(index));
                    open.push(begin(to, IntervalKind::Active));
                }
                Event::LinkDown { link, heard_ms, .. } | Event::LinkUp { link, heard_ms } => {
                    let kind = match record.event {
                        Event::LinkUp { .. } => IntervalKind::Up,
                        _ => IntervalKind::Down,
                    };
                    // The outage is the line's and not the run's: from its last sign of life to the next.
                    let late = heard_ms.and_then(|heard| record.boot_ms.since(heard)).unwrap_or_default();
                    let began = open.iter().filter(|old| old.is_verdict_on(link)).map(|old| old.from).max();
                    let point = point.saturating_sub(late).max(began.unwrap_or_default());
                    // Said once more, it began when it was said first.
                    if !open.iter().any(|old| old.link == link && old.kind == kind) {
                        self.close(&mut open, |old| old.is_verdict_on(link), point, End::By(index));
                        open.push(Interval { from: point, ..begin(link, kind) });
                    }
                }
                Event::LinksChanged { links, .. } => {
                    self.close(&mut open, |old| !links.iter().any(|link| link == old.link), point, End::Lost);
                    let new = links.iter().filter(|link| !open.iter().any(|old| old.is_verdict_on(link)));
                    let new: Vec<_> = new.map(|link| begin(link, IntervalKind::Up)).collect();
                    open.extend(new);
                }
                _ => {}
            }
        }
        self.close(&mut open, |_| true, self.end, at_the_end);
    }

    fn close(
        &mut self,
        open: &mut Vec<Interval<'a>>,
        which: impl Fn(&Interval) -> bool,
        to: Duration,
        end: End,
    ) {
        let closed = open.extract_if(.., |interval| which(interval));
        self.intervals.extend(closed.map(|interval| Interval { to, end, ..interval }));
    }

    /// The point at the wall-clock time `since`, which lies before the record `first` and not before the one before it.
    fn point_before(&self, first: usize, since: Timestamp) -> Duration {
        let Some(before) = first.checked_sub(1) else { return Duration::ZERO };
        let offset = Duration::try_from(since.duration_since(self.walls[before])).unwrap_or_default();
        let limit = self.points.get(first).copied().unwrap_or(self.end);
        self.points[before].saturating_add(offset).min(limit)
    }

    fn outset(&self, first: usize, start: Duration) -> Outset<'a> {
        let mut outset = Outset::default();
        for interval in
            self.intervals.iter().filter(|interval| interval.begins < first && interval.to > start)
        {
            match interval.kind {
                IntervalKind::Active => outset.active = Some(interval.link),
                IntervalKind::Down => outset.down.push(interval.link),
                IntervalKind::Up => {}
            }
        }
        outset
    }

    fn entry(&self, index: usize) -> Entry<'a> {
        let record = &self.records[index];
        let shown = |interval: &&Interval| interval.begins == index && interval.kind != IntervalKind::Up;
        let begun = self.intervals.iter().find(shown);
        let outage =
            |interval: &&Interval| interval.end == End::By(index) && interval.kind == IntervalKind::Down;
        let not_known = |before: usize| -> Option<Duration> {
            match record.event {
                Event::NotWatched { since_ms } => record.boot_ms.since(since_ms),
                _ if is_gap(&self.records[before], record) => {
                    self.walls[index].duration_since(self.walls[before]).try_into().ok()
                }
                _ => None,
            }
        };
        Entry {
            record,
            at: self.walls[index],
            lasted: begun.map(|interval| interval.span(Duration::ZERO)),
            after: self
                .intervals
                .iter()
                .find(outage)
                .map(|interval| interval.to.saturating_sub(interval.from)),
            backup_bytes: begun.filter(|interval| interval.kind == IntervalKind::Active).and_then(
                |interval| {
                    let End::By(switch) = interval.end else { return None };
                    self.bytes_over(interval.link, switch)
                },
            ),
            unknown_before: index.checked_sub(1).and_then(not_known),
        }
    }

    /// What the switch away from `link` says.
    fn bytes_over(&self, link: &str, switch: usize) -> Option<u64> {
        match &self.records[switch].event {
            Event::Switched { from, backup_bytes, .. } if from == link => *backup_bytes,
            _ => None,
        }
    }

    fn summary(&self, link: &'a str, first: usize, start: Duration, is_primary: bool) -> LinkSummary<'a> {
        let mut summary = LinkSummary {
            link,
            known: Duration::ZERO,
            up: Duration::ZERO,
            active: Duration::ZERO,
            outages: 0,
            longest_outage: None,
            backup_bytes: 0,
            more_bytes: false,
        };
        let in_period = |interval: &&Interval| interval.begins >= first || interval.to > start;
        for interval in self.intervals.iter().filter(|interval| interval.link == link).filter(in_period) {
            let span = interval.span(start);
            match interval.kind {
                IntervalKind::Active => {
                    summary.active = summary.active.saturating_add(span.known());
                    if is_primary {
                        continue;
                    }
                    let counted = match interval.end {
                        End::By(switch) => self.bytes_over(link, switch),
                        End::Open | End::Lost => None,
                    };
                    summary.backup_bytes = summary.backup_bytes.saturating_add(counted.unwrap_or(0));
                    summary.more_bytes |= counted.is_none();
                }
                IntervalKind::Up => {
                    summary.up = summary.up.saturating_add(span.known());
                    summary.known = summary.known.saturating_add(span.known());
                }
                IntervalKind::Down => {
                    summary.known = summary.known.saturating_add(span.known());
                    summary.outages += 1;
                    let longest = summary.longest_outage.filter(|longest| longest.known() > span.known());
                    summary.longest_outage = longest.or(Some(span));
                }
            }
        }
        summary
    }
}

/// The wall-clock time of each record, by the latest look at the clock in its boot.
fn walls(records: &[Record], present: &Present) -> Vec<Timestamp> {
    let mut latest = (present.boot_id, present.now.boot, present.now.wall);
    let mut walls: Vec<Timestamp> = Vec::with_capacity(records.len());
    for record in records.iter().rev() {
        if latest.0 != record.boot_id {
            latest = (&record.boot_id, record.boot_ms, record.at);
        }
        walls.push(wall_time(record.boot_ms, latest.1, latest.2));
    }
    walls.reverse();
    walls
}

impl LinkSummary<'_> {
    /// Something is known of it in the period.
    fn was_there(&self) -> bool {
        !self.known.is_zero() || !self.active.is_zero()
    }
}

impl Interval<'_> {
    /// Whether it says of this link that it was up, or that it was down.
    fn is_verdict_on(&self, link: &str) -> bool {
        self.link == link && self.kind != IntervalKind::Active
    }

    /// How long it lasted after `start`.
    fn span(&self, start: Duration) -> Span {
        let length = self.to.saturating_sub(self.from.max(start));
        match self.end {
            End::By(_) => Span::Ended(length),
            End::Open => Span::SoFar(length),
            End::Lost => Span::AtLeast(length),
        }
    }
}

impl Span {
    pub fn known(self) -> Duration {
        match self {
            Span::Ended(length) | Span::SoFar(length) | Span::AtLeast(length) => length,
        }
    }
}
