//! Typed identifiers: a UUIDv7 behind a newtype, printed with the prefix of the API reference (`sesn_…`).
//!
//! Ids are allocated by a port ([`Ids`](../../perennial_engine/ports/trait.Ids.html)); this module only wraps, prints and
//! parses them. Ids carry no order anyone may rely on: `seq` is the only order (DESIGN §4).

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A string that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a valid id: expected {prefix}_ followed by 32 hexadecimal digits")]
pub struct ParseIdError {
    /// What was given, cut to a printable length.
    pub given: String,
    /// The prefix that was expected.
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// What every printed id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps a UUID made by the `Ids` port.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self { Self(uuid) }

            /// The bare UUID.
            #[must_use]
            pub const fn uuid(self) -> Uuid { self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse(text, $prefix).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

fn parse(text: &str, prefix: &'static str) -> Result<Uuid, ParseIdError> {
    let refuse = || ParseIdError {
        given: text.chars().take(64).collect(),
        prefix,
    };
    let digits = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .ok_or_else(refuse)?;
    // Exactly the printed form: other UUID spellings would let one id have two names.
    if digits.len() != 32 || digits.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(refuse());
    }
    Uuid::try_parse(digits).map_err(|_| refuse())
}

ids! {
    /// A tenant.
    WorkspaceId = "wrkspc";
    /// A session: one append-only log.
    SessionId = "sesn";
    /// A file or a repository that a session brings along.
    ResourceId = "sesrsc";
    /// An uploaded file.
    FileId = "file";
    /// An event, unique within its session. Tool results name the event id of the tool use.
    EventId = "sevt";
    /// An agent definition (versioned).
    AgentId = "agent";
    /// An environment: where a session's hands are.
    EnvironmentId = "env";
    /// One process that borrows sessions; random per process start, never reused (INVARIANTS I3).
    OwnerId = "wrk";
    /// An executor: a pair of hands.
    ExecutorId = "exec";
    /// One call journal; a new one is a new memory (DESIGN §8, settle).
    JournalId = "jrnl";
    /// A packed workspace folder on its way into or out of an executor.
    PackId = "pack";
    /// One append, chosen by the caller, so that an ambiguous commit can be looked up (I2).
    AppendId = "apnd";
    /// An API key.
    KeyId = "key";
    /// A request, for support and logs.
    RequestId = "req";
    /// A tool of an MCP server, in a workspace.
    McpToolId = "mcpt";
    /// A mail message.
    MessageId = "msg";
    /// A piece of work for the worker of a self-hosted environment.
    WorkId = "work";
    /// A receiver of webhooks.
    WebhookId = "whep";
    /// What one receiver is told of one event.
    DeliveryId = "whdl";
    /// An outcome a client defined.
    OutcomeId = "outc";
    /// A budget: how much of something may be used.
    BudgetId = "bud";
    /// A virtual key of the model gateway.
    GatewayKeyId = "vkey";
    /// One model request's place in its budgets, from before it leaves until it is counted.
    ReservationId = "rsv";
    /// One model request as it was traced.
    TraceId = "trace";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_and_parse_are_inverse() {
        let id = SessionId::from_uuid(Uuid::from_u128(7));
        assert_eq!(id.to_string(), "sesn_00000000000000000000000000000007");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn foreign_prefixes_and_spellings_are_refused() {
        for text in [
            "agent_00000000000000000000000000000007",
            "sesn_0000000000000000000000000000000G",
            "sesn_0000000000000000000000000000000A",
            "sesn_00000000-0000-0000-0000-000000000007",
            "sesn_",
            "",
        ] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
    }
}
