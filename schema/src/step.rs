//! Steps of a preparation: what is done in a session's folder before its first call. To an executor they are calls that no model
//! made: journalled, attached to and cancelled like any other, with an id that follows from what they do, so that asking again
//! finds the one that was done. No tool of a model has a dot in its name.
//!
//! A step that failed is not remembered as done: asked for again, it is tried again.

use serde::{Deserialize, Serialize};
use uuid::Builder;

use crate::resource::Checkout;
use crate::tool::{Effect, args_hash};
use crate::{EventId, SessionId};

/// A bash script in a shell of its own.
pub const SETUP: &str = "workspace.setup";
/// A repository.
pub const CLONE: &str = "workspace.clone";
/// A file.
pub const PUT: &str = "workspace.put";
/// Steps may run twice: what a crash interrupted is begun again.
pub const EFFECT: Effect = Effect::Idempotent;

/// Whether a call of this name is a step.
#[must_use]
pub fn is_step(tool: &str) -> bool {
    matches!(tool, SETUP | CLONE | PUT)
}

/// The id of a step of a session.
#[must_use]
pub fn id(session: SessionId, tool: &str, input: &str) -> EventId {
    let hash = args_hash(tool, &format!("{session} {input}"));
    let digits = hash.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
    EventId::from_uuid(Builder::from_custom_bytes(digits).into_uuid())
}

/// Input of [`SETUP`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupInput {
    /// What bash runs; the first command that fails ends it.
    pub script: String,
}

/// Input of [`CLONE`]. The token, if there is one, travels beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneInput {
    /// `http` or `https`, without credentials.
    pub url: String,
    /// Where to, relative to the workspace folder.
    pub path: String,
    /// What to check out; the remote's choice without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout: Option<Checkout>,
}

/// Input of [`PUT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutInput {
    /// Where to, relative to the workspace folder.
    pub path: String,
    /// The content, in base64.
    pub base64: String,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_step_has_one_id_and_another_step_another() {
        let (one, two) = (
            SessionId::from_uuid(Uuid::from_u128(1)),
            SessionId::from_uuid(Uuid::from_u128(2)),
        );
        assert_eq!(id(one, SETUP, "a"), id(one, SETUP, "a"));
        assert_ne!(id(one, SETUP, "a"), id(one, SETUP, "b"));
        assert_ne!(id(one, SETUP, "a"), id(two, SETUP, "a"));
        assert_ne!(id(one, SETUP, "a"), id(one, PUT, "a"));
        assert!(is_step(SETUP) && !is_step("bash"));
    }
}
