//! The outside world, one file per thing: each reads or changes, none decides.

pub mod kernel;
