//! Who can be written to.

use async_trait::async_trait;
use perennial_engine::ports::StoreError;
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::Environment;
use perennial_schema::mail::MailDesk;
use perennial_schema::{AgentId, WorkspaceId};

/// What opens a session for mail.
#[derive(Clone, Debug)]
pub struct Reception {
    /// Who answers, in its newest version.
    pub agent: AgentSnapshot,
    /// How.
    pub desk: MailDesk,
    /// Where its hands are; none when that environment is gone or archived.
    pub environment: Option<Environment>,
}

/// An agent that takes mail, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name: it is written to at `agent/<name>`.
    pub name: String,
    /// Which agent.
    pub id: AgentId,
    /// What it says of itself.
    pub description: Option<String>,
    /// Skills it was given, by their ids.
    pub skills: Vec<String>,
    /// Where its tools run: what kind of environment, and machines by name.
    pub executors: Vec<String>,
    /// The environment of its mail is there.
    pub receives: bool,
}

/// The agents of a workspace. Of several with one name the one made first answers.
#[async_trait]
pub trait Agents: Send + Sync {
    /// The agent that answers to a name, if it takes mail.
    async fn reception(&self, workspace: WorkspaceId, name: &str) -> Result<Option<Reception>, StoreError>;

    /// Those that take mail, by name.
    async fn peers(&self, workspace: WorkspaceId, limit: u32) -> Result<Vec<Peer>, StoreError>;
}
