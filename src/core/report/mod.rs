//! What people and programs are shown: `wanfo status`, what the last run knew, and `wanfo history`.

/// What happened, as a page.
pub mod history;
/// The status as a page for a browser.
pub mod html;
/// The status for programs.
pub mod json;
/// The state of the router in one word.
pub mod overall;
/// What the pages for people have in common.
pub mod page;
/// The status for Prometheus.
pub mod prometheus;
/// What a replay has shown.
pub mod replay;
/// The status for people.
pub mod text;
