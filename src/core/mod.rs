//! What is decided, as pure functions: no clock, no file, no socket, no process, no printing.

/// What the records add up to.
pub mod account;
/// The static addresses of links.
pub mod addresses;
/// One change to the kernel, and the `ip` command that makes it.
pub mod change;
/// The service checks of a run, and what they say of a line.
pub mod checking;
/// What the admin wants.
pub mod config;
/// Which link should carry the traffic.
pub mod decide;
/// The default routes that others made.
pub mod defaults;
/// What keeps wanfo from working on a machine.
pub mod doctor;
/// A drill: whether a backup would carry the traffic.
pub mod drill;
/// What was seen: the kernel, and the DHCP clients' leases.
pub mod facts;
/// What a firewall's rules mean for links.
pub mod firewall;
/// Which way something takes that leaves this host.
pub mod flow;
/// What a switch brings with it.
pub mod follow_up;
/// Each link's interface and gateways in what was seen.
pub mod gateway;
/// The law of silence: whether a link works.
pub mod health;
/// What keeps the traffic on the active link.
pub mod hold;
/// A configuration made of another program's settings.
pub mod import;
/// What DHCP clients write down of their leases.
pub mod lease;
/// What people are told by mail.
pub mod message;
/// The last hour of a link, minute by minute.
pub mod minutes;
/// What ties the probes of a link to it.
pub mod pin;
/// Asking the targets, and listening.
pub mod probing;
/// One thing that an admin should look at.
pub mod problem;
/// Every check for such a thing.
pub mod problems;
/// When the links were last proven by a drill.
pub mod proofs;
/// A config for a machine that has none.
pub mod proposal;
/// Bringing the kernel to what should be there.
pub mod reconcile;
/// What happened.
pub mod record;
/// Taking down what a run asks and hears.
pub mod recorder;
/// What was taken down, for `wanfo replay`.
pub mod recording;
/// The recorded runs again, with another config.
pub mod replay;
/// What the last run knew, for people and programs.
pub mod report;
/// Whom to ask, and what is known of each link.
pub mod round;
/// What should be in the kernel, and the difference to what is there.
pub mod routing;
/// One run, from its beginning to its end.
pub mod run;
/// What the user's scripts are told.
pub mod script;
/// Whether a link that answers is of any use.
pub mod service;
/// What `--since` means.
pub mod since;
/// A message on its way to the people.
pub mod spool;
/// What one run leaves to the next.
pub mod state;
/// A change of the active link.
pub mod switch;
/// The two clocks.
pub mod time;
/// Figures as people read them.
pub mod units;
/// How many bytes went over a link.
pub mod usage;
/// What a webhook is told.
pub mod webhook;
/// Everything outside that a run touches.
pub mod world;
