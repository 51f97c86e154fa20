//! What is decided, as pure functions: no clock, no file, no socket, no process, no printing.
//! In the order of a run:

/// The static addresses of links.
pub mod addresses;
/// What the admin wants.
pub mod config;
/// Others who use our numbers.
pub mod conflict;
/// Which link should carry the traffic.
pub mod decide;
/// What happened, as sentences.
pub mod event;
/// What was seen: the kernel, and the DHCP clients' leases.
pub mod facts;
/// Each link's interface and gateways in what was seen.
pub mod gateway;
/// From one link's answers to its verdict.
pub mod health;
/// What is remembered over reboots.
pub mod history;
/// What DHCP clients write down of their leases.
pub mod lease;
/// What people are told by mail.
pub mod message;
/// What the last run knew, for people and programs.
pub mod report;
/// One round over all links: whom to ask, and what the answers say.
pub mod round;
/// What should be in the kernel, and the difference to what is there.
pub mod routing;
/// What the user's scripts are told.
pub mod script;
/// A message on its way to the people.
pub mod spool;
/// What one run leaves to the next.
pub mod state;
/// How many bytes went over a link.
pub mod usage;
