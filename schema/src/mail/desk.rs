//! How an agent takes mail.

use serde::{Deserialize, Serialize};

use crate::EnvironmentId;

/// An agent with one answers at `agent/<its name>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailDesk {
    /// Where the sessions that its mail opens have their hands.
    pub environment_id: EnvironmentId,
    /// Which session a message goes to.
    #[serde(default)]
    pub sessions: MailSessions,
}

/// Which session of an agent a message goes to. One that was archived or deleted is succeeded by a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailSessions {
    /// One for each thread.
    #[default]
    PerThread,
    /// One for all.
    Single,
    /// A new one for every message.
    PerMessage,
}
