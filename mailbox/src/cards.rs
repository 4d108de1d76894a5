//! Agents as others see them: what one would want to know before writing to one.

use perennial_engine::ports::{SessionFilter, StoreError};
use perennial_schema::WorkspaceId;
use perennial_schema::mail::Address;
use perennial_schema::session::Status;
use serde::Serialize;

use crate::agents::Peer;
use crate::limits;
use crate::office::Office;

/// What a message may be made of, as in `user.message`.
const ACCEPTS: [&str; 3] = ["text", "image", "document"];

/// An agent as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Card {
    /// Where it is written to.
    pub address: Address,
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub description: Option<String>,
    /// Skills it was given, by their ids.
    pub skills: Vec<String>,
    /// Content that a message to it may have.
    pub accepts: [&'static str; 3],
    /// Where its tools run: `cloud`, `self_hosted`, `local`, and machines by name.
    pub executors: Vec<String>,
    /// Whether it works just now.
    pub status: CardStatus,
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CardStatus {
    /// Nothing: a message is taken up at once.
    Idle,
    /// Some session of it; another thread has a session of its own, unless it has but one.
    Working,
    /// The environment of its mail is gone or archived: a message comes back as a dead letter.
    Unavailable,
}

impl CardStatus {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Working => "working",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Office {
    /// The agents that take mail, by name.
    ///
    /// # Errors
    /// When a store cannot say.
    pub async fn cards(&self, workspace: WorkspaceId) -> Result<Vec<Card>, StoreError> {
        let peers = self.agents.peers(workspace, limits::PEERS).await?;
        let running = SessionFilter {
            statuses: vec![Status::Running, Status::Rescheduling],
            limit: limits::RUNNING,
            ..SessionFilter::default()
        };
        let running = self.sessions.find(workspace, running).await?;
        let card = |peer: Peer| {
            let status = if !peer.receives {
                CardStatus::Unavailable
            } else if running.iter().any(|row| row.agent.id == peer.id) {
                CardStatus::Working
            } else {
                CardStatus::Idle
            };
            Card {
                address: Address::Agent(peer.name.clone()),
                name: peer.name,
                description: peer.description,
                skills: peer.skills,
                accepts: ACCEPTS,
                executors: peer.executors,
                status,
            }
        };
        Ok(peers.into_iter().map(card).collect())
    }
}
