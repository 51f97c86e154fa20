//! The history for people, and for programs.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::overall::TOO_OLD;
use super::page::{WIDTH, printable, wrapped};
use crate::core::account::{Account, Entry, LinkSummary, Outset, Span, Standing};
use crate::core::record::Event;
use crate::core::switch::Cause;
use crate::core::units::{bytes, largest};

/// Where the columns of an entry begin.
const WHAT: usize = 11;
const LASTED: usize = 52;
const BYTES: usize = 68;

/// After a change of policy or a restart of systemd-networkd there may be dozens.
const REPAIRS_SHOWN: usize = 4;

/// The records of the period, as they were written, one a line.
pub fn json(account: Option<&Account>) -> String {
    let entries = account.map_or(&[][..], |account| &account.entries);
    let line = |entry: &Entry| {
        serde_json::to_string(entry.record).expect("strings, numbers and lists always make JSON") + "\n"
    };
    entries.iter().map(line).collect()
}

/// The period as a page of text, newest last, with a summary of each link.
pub fn text(account: Option<&Account>, zone: &TimeZone) -> String {
    match account {
        Some(account) => page(account, zone).expect("writing to a string does not fail"),
        None => "Nothing has been recorded yet.\n".to_owned(),
    }
}

fn page(account: &Account, zone: &TimeZone) -> Result<String, std::fmt::Error> {
    let mut page = String::new();
    if let Some(outset) = told_standing(&account.outset) {
        write_wrapped(&mut page, 0, &format!("At {}: {outset}.", minute(account.from, zone)))?;
        writeln!(page)?;
    }
    let is_shown = |entry: &&Entry| entry.record.event != Event::Watched;
    let entries: Vec<&Entry> = account.entries.iter().filter(is_shown).collect();
    if entries.is_empty() {
        writeln!(page, "Nothing was recorded since {}.", minute(account.from, zone))?;
    } else {
        let (lasted, bytes) = (LASTED - WHAT, BYTES - LASTED);
        let header = format!("{:WHAT$}{:lasted$}{:bytes$}over backup", "", "", "lasted");
        writeln!(page, "{header}")?;
    }
    let (mut day, mut before) = (None, None);
    for entry in entries {
        let at = entry.at.to_zoned_datetime(zone.clone());
        // The offset is a part of it: when the clocks go back, one day has some hours twice.
        let of_entry = (at.date(), at.offset());
        if day.replace(of_entry) != Some(of_entry) {
            writeln!(page, "\n{}", at.strftime("%a %Y-%m-%d, %Z (UTC%:z)"))?;
        }
        write_entry(&mut page, entry, before, &at.strftime("%H:%M:%S").to_string())?;
        before = Some(entry);
    }
    writeln!(page)?;
    write_summary(&mut page, account, zone)?;
    Ok(page)
}

