//! The interfaces' own counters.

use std::fs;

/// Bytes that the interface has received and sent since it was made (ABI/testing/sysfs-class-net-statistics
/// in the kernel's documentation); `None`: it is not there.
///
/// Our network namespace's interfaces, where /sys was mounted in it. No interface name has a slash in it.
pub fn bytes(interface: &str) -> Option<u64> {
    let counter = |name| -> Option<u64> {
        let text = fs::read_to_string(format!("/sys/class/net/{interface}/statistics/{name}")).ok()?;
        text.trim().parse().ok()
    };
    Some(counter("rx_bytes")?.saturating_add(counter("tx_bytes")?))
}
