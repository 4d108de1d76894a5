//! A harness on the bench: the real binary, a scripted upstream, and the conversation in our neutral form.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{Clock, DeltaSink, Lane, ModelError, ModelStep, Part, SessionKey, ToolSpec};
use perennial_schema::agent::{self, AgentSnapshot, ModelConfig};
use perennial_schema::content::text_content;
use perennial_schema::event::{Permission, Raw};
use perennial_schema::tool::{Builtin, Effect};
use perennial_schema::{AgentId, EventId, SessionId, Timestamp, WorkspaceId};
use perennial_tests::harnesses::Pinned;
pub(crate) use perennial_tests::processes::{descendants, name};
pub(crate) use perennial_tests::spoke;
use perennial_worker::harness::claude_code::{ClaudeCode, Settings};
use perennial_worker::harness::{Direct, Harness, Limits, Think};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::upstream::{Reply, Upstream};

/// Tells the time it is told.
#[derive(Default)]
pub(crate) struct Told(AtomicI64);

impl Told {
    pub(crate) fn pass(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap();
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for Told {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_760_000_000_000_000 + self.0.load(Ordering::SeqCst))
    }
}

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
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) harness: ClaudeCode,
    pub(crate) sink: Sink,
    pub(crate) tools: Vec<ToolSpec>,
    pub(crate) clock: Arc<Told>,
    pub(crate) settings: Settings,
    scratch: TempDir,
    pub(crate) agent: AgentSnapshot,
    key: SessionKey,
}

impl Bench {
    /// With the binary of `tests/harnesses/claude`; none when it is not installed.
    pub(crate) async fn open(replies: Vec<Reply>) -> Option<Self> {
        Some(Self::with_binary(Some(installed()?), replies).await)
    }

    pub(crate) async fn uncontained(replies: Vec<Reply>) -> Option<Self> {
        let mut bench = Self::open(replies).await?;
        bench.settings.bubblewrap = None;
        bench.harness = ClaudeCode::new(bench.settings.clone());
        Some(bench)
    }

    pub(crate) async fn with_binary(binary: Option<PathBuf>, replies: Vec<Reply>) -> Self {
        let upstream = Upstream::start(replies).await;
        let scratch = tempfile::tempdir().unwrap();
        let gate = Direct {
            base_url: upstream.url.clone(),
            key: "test-key".into(),
        };
        let clock = Arc::new(Told::default());
        let mut settings = Settings::new(clock.clone(), Arc::new(gate));
        settings.scratch = Some(scratch.path().to_owned());
        settings.binary = binary;
        settings.silence = Duration::from_secs(180);
        Self {
            upstream: Arc::new(upstream),
            harness: ClaudeCode::new(settings.clone()),
            sink: Sink::default(),
            tools: tools(),
            clock,
            settings,
            scratch,
            agent: agent(),
            key: SessionKey {
                workspace: WorkspaceId::from_uuid(Uuid::from_u128(1)),
                session: SessionId::from_uuid(Uuid::now_v7()),
            },
        }
    }

    pub(crate) fn set_silence(&mut self, silence: Duration) {
        self.settings.silence = silence;
        self.harness = ClaudeCode::new(self.settings.clone());
    }

    /// With other bounds for its processes.
    pub(crate) fn within(&mut self, limits: Limits) {
        self.settings = self.settings.clone().within(limits);
        self.harness = ClaudeCode::new(self.settings.clone());
    }

    /// The turn is over; the session's next one is driven by a harness of its own, like in a worker.
    pub(crate) async fn rest(&mut self) {
        self.harness.rest().await;
        self.harness = ClaudeCode::new(self.settings.clone());
    }

    /// The process at rest for the session's next turn.
    pub(crate) fn resting(&self) -> Option<u32> {
        self.harness.resting_process_id()
    }

    /// Another session on the same worker.
    pub(crate) fn other_session(&mut self) {
        self.key.session = SessionId::from_uuid(Uuid::now_v7());
    }

    /// With other access to the model.
    pub(crate) fn through(&mut self, gate: Direct) {
        self.settings.gate = Arc::new(gate);
        self.harness = ClaudeCode::new(self.settings.clone());
    }

