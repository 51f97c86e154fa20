//! wanfo keeps a Linux router on the Internet when its main WAN line dies.
//!
//! It is a one-shot program: a timer starts `wanfo check` every few seconds, and no daemon is there to die. The way in:
//! `core/run.rs` tells one run, `core/decide.rs` makes the choice, `core/routing.rs` says what should
//! be in the kernel.

// They panic where the reader is gone or the disk is full; commands have `say`, and log lines.
#![warn(clippy::print_stdout, clippy::print_stderr)]
// So do these, without a word on why it should never come to that.
#![cfg_attr(not(test), warn(clippy::string_slice, clippy::unwrap_used))]

/// The arguments.
pub mod cli;
/// One file per verb: what a command does, step by step.
pub mod commands;
/// What is decided, as pure functions.
pub mod core;
/// The world outside: kernel, `ip`, echo requests, files, clocks.
pub mod system;
