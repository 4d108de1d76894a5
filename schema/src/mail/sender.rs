//! Who mail is from; set by the server, never by the sender.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Address;
use crate::KeyId;

/// A sender.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sender {
    /// A session, or a queue that a program asks answers to.
    At(Address),
    /// A program or a person, by its key. It has no mailbox.
    Key(KeyId),
    /// This server, which says that mail could not be delivered. It is never answered.
    Postmaster,
}

/// A string that is no sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no sender: expected an address, key/ID or postmaster")]
pub struct ParseSenderError(String);

impl Sender {
    /// Where an answer goes.
    #[must_use]
    pub const fn address(&self) -> Option<&Address> {
        match self {
            Self::At(address) => Some(address),
            Self::Key(_) | Self::Postmaster => None,
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Key(key) => write!(f, "key/{key}"),
            Self::Postmaster => f.write_str("postmaster"),
        }
    }
}

impl FromStr for Sender {
    type Err = ParseSenderError;

    fn from_str(text: &str) -> Result<Self, ParseSenderError> {
        let refuse = || ParseSenderError(text.chars().take(64).collect());
        match text.strip_prefix("key/") {
            Some(key) => key.parse().map(Self::Key).map_err(|_| refuse()),
            None if text == "postmaster" => Ok(Self::Postmaster),
            None => text.parse().map(Self::At).map_err(|_| refuse()),
        }
    }
}

impl Serialize for Sender {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_print_as_they_parse() {
        for text in [
            "postmaster",
            "key/key_00000000000000000000000000000007",
            "session/sesn_00000000000000000000000000000007",
            "queue/answers",
        ] {
            assert_eq!(
                text.parse::<Sender>().map(|sender| sender.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["", "key/", "key/agent_7", "postmaster/x", "somebody"] {
            assert!(text.parse::<Sender>().is_err(), "{text:?}");
        }
    }
}
