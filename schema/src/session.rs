//! Words about sessions that the log and the resources share.

use serde::{Deserialize, Serialize};

use crate::EventId;

/// What a session is doing, as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing to do until somebody says something.
    Idle,
    /// A turn is under way.
    Running,
    /// An attempt failed; another follows.
    Rescheduling,
    /// Archived; no further events.
    Terminated,
}

impl Status {
    /// The wire name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Rescheduling => "rescheduling",
            Self::Terminated => "terminated",
        }
    }

    /// Reads the wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Idle, Self::Running, Self::Rescheduling, Self::Terminated]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// Why a session rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StopReason {
    /// The model is done, or was interrupted.
    EndTurn,
    /// Somebody must answer these tool uses first.
    RequiresAction {
        /// Event ids of the tool uses.
        event_ids: Vec<EventId>,
    },
    /// Attempts are used up, or the session is quarantined.
    RetriesExhausted,
    /// A budget is used up.
    BudgetReached,
    /// The model refused.
    Refusal,
}
