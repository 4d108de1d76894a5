//! What these tests share: models on a scripted server, and a loop that plays a conversation to its end.

use std::collections::HashMap;
use std::time::Duration;

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{
    DeltaSink, Lane, Model as _, ModelError, ModelRequest, ModelStep, Part, Payer, ToolSpec,
};
use perennial_schema::agent::ModelConfig;
use perennial_schema::content::{Block, text_content};
use perennial_schema::event::{Permission, Raw};
use perennial_schema::model::Usage;
use perennial_schema::tool::Effect;
use perennial_schema::{EventId, SessionId, WorkspaceId};
use perennial_tests::models::{ModelServer, Vendor as Origin};
use perennial_worker::model::{ModelSettings, Models, Provider, Timeouts};
use serde_json::json;
use uuid::Uuid;

/// Whose API is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Responses.
    OpenAi,
    /// Chat Completions.
    Chat,
}

impl Vendor {
    /// Whose server it is.
    pub(crate) const fn origin(self) -> Origin {
        match self {
            Self::Anthropic => Origin::Anthropic,
            Self::OpenAi | Self::Chat => Origin::OpenAi,
        }
    }

    /// Takes its own thoughts back.
    pub(crate) fn keeps_thoughts(self) -> bool {
        self != Self::Chat
    }
}

pub(crate) const VENDORS: [Vendor; 3] = [Vendor::Anthropic, Vendor::OpenAi, Vendor::Chat];
pub(crate) const KEY: &str = "sk-secret-key-of-this-test";

/// A server, and models that know only it.
pub(crate) struct Rig {
    pub(crate) server: ModelServer,
    pub(crate) models: Models,
    pub(crate) model: &'static str,
}

impl Rig {
    pub(crate) async fn new(vendor: Vendor) -> Self {
        let server = ModelServer::start(vendor.origin()).await.unwrap();
        let models = models(vendor, server.base_url());
        Self {
            server,
            models,
            model: model_of(vendor),
        }
    }

    pub(crate) async fn ask(&self, messages: &[Message]) -> Result<ModelStep, ModelError> {
        self.request(request(self.model, messages.to_vec())).await.0
    }

    /// The step, and what it was said to have used on the way.
    pub(crate) async fn request(&self, request: ModelRequest) -> (Result<ModelStep, ModelError>, Usage) {
        let mut sink = Recorder::default();
        let step = self.models.request(request, &mut sink).await;
        if let Ok(step) = &step {
            sink.agrees_with(step);
        }
        (step, sink.usage)
    }

    /// Asks until the model is done, answering each call; gives the steps.
    pub(crate) async fn converse(&self, messages: &mut Vec<Message>) -> Vec<ModelStep> {
        let mut steps = Vec::new();
        loop {
            let step = self.ask(messages).await.unwrap();
            let done = !step.parts.iter().any(|part| matches!(part, Part::ToolUse { .. }));
            append(messages, &step);
            steps.push(step);
            if done {
                return steps;
            }
        }
    }
}

pub(crate) fn model_of(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Anthropic => "claude-scripted",
        Vendor::OpenAi => "gpt-scripted",
        Vendor::Chat => "chat/scripted",
    }
}

pub(crate) fn models(vendor: Vendor, base_url: &str) -> Models {
    let provider = Some(Provider {
        base_url: base_url.to_owned(),
        key: KEY.into(),
    });
    let timeouts = Timeouts {
        connect: Duration::from_secs(2),
        idle: Duration::from_millis(500),
    };
    let mut settings = ModelSettings {
        timeouts,
        ..ModelSettings::default()
    };
    match vendor {
        Vendor::Anthropic => settings.anthropic = provider,
        Vendor::OpenAi => settings.openai = provider,
        Vendor::Chat => settings.chat = provider,
    }
    Models::new(&settings)
}

pub(crate) fn request(model: &str, messages: Vec<Message>) -> ModelRequest {
    let tool = |name: &str| ToolSpec {
        name: name.into(),
        description: "For the test.".into(),
        input_schema: json!({"type": "object"}),
        lane: Lane::Executor,
        permission: Permission::Allow,
        effect: Effect::Once,
        choices: Vec::new(),
    };
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
        system: Some("You are in a test.".into()),
        messages,
        tools: vec![tool("bash"), tool("read")],
        max_tokens: 1000,
    }
}

pub(crate) fn said(text: &str) -> Message {
    Message {
        role: Role::User,
        parts: vec![MessagePart::Content(Raw::of(&Block::text(text)))],
    }
}

/// As the kernel would render it: the step, and a result for each of its calls.
pub(crate) fn append(messages: &mut Vec<Message>, step: &ModelStep) {
    let (mut parts, mut results) = (Vec::new(), Vec::new());
    for part in &step.parts {
        parts.push(match part.clone() {
            Part::Thinking { native, .. } => MessagePart::Native(native),
            Part::Text { text, .. } => MessagePart::Text(text),
            Part::ToolUse {
                id,
                native_id,
                name,
                input,
            } => {
                let native_id = Some(native_id);
                let content = text_content(&format!("result of {name}"));
                results.push(MessagePart::ToolResult {
                    id,
                    native_id: native_id.clone(),
                    content,
                    is_error: name == "read",
                });
                MessagePart::ToolUse {
                    id,
                    native_id,
                    name,
                    input,
                }
            }
        });
    }
    messages.push(Message {
        role: Role::Assistant,
        parts,
    });
    if !results.is_empty() {
        messages.push(Message {
            role: Role::User,
            parts: results,
        });
    }
}

/// A step in a few words: `~` thinking, `"…"` text, `name{…}` calls.
pub(crate) fn shown(step: &ModelStep) -> String {
    let parts = step.parts.iter().map(|part| match part {
        Part::Thinking { .. } => "~".to_owned(),
        Part::Text { text, .. } => format!("{text:?}"),
        Part::ToolUse { name, input, .. } => format!("{name}{}", input.text()),
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// Remembers what was previewed. Ids are unique over the whole test process.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    texts: HashMap<EventId, String>,
    thinking: Vec<EventId>,
    usage: Usage,
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
        self.texts.get_mut(&id).unwrap().push_str(text);
    }

    fn id(&mut self) -> EventId {
        EventId::from_uuid(Uuid::now_v7())
    }

    fn used(&mut self, usage: Usage) {
        self.usage = usage;
    }
}

impl Recorder {
    fn agrees_with(&self, step: &ModelStep) {
        for part in &step.parts {
            match part {
                Part::Text { id, text } => assert_eq!(self.texts.get(id), Some(text)),
                Part::Thinking { id, .. } => assert!(self.thinking.contains(id)),
                Part::ToolUse { .. } => {}
            }
        }
    }
}
