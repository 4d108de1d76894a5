//! What becomes of a message.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Where a message is. The last four are its end, but for a replay of a dead one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailState {
    /// Waits: for its time, for an earlier one of the same pair, or for somebody who receives it.
    Queued,
    /// A queue's message that a program has and has not acknowledged.
    Leased,
    /// In the log of the session it was for.
    Delivered,
    /// A queue's message that a program is done with.
    Acknowledged,
    /// Nobody will get it; its reason says why.
    Dead,
    /// Its sender took it back.
    Cancelled,
}

/// A string that is no state of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected queued, leased, delivered, acknowledged, dead or cancelled")]
pub struct ParseMailStateError;

impl MailState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Leased,
        Self::Delivered,
        Self::Acknowledged,
        Self::Dead,
        Self::Cancelled,
    ];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Delivered => "delivered",
            Self::Acknowledged => "acknowledged",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Somebody may still get it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Leased)
    }
}

impl fmt::Display for MailState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MailState {
    type Err = ParseMailStateError;

    fn from_str(text: &str) -> Result<Self, ParseMailStateError> {
        Self::ALL
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or(ParseMailStateError)
    }
}

impl Serialize for MailState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
