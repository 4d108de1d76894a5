//! What the engine asks of the outside, answered at once: a router with one tool, and the rehearsal model with its tool
//! inputs filled up to the size of a record.

use async_trait::async_trait;
use perennial_engine::ports::{
    CallError, DeltaSink, Lane, Model, ModelError, ModelRequest, ModelStep, Order, Part, Placement, Router, SessionKey,
    Settled, ToolSpec,
};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::{Permission, Raw};
use perennial_schema::tool::{Effect, Outcome};
use perennial_schema::{EventId, ExecutorId, JournalId, SessionId};
use perennial_worker::model::rehearsal::Rehearsal;
use uuid::Uuid;

use crate::sample::{RECORD, letters};

/// What an event's own members take of its payload: with them, the payload is a record of [`RECORD`] bytes.
const ENVELOPE: usize = 210;

/// The rehearsal, writing larger tool inputs than its script says: a script of this size would itself be a record.
#[derive(Default)]
pub(super) struct Padded {
    rehearsal: Rehearsal,
}

#[async_trait]
impl Model for Padded {
    async fn request(&self, request: ModelRequest, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
        let mut step = self.rehearsal.request(request, sink).await?;
        for part in &mut step.parts {
            if let Part::ToolUse { input, .. } = part {
                *input = Raw::of(&serde_json::json!({ "text": filler() }));
            }
        }
        Ok(step)
    }
}

fn filler() -> String {
    letters(RECORD - ENVELOPE).to_owned()
}

/// One tool, in this process, done before it was asked for.
pub(super) struct AtOnce {
    placement: Placement,
}

impl AtOnce {
    pub(super) fn new() -> Self {
        Self {
            placement: Placement {
                executor_id: ExecutorId::from_uuid(Uuid::now_v7()),
                journal_id: JournalId::from_uuid(Uuid::now_v7()),
            },
        }
    }
}

#[async_trait]
impl Router for AtOnce {
    async fn catalogue(&self, _: SessionKey, _: &AgentSnapshot, _: &EnvironmentConfig) -> Vec<ToolSpec> {
        vec![ToolSpec {
            name: "noop".into(),
            description: "Does nothing.".into(),
            input_schema: serde_json::json!({ "type": "object" }),
            lane: Lane::Executor,
            permission: Permission::Allow,
            effect: Effect::Once,
            choices: Vec::new(),
        }]
    }

    async fn place(&self, _: SessionKey, _: &EnvironmentConfig) -> Result<Placement, String> {
        Ok(self.placement)
    }

    async fn call(&self, _: Order) -> Result<Outcome, CallError> {
        Ok(Outcome::text(filler(), false))
    }

    async fn settle(&self, _: Order) -> Result<Settled, CallError> {
        Ok(Settled::NeverStarted)
    }

    async fn cancel(&self, _: SessionKey, _: u64, _: EventId) {}

    async fn copy_workspace(&self, _: SessionId, _: SessionId, _: Option<ExecutorId>) -> Result<(), String> {
        Ok(())
    }

    async fn forget(&self, _: SessionId, _: Option<ExecutorId>) {}
}
