//! The router: tool calls to places (DESIGN §8).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::{ErrorDetail, Permission, Raw};
use perennial_schema::frame::{Card, FromExecutor, PackAnswer, PackAsk, ToExecutor};
use perennial_schema::mcp::McpServer;
use perennial_schema::tool::{Effect, Outcome};
use perennial_schema::{EventId, ExecutorId, JournalId, PackId, Secret, SessionId, WorkspaceId};
use serde_json::Value;

use super::{Choice, SessionKey};

/// A tool as a model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// What the model is told.
    pub description: String,
    /// JSON Schema of the input, an object.
    pub input_schema: Value,
    /// Who runs it.
    pub lane: Lane,
    /// What policy says when it is asked for, where there is nothing to choose.
    pub permission: Permission,
    /// What may be done when an outcome is unknown.
    pub effect: Effect,
    /// Where the model may have it run, the first unless it says; empty when there is nothing to choose, and the environment
    /// says it.
    pub choices: Vec<Choice>,
}

/// Who runs a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lane {
    /// An executor of ours.
    Executor,
    /// The client: `agent.custom_tool_use`, answered by `user.custom_tool_result`.
    Client,
    /// A self-hosted worker: `agent.tool_use`, answered by `user.tool_result`.
    SelfHosted,
    /// An MCP server: `agent.mcp_tool_use`.
    Mcp {
        /// What the agent calls it.
        server: String,
        /// What it calls the tool.
        tool: String,
    },
}

/// Where a call will run; recorded in `tool.dispatched` before the call leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Which executor.
    pub executor_id: ExecutorId,
    /// Which of its memories.
    pub journal_id: JournalId,
}

/// A call and the right to make it.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Session of the call.
    pub key: SessionKey,
    /// Epoch of the lease that speaks.
    pub epoch: u64,
    /// Event id of the tool use: the idempotency key.
    pub call_id: EventId,
    /// Tool name.
    pub tool: String,
    /// Input, a JSON object.
    pub input: Raw,
    /// Effect class as dispatched.
    pub effect: Effect,
    /// As dispatched.
    pub placement: Placement,
    /// The session's environment.
    pub environment: EnvironmentConfig,
    /// What a step of a preparation needs and nobody keeps.
    pub secret: Option<Secret>,
    /// The server that runs it, if an MCP server does. It has no journal: what became of a call whose answer was lost, nobody can
    /// say.
    pub mcp: Option<McpTool>,
}

/// A tool of an MCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpTool {
    /// Where it runs.
    pub server: McpServer,
    /// What the server calls it.
    pub name: String,
}

/// What an agent's MCP servers offer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mounted {
    /// Their tools, policy evaluated; each has [`house_choice`](super::house_choice) as its only choice.
    pub tools: Vec<ToolSpec>,
    /// What is missing and why, for people.
    pub troubles: Vec<ErrorDetail>,
}

/// Hears what a running call prints, as it comes: pieces of it, of which some may be missing. Never waited for.
#[derive(Clone)]
pub struct Hearer(pub Arc<dyn Fn(&str) + Send + Sync>);

impl std::fmt::Debug for Hearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hearer")
    }
}

/// What became of a call that was dispatched by an earlier attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// Over (awaited if it was still running); the stored result.
    Done(Outcome),
    /// The journal named at dispatch never saw it: it may be sent.
    NeverStarted,
    /// Nobody can say (executor rebuilt, replaced or gone; started and lost).
    InDoubt {
        /// Why, as a clause: whoever tells the model says the rest.
        reason: String,
    },
}

/// A call that did not end in an outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// A newer lease has spoken at the executor: stop like on a fenced append (I4).
    #[error("fenced at the executor")]
    Fenced,
    /// Nothing was started and nothing will be: a plain tool error.
    #[error("not started: {0}")]
    NotStarted(String),
    /// It did not leave: the executor's memory is not the one it was placed in. It may be placed anew.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have been started: settle it.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// Where a session's tools come from and go to.
#[async_trait]
pub trait Router: Send + Sync {
    /// The tools an agent has in an environment and on the executors attached to it, policy evaluated. What it depends on is
    /// made ready in a bounded time; of that it is a pure function. It may differ from one drive of a session to the next: what
    /// a tool use meant is in the log, and nothing in the log is read by a catalogue again.
    async fn catalogue(&self, key: SessionKey, agent: &AgentSnapshot, environment: &EnvironmentConfig)
    -> Vec<ToolSpec>;

