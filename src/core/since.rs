//! What `--since` means.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The moment that is meant by `text`: RFC 3339; a day, or a day and a time, in local time; or a span back from now.
///
/// # Errors
/// A sentence that says what can be written.
pub fn since(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    if let Ok(local) = text.parse::<DateTime>()
        && let Ok(zoned) = local.to_zoned_datetime(zone.clone())
    {
        return Ok(zoned.timestamp());
    }
    if let Ok(span) = humantime::parse_duration(text) {
        return Ok(now.checked_sub(span).unwrap_or(Timestamp::MIN));
    }
    Err(format!(
        "`{}` is no time; write a day as 2026-11-22, a local time as '2026-11-22 14:03', RFC 3339 as \
         2026-11-22T14:03:11Z, or a span back from now as 2h or 3d",
        text.escape_debug()
    ))
}