    pub(crate) async fn think(&mut self, messages: Vec<Message>) -> Result<ModelStep, ModelError> {
        let ask = Think {
            key: self.key,
            agent: &self.agent,
            tools: &self.tools,
            messages,
        };
        self.harness.think(ask, &mut self.sink).await
    }

    /// How many homes of processes there are.
    pub(crate) fn homes(&self) -> usize {
        std::fs::read_dir(self.scratch.path()).unwrap().count()
    }

    /// How many processes there have been that asked the model.
    pub(crate) fn starts(&self) -> usize {
        let requests = self.upstream.requests();
        let mut devices: Vec<_> = requests.iter().map(device).collect();
        devices.sort();
        devices.dedup();
        devices.len()
    }
}

/// Each process has a home of its own, and so a device id of its own.
fn device(request: &Value) -> String {
    let user: Value = serde_json::from_str(request["metadata"]["user_id"].as_str().unwrap()).unwrap();
    user["device_id"].as_str().unwrap().to_owned()
}

/// The pinned binary.
pub(crate) fn installed() -> Option<PathBuf> {
    Pinned::ClaudeCode.installed().unwrap()
}

/// Writes an executable script.
pub(crate) fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Whether a process runs (a zombie does not).
pub(crate) fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn agent() -> AgentSnapshot {
    AgentSnapshot {
        id: AgentId::from_uuid(Uuid::from_u128(2)),
        kind: "agent".into(),
        version: 1,
        name: "tester".into(),
        model: ModelConfig {
            id: "claude-opus-4-5".into(),
            speed: None,
            effort: None,
            inference_geo: None,
        },
        system: Some("You are a test.".into()),
        description: None,
        tools: Vec::new(),
        mcp_servers: Vec::new(),
        skills: Vec::new(),
        multiagent: None,
        execution_identity: None,
        harness: agent::Harness::ClaudeCode,
        mail: None,
        executors: Vec::new(),
    }
}

pub(crate) fn tools() -> Vec<ToolSpec> {
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

/// A tool no MCP client takes: the harness then has no tools at all, and goes on as if nothing were wrong.
pub(crate) fn broken_tool() -> ToolSpec {
    ToolSpec {
        name: "broken".into(),
        description: String::new(),
        input_schema: json!({"type": "string"}),
        lane: Lane::Client,
        permission: Permission::Allow,
        effect: Effect::Once,
        choices: Vec::new(),
    }
}

pub(crate) fn said(text: &str) -> Message {
    let block = json!({"type": "text", "text": text});
    Message {
        role: Role::User,
        parts: vec![MessagePart::Content(Raw::of(&block))],
    }
}

/// A step that was made elsewhere, of these blocks.
pub(crate) fn step(blocks: Vec<Value>) -> ModelStep {
    let id = || EventId::from_uuid(Uuid::now_v7());
    let part = |block: Value| match block["type"].as_str().unwrap() {
        "text" => Part::Text {
            id: id(),
            text: block["text"].as_str().unwrap().to_owned(),
        },
        _ => Part::ToolUse {
            id: id(),
            native_id: block["id"].as_str().unwrap().to_owned(),
            name: block["name"]
                .as_str()
                .unwrap()
                .trim_start_matches("mcp__router__")
                .to_owned(),
            input: Raw::of(&block["input"]),
        },
    };
    ModelStep {
        parts: blocks.into_iter().map(part).collect(),
        ..ModelStep::default()
    }
}

/// Results for a step's calls, in order.
pub(crate) fn results(step: &ModelStep, texts: &[&str]) -> Message {
    let calls = step.parts.iter().filter_map(|part| match part {
        Part::ToolUse { id, native_id, .. } => Some((*id, native_id.clone())),
        _ => None,
    });
    let result = |((id, native_id), text): ((EventId, String), &&str)| MessagePart::ToolResult {
        id,
        native_id: Some(native_id),
        content: text_content(text),
        is_error: false,
    };
    Message {
        role: Role::User,
        parts: calls.zip(texts).map(result).collect(),
    }
}

/// A step's calls: id, name, input.
pub(crate) fn called(step: &ModelStep) -> Vec<(String, String, Value)> {
    let call = |part: &Part| match part {
        Part::ToolUse {
            native_id, name, input, ..
        } => Some((native_id.clone(), name.clone(), input.parse().unwrap())),
        _ => None,
    };
    step.parts.iter().filter_map(call).collect()
}
