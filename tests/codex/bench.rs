//! A harness on the bench: the real binary, a scripted upstream, and the conversation in our neutral form.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{Clock, DeltaSink, Lane, ModelError, ModelStep, Part, SessionKey, ToolSpec};
use perennial_schema::agent::{self, AgentSnapshot, ModelConfig};
use perennial_schema::content::text_content;
use perennial_schema::event::{Permission, Raw};
use perennial_schema::tool::Builtin;
use perennial_schema::{AgentId, EventId, SessionId, Timestamp, WorkspaceId};
use perennial_tests::harnesses::Pinned;
use perennial_tests::processes::descendants;
pub(crate) use perennial_tests::processes::name;
pub(crate) use perennial_tests::spoke;
use perennial_worker::harness::codex::{Codex, Settings};
use perennial_worker::harness::{Direct, Harness, Think};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::upstream::{Reply, Upstream};

/// What the provider wants to see.
pub(crate) const KEY: &str = "sk-canary-of-the-tests";

struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_760_000_000_000_000)
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
    pub(crate) harness: Codex,
    pub(crate) sink: Sink,
    pub(crate) tools: Vec<ToolSpec>,
    pub(crate) agent: AgentSnapshot,
    pub(crate) key: SessionKey,
    settings: Settings,
    scratch: TempDir,
}

impl Bench {
    /// With the binary of `tests/harnesses/codex`; none when it is not installed.
    pub(crate) async fn open(replies: Vec<Reply>) -> Option<Self> {
        Some(Self::with_binary(Some(installed()?), replies).await)
    }

    pub(crate) async fn uncontained(replies: Vec<Reply>) -> Option<Self> {
        let mut bench = Self::open(replies).await?;
        bench.change(|settings| settings.bubblewrap = None);
        Some(bench)
    }

    pub(crate) async fn with_binary(binary: Option<PathBuf>, replies: Vec<Reply>) -> Self {
        let upstream = Upstream::start(replies).await;
        let scratch = tempfile::tempdir().unwrap();
        let gate = Direct {
            base_url: upstream.url.clone(),
            key: KEY.into(),
        };
        let mut settings = Settings::new(Arc::new(Now), Arc::new(gate));
        settings.scratch = Some(scratch.path().to_owned());
        settings.binary = binary;
        settings.silence = Duration::from_secs(60);
        Self {
            upstream: Arc::new(upstream),
            harness: Codex::new(settings.clone()),
            sink: Sink::default(),
            tools: tools(),
            agent: agent(),
            key: key(),
            settings,
            scratch,
        }
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.harness = Codex::new(self.settings.clone());
    }

    /// Another drive of the same session by the same worker.
    pub(crate) fn another_drive(&mut self) {
        self.harness = Codex::new(self.settings.clone());
    }

    /// The process ends; what was found out about the installation stays.
    pub(crate) async fn end_process(&mut self) {
        self.another_drive();
        self.settings.close().await;
        eventually(|| self.homes() == 0).await;
    }

    /// Another session of the same worker.
    pub(crate) fn another_session(&self) -> Self {
        Self {
            upstream: self.upstream.clone(),
            harness: Codex::new(self.settings.clone()),
            sink: Sink::default(),
            tools: tools(),
            agent: agent(),
            key: key(),
            settings: self.settings.clone(),
            scratch: tempfile::tempdir().unwrap(),
        }
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

    /// Lets go of everything but the folder.
    pub(crate) fn give_up(self) -> TempDir {
        self.scratch
    }

    /// How many homes of processes there are.
    pub(crate) fn homes(&self) -> usize {
        std::fs::read_dir(self.scratch.path()).unwrap().count()
    }

    /// How many threads the process has files of.
    pub(crate) fn threads(&self) -> usize {
        let homes = std::fs::read_dir(self.scratch.path()).unwrap().flatten();
        homes
            .filter_map(|home| std::fs::read_dir(home.path().join("sessions/2026/01/01")).ok())
            .map(Iterator::count)
            .sum()
    }

    /// Waits until no thread is left.
    pub(crate) async fn deserted(&self) {
        eventually(|| self.threads() == 0).await;
    }
}

/// Waits for something that happens in the background, without a signal we could wait for.
pub(crate) async fn eventually(holds: impl Fn() -> bool) {
    let until = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), until).await.unwrap();
}

fn key() -> SessionKey {
    SessionKey {
        workspace: WorkspaceId::from_uuid(Uuid::from_u128(1)),
        session: SessionId::from_uuid(Uuid::now_v7()),
    }
}

/// The pinned binary.
pub(crate) fn installed() -> Option<PathBuf> {
    Pinned::Codex.installed().unwrap()
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

/// A process and everything below it.
pub(crate) fn family(process: u32) -> Vec<u32> {
    [vec![process], descendants(process)].concat()
}

fn agent() -> AgentSnapshot {
    AgentSnapshot {
        id: AgentId::from_uuid(Uuid::from_u128(2)),
        kind: "agent".into(),
        version: 1,
        name: "tester".into(),
        model: ModelConfig {
            id: "openai/gpt-6-sol".into(),
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
        harness: agent::Harness::Codex,
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

pub(crate) fn said(text: &str) -> Message {
    shown(&[json!({"type": "text", "text": text})])
}

/// A user's message of these blocks.
pub(crate) fn shown(blocks: &[Value]) -> Message {
    Message {
        role: Role::User,
        parts: blocks
            .iter()
            .map(|block| MessagePart::Content(Raw::of(block)))
            .collect(),
    }
}

/// Results for a step's calls, in order.
pub(crate) fn results(step: &ModelStep, texts: &[&str]) -> Message {
    results_of(step, texts.iter().map(|text| text_content(text)).collect())
}

/// The same, of any content.
pub(crate) fn results_of(step: &ModelStep, contents: Vec<Raw>) -> Message {
    let calls = step.parts.iter().filter_map(|part| match part {
        Part::ToolUse { id, native_id, .. } => Some((*id, native_id.clone())),
        _ => None,
    });
    let result = |((id, native_id), content): ((EventId, String), Raw)| MessagePart::ToolResult {
        id,
        native_id: Some(native_id),
        content,
        is_error: false,
    };
    Message {
        role: Role::User,
        parts: calls.zip(contents).map(result).collect(),
    }
}

/// The results are failures.
pub(crate) fn fails(results: &mut Message) {
    for part in &mut results.parts {
        if let MessagePart::ToolResult { is_error, .. } = part {
            *is_error = true;
        }
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
