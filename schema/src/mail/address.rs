//! Where mail goes: `agent/<name>`, `session/<id>` or `queue/<name>`, within a workspace.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::SessionId;

/// Longest name of an agent or queue in an address, in bytes.
const NAME_BYTES: usize = 128;

/// A mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// Whichever session the agent of this name answers the thread in; made when there is none.
    Agent(String),
    /// A session.
    Session(SessionId),
    /// A queue that programs receive from.
    Queue(String),
}

/// A string that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: expected agent/NAME, session/ID or queue/NAME")]
pub struct ParseAddressError(String);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "agent/{name}"),
            Self::Session(id) => write!(f, "session/{id}"),
            Self::Queue(name) => write!(f, "queue/{name}"),
        }
    }
}

impl Address {
    /// An address out of the two halves of its path.
    ///
    /// # Errors
    /// It is none.
    pub fn of(kind: &str, name: &str) -> Result<Self, ParseAddressError> {
        format!("{kind}/{name}").parse()
    }

    /// The session's own mailbox, or an agent's: mail is handed over there, and not fetched.
    #[must_use]
    pub const fn takes_mail_itself(&self) -> bool {
        !matches!(self, Self::Queue(_))
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let refuse = || ParseAddressError(text.chars().take(64).collect());
        let (kind, name) = text.split_once('/').ok_or_else(refuse)?;
        let named = !name.is_empty()
            && name.len() <= NAME_BYTES
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        match kind {
            "agent" if named => Ok(Self::Agent(name.to_owned())),
            "queue" if named => Ok(Self::Queue(name.to_owned())),
            "session" => name.parse().map(Self::Session).map_err(|_| refuse()),
            _ => Err(refuse()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_parse() {
        for text in [
            "agent/reviewer",
            "queue/build-1",
            "session/sesn_00000000000000000000000000000007",
        ] {
            assert_eq!(
                text.parse::<Address>().map(|address| address.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "agent/",
            "agent",
            "agent/a b",
            "agent/../x/y",
            "session/agent_1",
            "box/a",
            "queue/\0",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
