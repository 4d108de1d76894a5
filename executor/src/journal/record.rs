//! One line of the journal.

use perennial_schema::EventId;
use perennial_schema::tool::{Effect, Outcome};
use serde::{Deserialize, Serialize};

/// A line to write.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<'a> {
    /// A lease with this epoch has spoken; lower ones are refused from here on (I4).
    Epoch(u64),
    /// The call is about to act.
    Started(&'a Started),
    /// The call is over. Complete in itself: a call that was cancelled while it waited has no `started`.
    Result(&'a Stored),
}

/// A line read back; the outcome stays on disk.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Read {
    Epoch(u64),
    Started(Started),
    Result(Ended),
}

/// The call is about to act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) call_id: EventId,
    pub(crate) tool: String,
    pub(crate) args_hash: String,
    /// Epoch of the lease that spoke: raises the high-water mark.
    pub(crate) epoch: u64,
    pub(crate) effect: Effect,
    /// The shell that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<Process>,
}

/// A process that cannot be mistaken for a later one with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Process and group id.
    pub(crate) pgid: i32,
    /// Clock ticks since boot.
    pub(crate) start_time: u64,
}

/// The call is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) call_id: EventId,
    pub(crate) args_hash: String,
    pub(crate) outcome: Outcome,
}

/// [`Stored`] without the outcome.
#[derive(Debug, Deserialize)]
pub(super) struct Ended {
    pub(super) call_id: EventId,
    pub(super) args_hash: String,
    /// Must be there, or the line is damaged.
    #[serde(rename = "outcome")]
    pub(super) _outcome: serde::de::IgnoredAny,
}

/// A `result` line with its outcome.
#[derive(Debug, Deserialize)]
pub(super) struct ResultLine {
    pub(super) result: Stored,
}
