//! The clocks, and which boot this is.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use nix::time::{ClockId, clock_gettime};

use super::file;
use crate::core::time::{BootTime, Moment};
use crate::core::world::Machine;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The local time zone (localtime(5)), and more bytes than any has.
const ZONE: &str = "/etc/localtime";
const ZONE_SIZE: u64 = 64 * 1024;

/// This moment by CLOCK_BOOTTIME, which also counts time asleep and which nobody can step (clock_gettime(2)), and by
/// the wall clock, which is for people only.
pub fn now() -> Result<Moment> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).context("reading CLOCK_BOOTTIME")?;
    let milliseconds = time.tv_sec() as u64 * 1000 + time.tv_nsec() as u64 / 1_000_000;
    Ok(Moment { boot: BootTime(milliseconds), wall: Timestamp::now() })
}

/// The kernel's random name for this boot (random(4)).
pub fn boot_id() -> Result<String> {
    let id =
        std::fs::read_to_string(BOOT_ID).with_context(|| format!("reading {BOOT_ID}; is /proc mounted?"))?;
    Ok(id.trim().to_owned())
}

/// What tells this machine from others.
pub fn machine() -> Result<Machine> {
    Ok(Machine { boot_id: boot_id()?, host: host(), zone: zone() })
}

/// Where people's clocks stand. Unless the environment says it (tzset(3)), the file is read as it is: to find out what the zone is
/// called jiff would walk through the whole database of zones, which takes a quarter of a quiet run's time.
pub fn zone() -> TimeZone {
    if std::env::var_os("TZ").is_some() {
        return TimeZone::system();
    }
    let read = file::read_foreign(Path::new(ZONE), ZONE_SIZE);
    read.ok().and_then(|bytes| TimeZone::tzif("", &bytes).ok()).unwrap_or(TimeZone::UTC)
}

/// What this machine calls itself.
pub fn host() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "this router".to_owned())
}

/// Why no certificate can be checked by the wall clock as it is: rustls would panic.
pub fn is_no_use_for_tls() -> Option<String> {
    (Timestamp::now() < Timestamp::UNIX_EPOCH).then(|| {
        "this router's clock says that it is before 1970, so no certificate can be checked; set it".to_owned()
    })
}
