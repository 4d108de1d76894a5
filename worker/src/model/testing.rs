//! What the unit tests of this module share.

use std::collections::HashMap;

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{DeltaSink, ModelRequest, ModelStep, Part, Payer};
use perennial_schema::agent::ModelConfig;
use perennial_schema::content::Block;
use perennial_schema::event::Raw;
use perennial_schema::{EventId, SessionId, WorkspaceId};
use uuid::Uuid;

/// An event id.
pub(crate) fn event_id(n: u128) -> EventId {
    EventId::from_uuid(Uuid::from_u128(n))
}

/// A message of the user.
pub(crate) fn said(text: &str) -> Message {
    Message {
        role: Role::User,
        parts: vec![MessagePart::Content(Raw::of(&Block::text(text)))],
    }
}

/// A request without tools.
pub(crate) fn request(model: &str, messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        session: SessionId::from_uuid(Uuid::from_u128(1)),
        payer: Payer {
            workspace: WorkspaceId::from_uuid(Uuid::from_u128(1)),
            session: Some(SessionId::from_uuid(Uuid::from_u128(1))),
            agent: None,
            key: None,
            aside: false,
        },
        model: ModelConfig {
            id: model.into(),
            speed: None,
            effort: None,
            inference_geo: None,
        },
        system: None,
        messages,
        tools: Vec::new(),
        max_tokens: 1000,
    }
}

/// A sink that remembers what was previewed.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    next: u128,
    /// Text so far, by event.
    pub(crate) texts: HashMap<EventId, String>,
    /// Begun as thinking.
    pub(crate) thinking: Vec<EventId>,
}

impl DeltaSink for Recorder {
    fn start(&mut self, thinking: bool) -> EventId {
        let id = self.id();
        if thinking {
            self.thinking.push(id);
        } else {
            self.texts.insert(id, String::new());
        }
        id
    }

    fn text(&mut self, id: EventId, text: &str) {
        self.texts
            .get_mut(&id)
            .expect("a text part that was started")
            .push_str(text);
    }

    fn id(&mut self) -> EventId {
        self.next += 1;
        event_id(self.next)
    }
}

impl Recorder {
    /// The previews of a step are its texts.
    pub(crate) fn agrees_with(&self, step: &ModelStep) {
        for part in &step.parts {
            match part {
                Part::Text { id, text } => assert_eq!(self.texts.get(id), Some(text)),
                Part::Thinking { id, .. } => assert!(self.thinking.contains(id)),
                Part::ToolUse { .. } => {}
            }
        }
    }
}
