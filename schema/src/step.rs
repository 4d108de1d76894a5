//! Steps of a preparation: what is done in a session's folder before its first call. To an executor they are calls that no model
//! made: journalled, attached to and cancelled like any other, with an id that follows from what they do, so that asking again
//! finds the one that was done. No tool of a model has a dot in its name.
//!
//! A step that failed is not remembered as done: asked for again, it is tried again.

use serde::{Deserialize, Serialize};
use uuid::Builder;

use crate::resource::{Checkout, inside};
use crate::tool::{Effect, args_hash};
use crate::{EventId, SessionId};

/// A bash script in a shell of its own.
pub const SETUP: &str = "workspace.setup";
/// A repository.
pub const CLONE: &str = "workspace.clone";
/// A file.
pub const PUT: &str = "workspace.put";
/// What has changed in a repository. It prepares nothing; its effect is to read.
pub const DIFF: &str = "workspace.diff";
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

/// Input of [`DIFF`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffInput {
    /// A folder in the repository, relative to the workspace folder.
    pub path: String,
    /// From this revision on; without it, from where the session began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Up to this revision; without it, to the files as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Up to what is staged.
    pub staged: bool,
    /// Files that git does not know too.
    pub untracked: bool,
    /// Lines around a change.
    pub context: u16,
}

impl DiffInput {
    /// Whether git could take a part of it for something else.
    ///
    /// # Errors
    /// Which part, and why not.
    pub fn check(&self) -> Result<(), String> {
        let revisions = [("base", &self.base), ("head", &self.head)];
        for (name, revision) in revisions {
            let wrong = revision.as_ref().filter(|text| !is_revision(text));
            if let Some(text) = wrong {
                let shown: String = text.chars().take(60).collect();
                return Err(format!("{name}: {shown:?} is no revision"));
            }
        }
        if self.head.is_some() && self.staged {
            return Err("staged: what is staged has no head".into());
        }
        if self.path == "." {
            return Ok(());
        }
        inside(&self.path).map(drop).map_err(|error| format!("path: {error}"))
    }
}

/// A name of a commit as people write them: `HEAD~2`, `main`, `v1.0^`, a hash. Neither an option nor a range, a path or an upstream's
/// configuration.
fn is_revision(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-~^".contains(&byte);
    !text.is_empty() && text.len() <= 255 && !text.starts_with('-') && !text.contains("..") && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_git_could_take_for_something_else_is_refused() {
        let input = |path: &str, base: &str| DiffInput {
            path: path.into(),
            base: Some(base.into()),
            head: None,
            staged: false,
            untracked: true,
            context: 3,
        };
        for base in ["HEAD", "HEAD~3", "origin/main", "v1.0^", "0123abc"] {
            assert_eq!(input("a/b", base).check(), Ok(()), "{base}");
        }
        for base in [
            "",
            "-p",
            "--output=/etc/x",
            "--ext-diff",
            "a..b",
            "HEAD:secret",
            ":/fix",
            "@{u}",
            "a b",
            "a;id",
            "$(id)",
            "`id`",
            "a\nb",
            "HEAD^{/x}",
        ] {
            assert!(input(".", base).check().is_err(), "{base:?}");
        }
        for path in ["", "/etc", "../x", "a/../../b", "a\0b", ".git"] {
            assert!(input(path, "HEAD").check().is_err(), "{path:?}");
        }
    }

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
