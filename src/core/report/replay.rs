//! What a replay has shown, for people.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::page::{WIDTH, printable, wrapped};
use crate::core::record::{Event, Record};
use crate::core::replay::Played;

/// A switch that came, and one that would have, are the same where they lead from and to the same and no more lies between.
const SAME: Duration = Duration::from_secs(5 * 60);

/// A moment to the second, and two blanks.
const MOMENT: usize = 21;

/// One switch: as it came, as it would have come, or both.
struct Row<'a> {
    came: Option<&'a Record>,
    would_come: Option<&'a Record>,
}

/// The switches side by side, and what was taken for granted.
pub fn text(played: &Played, zone: &TimeZone) -> String {
    page(played, zone).expect("writing to a string does not fail")
}

fn page(played: &Played, zone: &TimeZone) -> Result<String, std::fmt::Error> {
    let mut page = String::new();
    let [from, to] = [played.from, played.to].map(|at| moment(at, zone));
    let runs = if played.runs == 1 { "1 run" } else { &format!("{} runs", played.runs) };
    writeln!(page, "{runs}, {from} to {to} (local time)\n")?;
    let rows = side_by_side(&played.came, &played.would_come);
    if rows.is_empty() {
        writeln!(page, "No switch came, and none would have come by this config.")?;
    } else {
        writeln!(page, "{:MOMENT$}{:MOMENT$}switch", "came", "would have come")?;
    }
    for row in &rows {
        let [came, would_come] = [row.came, row.would_come].map(|record| match record {
            Some(record) => moment(record.at, zone),
            None => "-".to_owned(),
        });
        let Some(Event::Switched { from, to, reason, forced, .. }) = row.event() else { continue };
        let by_hand = if *forced { " (by hand)" } else { "" };
        let what = printable(&format!("{from} -> {to}{by_hand}"));
        writeln!(page, "{came:MOMENT$}{would_come:MOMENT$}{what}")?;
        write_indented(&mut page, reason)?;
    }
    if !rows.is_empty() {
        let count = |records: &[Record]| match records.len() {
            0 => "none".to_owned(),
            count => count.to_string(),
        };
        let (came, would_come) = (count(&played.came), count(&played.would_come));
        writeln!(page, "\nSwitches that came: {came}; that would have come by this config: {would_come}.")?;
    }
    let mut notes = Vec::new();
    if played.guessed > 0 {
        notes.push(format!(
            "Of the {} requests of this replay {} fall into moments at which none was sent then: there a target \
             counts as it was found the last time before.",
            played.requests, played.guessed
        ));
    }
    if played.exit_script_unknown {
        notes.push("The exit script was not asked then; here it says yes.".to_owned());
    }
    if played.not_forced > 0 {
        notes.push(format!(
            "{} `force-failover` to what is no backup by this config: left out.",
            played.not_forced
        ));
    }
    for note in notes {
        writeln!(page)?;
        wrapped(&note, WIDTH).iter().try_for_each(|line| writeln!(page, "{line}"))?;
    }
    Ok(page)
}

fn write_indented(page: &mut String, text: &str) -> std::fmt::Result {
    const INDENT: usize = 4;
    wrapped(text, WIDTH - INDENT).iter().try_for_each(|line| writeln!(page, "{:INDENT$}{line}", ""))
}

fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

impl Row<'_> {
    fn event(&self) -> Option<&Event> {
        self.would_come.or(self.came).map(|record| &record.event)
    }
}

/// In the order of time. Of several that could be the same the nearest is.
fn side_by_side<'a>(mut came: &'a [Record], mut would_come: &'a [Record]) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    loop {
        let (one, other) = (came.first(), would_come.first());
        let (comes, would) = match (one, other) {
            (None, None) => return rows,
            (Some(one), Some(other)) => match distance(one, other) {
                Some(distance)
                    if is_nearest(one, &would_come[1..], distance)
                        && is_nearest(other, &came[1..], distance) =>
                {
                    (true, true)
                }
                _ => (one.at <= other.at, one.at > other.at),
            },
            (one, other) => (one.is_some(), other.is_some()),
        };
        rows.push(Row { came: one.filter(|_| comes), would_come: other.filter(|_| would) });
        came = &came[usize::from(comes)..];
        would_come = &would_come[usize::from(would)..];
    }
}

/// What lies between two switches that may be the same.
fn distance(one: &Record, other: &Record) -> Option<Duration> {
    let ends = |record: &Record| match &record.event {
        Event::Switched { from, to, .. } => Some((from.clone(), to.clone())),
        _ => None,
    };
    let distance = one.at.duration_since(other.at).unsigned_abs();
    (ends(one) == ends(other) && distance <= SAME).then_some(distance)
}

fn is_nearest(record: &Record, others: &[Record], least: Duration) -> bool {
    let mut nearer =
        others.iter().take_while(|other| other.at <= record.at.saturating_add(SAME).unwrap_or(other.at));
    !nearer.any(|other| distance(record, other).is_some_and(|distance| distance < least))
}
