//! The outside world, one file per thing: each reads or changes, none decides.

/// Service checks.
pub mod checks;
/// The time, and which boot this is.
pub mod clock;
/// Flows that still use the old link.
pub mod conntrack;
/// Bytes over an interface.
pub mod counters;
/// The router that a dry run works on.
pub mod dry_run;
/// Opening what may be no file.
pub mod file;
/// The files that the configuration names.
pub mod files;
/// What comes back by ICMP in place of an answer.
mod icmp;
/// Changes to routes and rules.
pub mod iproute;
/// Log lines.
pub mod journal;
/// What the kernel says of interfaces, routes and rules: asked here, read in `kernel/read.rs`.
pub mod kernel;
/// What the DHCP clients know.
pub mod leases;
/// Who is at the keyboard.
pub mod login;
/// The machine around the links, as `wanfo doctor` looks at it.
pub mod machine;
/// Stdout and stderr, whose reader may hang.
pub mod output;
/// One round of echo requests.
pub mod ping;
/// Children with a time limit.
pub mod process;
/// When the links were last proven.
pub mod proofs;
/// What the runs asked and heard.
pub mod recording;
/// The history file.
pub mod records;
/// The addresses behind a name.
pub mod resolver;
/// The router that wanfo runs on.
pub mod router;
/// The admin's action and exit scripts.
pub mod script;
/// What is for root alone to read.
pub mod secret;
/// The configuration file, and the last good one.
pub mod settings;
/// A mail on its way out.
pub mod smtp;
/// Messages that wait to be sent.
pub mod spool;
/// The lock and the state file.
pub mod store;
/// Whether systemd starts the checks.
pub mod timer;
/// Who else could change a file that root obeys.
pub mod trust;
/// The uids under which the links are probed.
pub mod uids;
/// A POST on its way out.
pub mod webhook;
