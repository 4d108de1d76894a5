//! Tasks: messages whose receiver's turn is awaited.

use serde::{Deserialize, Serialize};

use super::Address;
/// How many sessions may stand behind each other, each working for the one before it.
pub const TASK_DEPTH: usize = 8;

/// What makes a message a task: what its receiver's turn says in the end is sent to whoever delegated it, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// For whom it is done in the end, and through whom: of each the session and its agent, the first that delegated first.
    pub chain: Vec<Address>,
    /// Model requests it may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// What its receiver's session may use of models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_budget: Option<Allowance>,
    /// So long after it was sent it is stopped.
    pub seconds: u64,
}

/// So much may be used of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowance {
    /// Tokens read and written.
    Tokens(u64),
    /// Millionths of a US dollar.
    Microusd(u64),
}

impl Task {
    /// How many stand behind each other.
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.chain.len() / 2
    }
}
