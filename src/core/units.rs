//! Figures as people read them.

use std::time::Duration;

/// A span in whole seconds: "3m 20s".
pub fn span(span: Duration) -> String {
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

/// A span in its two largest units, of which the second may be nothing: how many, and of how many seconds.
pub fn largest(span: Duration) -> (u64, u64, Option<(u64, u64)>) {
    const UNITS: [u64; 4] = [86_400, 3600, 60, 1];
    let seconds = span.as_secs();
    let first = UNITS.iter().position(|unit| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let unit = UNITS[first];
    let smaller = UNITS.get(first + 1).map(|smaller| (seconds % unit / smaller, *smaller));
    (seconds / unit, unit, smaller.filter(|(count, _)| *count > 0))
}

/// Bytes as data plans count them, in powers of 1000 with three digits: "1.20 GB".
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    // What would be rounded up to 1000 belongs to the next unit.
    while value >= 999.5 {
        let Some(larger) = units.next() else { break };
        (value, unit) = (value / 1000.0, larger);
    }
    match value {
        _ if unit == "B" => format!("{count} B"),
        value if value < 9.995 => format!("{value:.2} {unit}"),
        value if value < 99.95 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}
