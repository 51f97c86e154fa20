//! What the pages for people have in common: lines of a terminal, and times as they are told.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::core::units::largest;

/// Every terminal has these columns.
pub const WIDTH: usize = 80;

/// What a line says at a glance. Where there is a colour it is never the only sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    /// A row of letters, one for a while each: broken in two it means nothing.
    Bar,
    Good,
    /// It works, and somebody should look.
    Warning,
    Bad,
}

/// One line, in two columns: the text may go on in further rows, below itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub tone: Tone,
    pub head: String,
    /// Where the text begins.
    pub indent: usize,
    pub text: String,
}

impl Line {
    pub fn new(tone: Tone, indent: usize, text: impl Into<String>) -> Line {
        Line { tone, head: String::new(), indent, text: text.into() }
    }

    /// As rows of a terminal this wide, without a control character.
    pub fn rows(&self, width: usize) -> Vec<String> {
        let indent = self.indent;
        let rows = wrapped(&self.text, width.saturating_sub(indent).max(20)).into_iter().enumerate();
        rows.map(|(index, row)| {
            let head = if index == 0 { self.head.as_str() } else { "" };
            format!("{head:indent$}{row}").trim_end().to_owned()
        })
        .collect()
    }
}

/// A file can hold anything, and a terminal obeys control characters.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Breaks a text at its spaces, and a word that is longer than a line anywhere. Columns within a line stay.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let text = printable(text);
    if text.chars().count() <= width {
        return vec![text];
    }
    let mut lines = vec![String::new()];
    let mut column = 0;
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (index, piece) in letters.chunks(width).enumerate() {
            let space = usize::from(index == 0 && column > 0);
            if column + space + piece.len() > width {
                lines.push(String::new());
                column = 0;
            } else if space > 0 {
                lines.last_mut().expect("there is one from the start").push(' ');
                column += 1;
            }
            lines.last_mut().expect("there is one from the start").extend(piece);
            column += piece.len();
        }
    }
    lines
}

/// In its two largest units: "2 days 3 h", "4 min 10 s".
pub fn lasting(span: Duration) -> String {
    let (count, unit, smaller) = largest(span);
    let smaller = smaller.map(|(count, unit)| format!(" {}", counted(count, unit))).unwrap_or_default();
    counted(count, unit) + &smaller
}

/// In its largest unit, where it stands beside the time of day.
pub fn roughly(span: Duration) -> String {
    let (count, unit, _) = largest(span);
    counted(count, unit)
}

fn counted(count: u64, unit: u64) -> String {
    match (count, unit) {
        (1, 86_400) => "1 day".to_owned(),
        (_, 86_400) => format!("{count} days"),
        (_, 3600) => format!("{count} h"),
        (_, 60) => format!("{count} min"),
        _ => format!("{count} s"),
    }
}

/// By the clock on the wall, as short as it is clear: "04:12", "Monday 04:12", "2026-11-02 04:12".
pub fn clock(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    dated(at, now, zone, "%H:%M")
}

/// The same with seconds.
pub fn exact_clock(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    dated(at, now, zone, "%H:%M:%S")
}

fn dated(at: Timestamp, now: Timestamp, zone: &TimeZone, time: &str) -> String {
    let [at, today] = [at, now].map(|moment| moment.to_zoned_datetime(zone.clone()));
    let days = today.date().since(at.date()).map_or(i32::MAX, |span| span.get_days());
    match days {
        0 => at.strftime(time).to_string(),
        -6..=6 => at.strftime(&format!("%A {time}")).to_string(),
        _ => at.strftime(&format!("%Y-%m-%d {time}")).to_string(),
    }
}
