//! What is decided, as pure functions: no clock, no file, no socket, no process, no printing.

pub mod config;
pub mod facts;
