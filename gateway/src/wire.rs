//! What is spoken to models.

use std::fmt;
use std::str::FromStr;

/// What a provider speaks, or a client of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Responses.
    Responses,
    /// OpenAI Chat Completions.
    Chat,
}

/// Whose errors a client understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Anthropic's.
    Anthropic,
    /// OpenAI's.
    OpenAi,
}

impl Wire {
    /// As in `perennial.toml`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Responses => "responses",
            Self::Chat => "chat",
        }
    }

    /// Whose errors are spoken on it.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Messages => Dialect::Anthropic,
            Self::Responses | Self::Chat => Dialect::OpenAi,
        }
    }

    /// Whether a provider of this wire can be asked on another: who serves Responses serves Chat Completions as well.
    #[must_use]
    pub const fn serves(self, asked: Self) -> bool {
        matches!(
            (self, asked),
            (Self::Messages, Self::Messages)
                | (Self::Responses, Self::Responses | Self::Chat)
                | (Self::Chat, Self::Chat)
        )
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownWire;

impl FromStr for Wire {
    type Err = UnknownWire;

    fn from_str(text: &str) -> Result<Self, UnknownWire> {
        match text {
            "messages" => Ok(Self::Messages),
            "responses" => Ok(Self::Responses),
            "chat" => Ok(Self::Chat),
            _ => Err(UnknownWire),
        }
    }
}