    /// The tools of the agent's MCP servers, asked for in a bounded time. What a server says of a tool was approved, or is new: one
    /// that changed is a trouble, and is not offered.
    async fn mounted(&self, _key: SessionKey, _agent: &AgentSnapshot, _environment: &EnvironmentConfig) -> Mounted {
        Mounted::default()
    }

    /// Whether one of a session's servers said that its tools changed, since this was asked last.
    fn tools_changed(&self, _key: SessionKey) -> bool {
        false
    }

    /// Chooses (and if need be provisions) the executor for a session's call. An error is told to the model.
    async fn place(&self, key: SessionKey, environment: &EnvironmentConfig) -> Result<Placement, String>;

    /// Where a session's calls go that only look, of a session whose folder that executor has, if one has: nothing is made for them
    /// that can be helped. An error is told to a client.
    async fn place_to_look(
        &self,
        key: SessionKey,
        environment: &EnvironmentConfig,
        _at: Option<ExecutorId>,
    ) -> Result<Placement, String> {
        self.place(key, environment).await
    }

    /// Hands a question on to an executor of this host, and answers what it says; none when it says nothing.
    async fn hand_on(&self, _at: ExecutorId, _question: ToExecutor) -> Option<FromExecutor> {
        None
    }

    /// The same if nothing has to be made or waited for.
    async fn place_at_once(&self, key: SessionKey, environment: &EnvironmentConfig) -> Option<Placement> {
        self.place(key, environment).await.ok()
    }

    /// Whether what was placed there earlier in the drive may be sent there now, as far as is known here: not if the executor goes on
    /// with another memory.
    fn stands(&self, _placement: Placement) -> bool {
        true
    }

    /// Whether an executor works in folders of a host. The sessions it has worked for are that host's from then on; others are
    /// reached from everywhere.
    fn is_home(&self, _executor: ExecutorId) -> bool {
        true
    }

    /// Sends a call that nobody knows to have been sent (fresh, or settled as never started) and waits for its end; attaches if the
    /// executor already runs it. Dropping the future does not cancel.
    async fn call(&self, order: Order) -> Result<Outcome, CallError>;

    /// The same, and tells what it prints meanwhile, as far as that can be heard.
    async fn call_aloud(&self, order: Order, _hearer: Hearer) -> Result<Outcome, CallError> {
        self.call(order).await
    }

    /// Asks what became of a dispatched call; waits while it runs. Never starts it.
    async fn settle(&self, order: Order) -> Result<Settled, CallError>;

    /// Has an executor of a workspace look at its machine again; its new card. An error is for people.
    async fn look_at(&self, _workspace: WorkspaceId, _executor: ExecutorId) -> Result<Card, String> {
        Err("no executor is reached from here".into())
    }

    /// Stops a running call. Its `call` or `settle` then ends with what it got.
    async fn cancel(&self, key: SessionKey, epoch: u64, call_id: EventId);

    /// A piece of a call's long output ([`perennial_schema::tool::Whole`]) from this byte on; empty at the end.
    async fn output(&self, _order: &Order, _offset: u64) -> Result<Bytes, String> {
        Err("nothing keeps long outputs here".into())
    }

    /// A long output is stored elsewhere: the executor's copy may go.
    async fn drop_output(&self, _key: SessionKey, _call_id: EventId) {}

    /// Copies a workspace folder for a fork. `at` is the executor that has it.
    async fn copy_workspace(&self, from: SessionId, to: SessionId, at: Option<ExecutorId>) -> Result<(), String>;

    /// Asks about a packed workspace folder (export, import). `at` is the executor that has it; none asks whoever takes new
    /// calls. Answers who did it. The same question may be asked again.
    async fn pack(
        &self,
        _at: Option<ExecutorId>,
        _pack: PackId,
        _ask: PackAsk,
    ) -> Result<(ExecutorId, PackAnswer), String> {
        Err("nothing packs workspaces here".into())
    }

    /// An attached executor is not the session's any more: its shell there may go, and nothing else does.
    async fn leave(&self, _session: SessionId, _at: ExecutorId) {}

    /// The session is gone: its shell may go. `at` is the executor that has its workspace.
    async fn forget(&self, session: SessionId, at: Option<ExecutorId>);
}
