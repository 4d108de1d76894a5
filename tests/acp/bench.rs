//! The harness on the bench: an agent, our side of the conversation, and the files of the test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{DeltaSink, Lane, ModelError, ModelStep, Part, SessionKey, ToolSpec};
use perennial_schema::agent::{self, AgentSnapshot, ModelConfig};
use perennial_schema::content::text_content;
use perennial_schema::event::{Permission, Raw};
use perennial_schema::tool::Builtin;
use perennial_schema::{AgentId, EventId, SessionId, WorkspaceId};
pub(crate) use perennial_tests::spoke;
use perennial_worker::harness::acp::{Acp, Settings};
use perennial_worker::harness::{Direct, Harness, Think, Wire};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

/// What was previewed.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) text: String,
}

impl DeltaSink for Sink {
    fn start(&mut self, _thinking: bool) -> EventId {
        self.id()
    }

    fn text(&mut self, _id: EventId, text: &str) {
        self.text.push_str(text);
    }

    fn id(&mut self) -> EventId {
        EventId::from_uuid(Uuid::now_v7())
    }
}

pub(crate) struct Bench {
    pub(crate) settings: Settings,
    pub(crate) harness: Acp,
    pub(crate) sink: Sink,
    pub(crate) agent: AgentSnapshot,
    pub(crate) tools: Vec<ToolSpec>,
    pub(crate) scratch: TempDir,
    key: SessionKey,
}

impl Bench {
    /// With our own scripted agent.
    pub(crate) fn open() -> Self {
        Self::with(
            "tester",
            env!("CARGO_BIN_EXE_perennial-acp-agent").into(),
            "http://127.0.0.1:9",
        )
    }

    /// With this program, whose model is at `base_url`.
    pub(crate) fn with(name: &str, program: PathBuf, base_url: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let gate = Direct {
            base_url: base_url.to_owned(),
            key: "test-key".into(),
        };
        let mut settings = Settings::new(name, program, Arc::new(gate));
        settings.scratch = Some(scratch.path().to_owned());
        settings.wire = Wire::Messages;
        settings.silence = Duration::from_secs(60);
        Self {
            harness: Acp::new(settings.clone()),
            settings,
            sink: Sink::default(),
            agent: agent(name),
            tools: tools(),
            scratch,
            key: SessionKey {
                workspace: WorkspaceId::from_uuid(Uuid::from_u128(1)),
                session: SessionId::from_uuid(Uuid::now_v7()),
            },
        }
    }

    /// With other settings, and no process.
    pub(crate) fn set(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.harness = Acp::new(self.settings.clone());
    }

    /// A bench of its own, with the same agent and its processes.
    pub(crate) fn another(&self) -> Self {
        let mut other = Self::open();
        other.settings = self.settings.clone();
        other.harness = Acp::new(other.settings.clone());
        other
    }

    /// With a variable more for the agent.
    pub(crate) fn variable(&mut self, name: &str, value: &str) {
        self.set(|settings| settings.environment.push((name.to_owned(), value.to_owned())));
    }

    pub(crate) async fn think(&mut self, messages: &[Message]) -> Result<ModelStep, ModelError> {
        let ask = Think {
            key: self.key,
            agent: &self.agent,
            tools: &self.tools,
            messages: messages.to_vec(),
        };
        self.harness.think(ask, &mut self.sink).await
    }

    /// Waits until the process that waits for results is found to be of no use.
    pub(crate) async fn until_gone(&self) {
        let gone = async {
            while self.harness.process_id().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let gone = tokio::time::timeout(Duration::from_secs(20), gone).await;
        gone.expect("it is noticed");
    }

    /// How many homes of processes there are.
    pub(crate) fn homes(&self) -> usize {
        std::fs::read_dir(self.scratch.path()).unwrap().count()
    }
}

fn agent(name: &str) -> AgentSnapshot {
    AgentSnapshot {
        id: AgentId::from_uuid(Uuid::from_u128(2)),
        kind: "agent".into(),
        version: 1,
        name: "tester".into(),
        model: ModelConfig {
            id: "anthropic/some-model".into(),
            speed: None,
            effort: None,
            inference_geo: None,
        },
        system: None,
        description: None,
        tools: Vec::new(),
        mcp_servers: Vec::new(),
        skills: Vec::new(),
        multiagent: None,
        execution_identity: None,
        harness: agent::Harness::Acp(name.to_owned()),
        mail: None,
        executors: Vec::new(),
    }
}

fn tools() -> Vec<ToolSpec> {
    let spec = |tool: Builtin| ToolSpec {
        name: tool.name().into(),
        description: tool.description().into(),
        input_schema: tool.input_schema(),
        lane: Lane::Executor,
        permission: Permission::Allow,
        effect: tool.effect(),
        choices: Vec::new(),
    };
    vec![spec(Builtin::Bash), spec(Builtin::Read)]
}

pub(crate) fn said(text: &str) -> Message {
    Message {
        role: Role::User,
        parts: vec![MessagePart::Content(Raw::of(&json!({"type": "text", "text": text})))],
    }
}

/// Results for a step's calls: each its name and a number.
pub(crate) fn results(step: &ModelStep) -> Message {
    let calls = step.parts.iter().filter_map(|part| match part {
        Part::ToolUse {
            id, native_id, name, ..
        } => Some((*id, native_id.clone(), name.clone())),
        _ => None,
    });
    let result = |(n, (id, native_id, name)): (usize, (EventId, String, String))| MessagePart::ToolResult {
        id,
        native_id: Some(native_id),
        content: text_content(&format!("{name}-{n}")),
        is_error: false,
    };
    Message {
        role: Role::User,
        parts: calls.enumerate().map(result).collect(),
    }
}

/// A step in a few words: `~` thinking, texts, `name{…}` calls.
pub(crate) fn shown(step: &ModelStep) -> String {
    let parts = step.parts.iter().map(|part| match part {
        Part::Thinking { .. } => "~".to_owned(),
        Part::Text { text, .. } => text.clone(),
        Part::ToolUse { name, input, .. } => format!("{name}{}", input.text()),
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// Whether a process runs; one that is dead and not yet waited for does not.
pub(crate) fn lives(process: u32) -> bool {
    std::path::Path::new(&format!("/proc/{process}/exe")).exists()
}
