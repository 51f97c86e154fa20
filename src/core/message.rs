//! A mail in the making: what people are told, and when.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One thing to tell, as it waits in the state file and then in the spool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Letters, digits and '-': names the message's file in the spool. What is put there twice under one id is one
    /// message, so a run that was killed half way can do it again.
    pub id: String,
    /// When it happened, by the wall clock.
    pub at: Timestamp,
    /// One line.
    pub subject: String,
    pub text: String,
}
