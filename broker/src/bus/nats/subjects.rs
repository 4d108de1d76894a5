//! Names of what travels. Everything begins with the prefix; what belongs to a tenant goes on with its workspace, so that a
//! server can be told to give a tenant's credential no more than `<prefix>.<workspace>.>` (INVARIANTS S3). What belongs to
//! the install as a whole goes on with `system`.

use std::sync::Arc;

use perennial_engine::ports::SessionKey;
use perennial_schema::ExecutorId;

use super::OpenError;
use crate::bus::local::Tick;
use crate::limits;

/// The subjects of one install.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    prefix: Arc<str>,
}

impl Subjects {
    pub(super) fn new(prefix: &str) -> Result<Self, OpenError> {
        let token = |token: &str| {
            !token.is_empty()
                && token
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        if prefix.len() > limits::SUBJECT_PREFIX_BYTES || !prefix.split('.').all(token) {
            return Err(OpenError::Prefix);
        }
        Ok(Self { prefix: prefix.into() })
    }

    /// Hints and previews of a session.
    pub(super) fn session(&self, key: SessionKey) -> String {
        format!("{}.{}.{}", self.prefix, key.workspace, key.session)
    }

    /// A workspace's list of sessions changed, or what is known of an executor.
    pub(super) fn ticks(&self, tick: Tick) -> String {
        match tick {
            Tick::Workspace(workspace) => format!("{}.{workspace}.changed", self.prefix),
            Tick::Executor(executor) => format!("{}.system.{executor}.changed", self.prefix),
        }
    }

    /// A session may be ready.
    pub(super) fn wakes(&self) -> String {
        format!("{}.system.wake", self.prefix)
    }

    /// Questions to whoever has an executor.
    pub(super) fn executor(&self, executor: ExecutorId) -> String {
        format!("{}.system.{executor}", self.prefix)
    }

    /// Nobody listens here: the server's answer to a question says that it has read everything before it.
    pub(super) fn nobody(&self) -> String {
        format!("{}.system.nobody", self.prefix)
    }

    /// Where answers go.
    pub(super) fn inbox(&self) -> String {
        format!("{}.system.inbox", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_cannot_reach_beyond_itself() {
        for good in ["perennial", "a.b-c.D_1"] {
            assert!(Subjects::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a.*",
            ">",
            "a b",
            "a\r\nPUB x 0",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(Subjects::new(bad).is_err(), "{bad}");
        }
    }
}
