//! The outside world, one file per thing: each reads or changes, none decides.

/// The time, and which boot this is.
pub mod clock;
/// Changes to routes and rules.
pub mod iproute;
/// Log lines.
pub mod journal;
/// What the kernel says of interfaces, routes and rules.
pub mod kernel;
/// One round of echo requests.
pub mod ping;
/// Children with a time limit.
pub mod process;
/// A mail on its way out.
pub mod smtp;
/// Messages that wait to be sent.
pub mod spool;
/// The lock and the state file.
pub mod store;
