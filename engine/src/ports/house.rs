//! Tools that the server runs itself: no machine has a part in them, so none has to be there, or to be made, for them.
//!
//! To the log the server is an executor like another, by an id of its own. It keeps no journal: what it runs may be run again.

use async_trait::async_trait;
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::event::Permission;
use perennial_schema::tool::Outcome;
use perennial_schema::{Attachment, ExecutorId, JournalId};
use uuid::Uuid;

use super::{Choice, Order, Placement, ToolSpec};

/// The executor that a server is.
pub const HOUSE: ExecutorId = ExecutorId::from_uuid(Uuid::nil());

/// Where its calls are placed.
pub const AT_HOUSE: Placement = Placement {
    executor_id: HOUSE,
    journal_id: JournalId::from_uuid(Uuid::nil()),
};

/// The one place where a tool of the house may run.
#[must_use]
pub fn house_choice(permission: Permission) -> Choice {
    let name = "house";
    Choice {
        name: name.to_owned(),
        hand: Some(Attachment {
            executor_id: HOUSE,
            name: name.to_owned(),
            dir: None,
        }),
        permission,
    }
}

/// Tools of the house. Each is of class `read` or `idempotent`: a call whose answer was lost is made again under its id.
#[async_trait]
pub trait HouseTools: Send + Sync {
    /// Those an agent has, by its definition, each with [`house_choice`] as its only choice.
    fn offered(&self, agent: &AgentSnapshot) -> Vec<ToolSpec>;

    /// Runs a call.
    async fn run(&self, order: &Order) -> Outcome;
}
