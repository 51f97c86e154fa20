//! wanfo keeps a Linux router on the Internet when its main WAN line dies.

pub mod core;
pub mod system;