fn told_standing(outset: &Outset) -> Option<String> {
    let active = outset.active.map(|link| format!("{link} was active"));
    let down = (!outset.down.is_empty()).then(|| format!("{} was down", outset.down.join(", ")));
    let all: Vec<String> = active.into_iter().chain(down).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn write_entry(page: &mut String, entry: &Entry, before: Option<&Entry>, time: &str) -> std::fmt::Result {
    let width = if entry.lasted.is_some() { LASTED - 2 } else { WIDTH } - WHAT;
    let lasted = entry.lasted.map_or(String::new(), told);
    let over = entry.backup_bytes.map_or(String::new(), bytes);
    for (index, line) in wrapped(&what(entry), width).iter().enumerate() {
        let (what, bytes) = (LASTED - WHAT, BYTES - LASTED);
        let row = match index {
            0 => format!("{:WHAT$}{line:what$}{lasted:bytes$}{over}", format!(" {time}")),
            _ => format!("{:WHAT$}{line}", ""),
        };
        writeln!(page, "{}", row.trim_end())?;
    }
    details(entry, before).iter().try_for_each(|detail| {
        // What goes on is indented further, or one command would read as two.
        let lines = wrapped(detail, WIDTH - WHAT - 4).join(&format!("\n{:1$}", "", WHAT + 4));
        writeln!(page, "{:1$}{lines}", "", WHAT + 2)
    })
}

fn what(entry: &Entry) -> String {
    match &entry.record.event {
        Event::Started { active, .. } => format!(
            "started {} after boot, {active} active",
            time(Duration::from_millis(entry.record.boot_ms.0))
        ),
        Event::Switched { from, to, .. } => format!("switch {from} -> {to}"),
        Event::LinkDown { link, .. } => format!("{link} DOWN"),
        Event::LinkUp { link, .. } => match entry.after {
            Some(outage) => format!("{link} up after {}", time(outage)),
            None => format!("{link} up"),
        },
        Event::Script { path, state, outcome } => format!("script {path} {state}: {outcome}"),
        Event::LinksChanged { links, .. } => format!("config: the links are now {}", links.join(", ")),
        Event::NotWatched { .. } => "watched again".to_owned(),
        Event::TakenOut { .. } => "taken out by `wanfo down`".to_owned(),
        Event::Released { link, what } => format!("{what} of {link} ended by the config"),
        Event::Drilled { link, proven, with_switch, .. } => {
            let kind = if *with_switch { "drill with a switch" } else { "drill" };
            format!("{kind}: {link} {}", if *proven { "proven" } else { "NOT proven" })
        }
        Event::Repaired { changes } if changes.len() == 1 => "repaired a route or rule".to_owned(),
        Event::Repaired { changes } => format!("repaired {} routes and rules", changes.len()),
        // Never written into a history.
        other => other.to_string(),
    }
}

/// What stands below it, line by line.
fn details(entry: &Entry, before: Option<&Entry>) -> Vec<String> {
    match &entry.record.event {
        Event::Started { .. } | Event::NotWatched { .. } => {
            let unknown = entry.unknown_before.filter(|unknown| *unknown > Duration::ZERO);
            let line = |unknown| format!("nobody watched for the {} before", time(unknown));
            unknown.map(line).into_iter().collect()
        }
        Event::Switched { from, cause: Cause::LinkDown, .. } if is_told(from, before) => Vec::new(),
        Event::Switched { reason, .. } | Event::LinkDown { reason, .. } => vec![reason.clone()],
        Event::Drilled { why_not, .. } => why_not.iter().cloned().collect(),
        Event::Repaired { changes } => {
            let mut lines: Vec<String> = changes.iter().take(REPAIRS_SHOWN).cloned().collect();
            if changes.len() > REPAIRS_SHOWN {
                lines.push(format!(
                    "and {} more, see `wanfo history --format json`",
                    changes.len() - REPAIRS_SHOWN
                ));
            }
            lines
        }
        _ => Vec::new(),
    }
}

/// Most switches follow at once from a link that went down, whose line has said why.
fn is_told(from: &str, before: Option<&Entry>) -> bool {
    matches!(before.map(|entry| &entry.record.event), Some(Event::LinkDown { link, .. }) if link == from)
}

fn write_summary(page: &mut String, account: &Account, zone: &TimeZone) -> std::fmt::Result {
    let length = Duration::try_from(account.to.duration_since(account.from)).unwrap_or_default();
    let unknown = length.saturating_sub(account.known);
    write!(page, "{} to {}: {}", minute(account.from, zone), minute(account.to, zone), time(length))?;
    match unknown > TOO_OLD {
        true => writeln!(page, ", {} of it not watched", time(unknown))?,
        false => writeln!(page)?,
    }
    let names: Vec<String> = account.links.iter().map(|summary| cut(summary.link)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(4);
    writeln!(
        page,
        "\n{:width$}  {:>7}  {:>8}  {:>8}  {:>7}  {:<15}  as backup",
        "link", "up", "up for", "active", "outages", "longest outage"
    )?;
    for (summary, name) in account.links.iter().zip(&names) {
        let longest = summary.longest_outage.map_or("-".to_owned(), told);
        let row = format!(
            "{name:width$}  {:>7}  {:>8}  {:>8}  {:>7}  {longest:<15}  {}",
            percentage(summary),
            if summary.known.is_zero() { "?".to_owned() } else { time(summary.up) },
            time(summary.active),
            summary.outages,
            backup_bytes(summary)
        );
        writeln!(page, "{}", row.trim_end())?;
    }
    writeln!(page)?;
    for name in account.links.iter().map(|summary| summary.link) {
        let label = cut(name);
        let room = WIDTH.saturating_sub(width + 4);
        let strip: String = account.strip(name, room).into_iter().map(letter).collect();
        writeln!(page, "{label:width$}  [{strip}]")?;
    }
    writeln!(page, "{:width$}   = up, # carries the traffic, X down, . not watched", "")?;
    writeln!(page)?;
    write_wrapped(
        page,
        0,
        "Up is the share of the time in which wanfo was running and knew the link's state. An outage lasts from the last sign of \
         life, or the first request in vain, to the first answer, not until the link is trusted again. Bytes go both ways and \
         are counted when the backup is left (+: more went over it that was not counted); 1 GB is 1000 MB, as on data plans.",
    )
}

fn letter(standing: Standing) -> char {
    match standing {
        Standing::Up => '=',
        Standing::Active => '#',
        Standing::Down => 'X',
        Standing::Unknown => '.',
    }
}

/// Rounded down: only what had no outage at all is 100%.
fn percentage(summary: &LinkSummary) -> String {
    match (summary.up.as_millis() * 10_000).checked_div(summary.known.as_millis()) {
        Some(hundredths) => format!("{}.{:02}%", hundredths / 100, hundredths % 100),
        None => "?".to_owned(),
    }
}

fn backup_bytes(summary: &LinkSummary) -> String {
    match (summary.backup_bytes, summary.more_bytes) {
        (0, true) => "not known".to_owned(),
        (0, false) => "-".to_owned(),
        (count, true) => bytes(count) + "+",
        (count, false) => bytes(count),
    }
}

fn minute(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

fn told(span: Span) -> String {
    match span {
        Span::Ended(length) => time(length),
        Span::SoFar(length) => format!("{} so far", time(length)),
        Span::AtLeast(length) if length.as_secs() == 0 => "not known".to_owned(),
        Span::AtLeast(length) => format!("{} or more", time(length)),
    }
}

/// In its two largest units: "12d 4h", "47m 3s".
fn time(span: Duration) -> String {
    let told = |count: u64, unit: u64| match unit {
        86_400 => format!("{count}d"),
        3600 => format!("{count}h"),
        60 => format!("{count}m"),
        _ => format!("{count}s"),
    };
    let (count, unit, smaller) = largest(span);
    let smaller = smaller.map(|(count, unit)| format!(" {}", told(count, unit))).unwrap_or_default();
    told(count, unit) + &smaller
}

/// A name as long as the config allows.
fn cut(name: &str) -> String {
    printable(name).chars().take(32).collect()
}

fn write_wrapped(page: &mut String, indent: usize, text: &str) -> std::fmt::Result {
    wrapped(text, WIDTH - indent).iter().try_for_each(|line| writeln!(page, "{:indent$}{line}", ""))
}
