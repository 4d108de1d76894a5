//! The typed content of every event type, and what may be said of a type as such.

use serde::{Deserialize, Serialize};

use super::{Raw, SessionImported};
use crate::model::Usage;
use crate::session::StopReason;
use crate::tool::Effect;
use crate::{BudgetId, EventId, ExecutorId, JournalId, MessageId, OutcomeId, SessionId};

macro_rules! bodies {
    ($($(#[$doc:meta])* $variant:ident($body:ty) = $kind:literal, $domain:ident;)*) => {
        /// What an event says.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Body {
            $($(#[$doc])* $variant($body),)*
            /// A type this build does not know (its name). It survives a round trip; the fold refuses to guess.
            Unknown(String),
        }

        impl Body {
            /// The wire name of the type.
            #[must_use]
            pub fn kind(&self) -> &str {
                match self { $(Self::$variant(_) => $kind,)* Self::Unknown(kind) => kind }
            }

            /// Decodes a public payload of the given type.
            ///
            /// # Errors
            /// When the payload does not have the shape of its type.
            pub fn parse(kind: &str, payload: &str) -> serde_json::Result<Self> {
                Ok(match kind {
                    $($kind => Self::$variant(serde_json::from_str(payload)?),)*
                    unknown => Self::Unknown(unknown.to_owned()),
                })
            }

            /// The members beside `type`, `id` and `processed_at`, as a JSON object.
            pub(super) fn fields(&self) -> String {
                match self {
                    $(Self::$variant(body) => serde_json::to_string(body),)*
                    Self::Unknown(_) => Ok("{}".into()),
                }
                .unwrap_or_else(|_| "{}".into())
            }
        }

        /// The domain of a type by its wire name; unknown types are treated as extensions, so that strict clients never
        /// meet them.
        #[must_use]
        pub fn domain(kind: &str) -> Domain {
            match kind { $($kind => Domain::$domain,)* _ => Domain::Extension }
        }

        /// Every type this build knows, with its domain.
        pub const KINDS: &[(&str, Domain)] = &[$(($kind, Domain::$domain)),*];
    };
}

/// Who an event type is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Sent by clients, part of the adopted API.
    Input,
    /// Written by the engine, part of the adopted API.
    Output,
    /// Ours: left out of streams and lists unless asked for with `?include=extensions`.
    Extension,
}

bodies! {
    /// A person (or program) says something.
    UserMessage(Message) = "user.message", Input;
    /// Instructions from the operator in mid-conversation.
    SystemMessage(Message) = "system.message", Input;
    /// What the work is to come to, and by what it is judged.
    UserDefineOutcome(DefineOutcome) = "user.define_outcome", Input;
    /// Stop at the next safe point.
    UserInterrupt(Interrupt) = "user.interrupt", Input;
    /// Answer to a tool use that asked.
    UserToolConfirmation(ToolConfirmation) = "user.tool_confirmation", Input;
    /// Result of a client-side tool.
    UserCustomToolResult(CustomToolResult) = "user.custom_tool_result", Input;
    /// Result of a built-in tool run by a self-hosted worker.
    UserToolResult(ToolResult) = "user.tool_result", Input;

    /// Text of the model.
    AgentMessage(Message) = "agent.message", Output;
    /// The model thought; the text is private.
    AgentThinking(Empty) = "agent.thinking", Output;
    /// The model asks for a built-in tool.
    AgentToolUse(ToolUse) = "agent.tool_use", Output;
    /// What the tool answered.
    AgentToolResult(ToolResult) = "agent.tool_result", Output;
    /// The model asks for a tool of an MCP server.
    AgentMcpToolUse(McpToolUse) = "agent.mcp_tool_use", Output;
    /// What the MCP server answered.
    AgentMcpToolResult(McpToolResult) = "agent.mcp_tool_result", Output;
    /// The model asks for a client-side tool.
    AgentCustomToolUse(ToolUse) = "agent.custom_tool_use", Output;
    /// The context was compacted (public note; our own detail is `context.compacted`).
    AgentThreadContextCompacted(Empty) = "agent.thread_context_compacted", Output;
    /// The session began to work.
    SessionStatusRunning(Empty) = "session.status_running", Output;
    /// The session rests, and why.
    SessionStatusIdle(Idle) = "session.status_idle", Output;
    /// A later attempt follows.
    SessionStatusRescheduled(Empty) = "session.status_rescheduled", Output;
    /// The session is over.
    SessionStatusTerminated(Empty) = "session.status_terminated", Output;
    /// The session was deleted.
    SessionDeleted(Empty) = "session.deleted", Output;
    /// Something went wrong; not a status.
    SessionError(SessionError) = "session.error", Output;
    /// Title, metadata or agent changed.
    SessionUpdated(SessionUpdated) = "session.updated", Output;
    /// A model request begins.
    SpanModelRequestStart(Empty) = "span.model_request_start", Output;
    /// A model request ended, with what it used.
    SpanModelRequestEnd(ModelRequestEnd) = "span.model_request_end", Output;

    /// Intent before effect: the call is about to leave (I5).
    ToolDispatched(ToolDispatched) = "tool.dispatched", Extension;
    /// These inputs enter the context here (DESIGN §5).
    InputProcessed(InputProcessed) = "input.processed", Extension;
    /// A message from another agent.
    MailReceived(MailReceived) = "mail.received", Extension;
    /// The context up to a point is replaced by a summary.
    ContextCompacted(ContextCompacted) = "context.compacted", Extension;
    /// This log began as a copy of another.
    SessionForked(SessionForked) = "session.forked", Extension;
    /// This log began elsewhere.
    SessionImported(SessionImported) = "session.imported", Extension;
    /// Another harness or model takes over.
    HarnessChanged(HarnessChanged) = "harness.changed", Extension;
    /// A budget is nearly used up; once a period.
    BudgetWarning(BudgetWarning) = "budget.warning", Extension;
}

impl Body {
    /// Sent by a client and part of the conversation or its control.
    #[must_use]
    pub fn is_input(&self) -> bool {
        matches!(domain(self.kind()), Domain::Input) || matches!(self, Self::MailReceived(_))
    }

    /// An input stored with `processed_at: null` until the engine names it in `input.processed`.
    #[must_use]
    pub const fn is_queued_input(&self) -> bool {
        matches!(
            self,
            Self::UserMessage(_)
                | Self::SystemMessage(_)
                | Self::UserInterrupt(_)
                | Self::UserToolConfirmation(_)
                | Self::MailReceived(_)
        )
    }

    /// A stored model message or tool result: progress, which resets the attempt counter (DESIGN §5).
    #[must_use]
    pub const fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::AgentMessage(_)
                | Self::AgentThinking(_)
                | Self::AgentToolUse(_)
                | Self::AgentMcpToolUse(_)
                | Self::AgentCustomToolUse(_)
                | Self::AgentToolResult(_)
                | Self::AgentMcpToolResult(_)
        )
    }

    /// What a client must send before this tool use can end, if anything. Stored beside the event, so that the statement
    /// that appends an answer can check it.
    #[must_use]
    pub fn awaits(&self) -> Option<Awaits> {
        match self {
            Self::AgentToolUse(tool) if tool.evaluated_permission == Some(Permission::Ask) => {
                Some(Awaits::Confirmation)
            }
            Self::AgentMcpToolUse(tool) if tool.evaluated_permission == Some(Permission::Ask) => {
                Some(Awaits::Confirmation)
            }
            Self::AgentCustomToolUse(_) => Some(Awaits::CustomResult),
            Self::AgentToolUse(_) => Some(Awaits::ToolResult),
            _ => None,
        }
    }

    /// Which tool use this event answers, and in what way: at most one answer of each way is stored per tool use.
    #[must_use]
    pub const fn answers(&self) -> Option<(EventId, Answer)> {
        match self {
            Self::UserToolConfirmation(body) => Some((body.tool_use_id, Answer::Confirmation)),
            Self::UserCustomToolResult(body) => Some((body.custom_tool_use_id, Answer::Result)),
            Self::UserToolResult(body) | Self::AgentToolResult(body) => Some((body.tool_use_id, Answer::Result)),
            Self::AgentMcpToolResult(body) => Some((body.mcp_tool_use_id, Answer::Result)),
            _ => None,
        }
    }
}

/// What a tool use waits for from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// `user.tool_confirmation`.
    Confirmation,
    /// `user.custom_tool_result`.
    CustomResult,
    /// `user.tool_result`, in self-hosted environments only.
    ToolResult,
}

impl Awaits {
    /// The name in the log's column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmation => "confirmation",
            Self::CustomResult => "custom_result",
            Self::ToolResult => "tool_result",
        }
    }
}

/// The two ways a tool use is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// May it run?
    Confirmation,
    /// What came of it.
    Result,
}

impl Answer {
    /// The name in the log's column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmation => "confirmation",
            Self::Result => "result",
        }
    }
}

/// An event without fields of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Content blocks, verbatim; see [`crate::content`] for their shapes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// A JSON array of content blocks.
    pub content: Raw,
}

/// `user.define_outcome`. Processed on receipt as far as clients see; enters the context like a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DefineOutcome {
    /// Made by the server.
    pub outcome_id: OutcomeId,
    /// What is wanted.
    pub description: String,
    /// By what it is judged: `{"type": "text", "content": …}`.
    pub rubric: Raw,
    /// Revisions a grader may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_iterations: Option<u32>,
}

/// `user.interrupt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupt {
    /// The thread to stop; none means the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_thread_id: Option<String>,
}

/// May a tool use run?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No: the engine itself makes the error result.
    Deny,
}

/// `user.tool_confirmation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolConfirmation {
    /// Event id of the tool use.
    pub tool_use_id: EventId,
    /// The decision.
    pub result: Verdict,
    /// What the model is told on deny.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny_message: Option<String>,
}

/// `user.custom_tool_result`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomToolResult {
    /// Event id of the custom tool use.
    pub custom_tool_use_id: EventId,
    /// Content blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Raw>,
    /// Whether the tool failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
}

/// `agent.tool_result` and `user.tool_result`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// Event id of the tool use.
    pub tool_use_id: EventId,
    /// Content blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Raw>,
    /// Whether the tool failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
}

/// `agent.mcp_tool_result`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpToolResult {
    /// Event id of the tool use.
    pub mcp_tool_use_id: EventId,
    /// Content blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Raw>,
    /// Whether the tool failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
}

/// What policy said of a tool use when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Runs at once.
    Allow,
    /// Waits for a person.
    Ask,
    /// Refused.
    Deny,
}

/// `agent.tool_use` and `agent.custom_tool_use`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolUse {
    /// Tool name.
    pub name: String,
    /// A JSON object, verbatim.
    pub input: Raw,
    /// Policy's word; absent for client-side tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluated_permission: Option<Permission>,
}

/// `agent.mcp_tool_use`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpToolUse {
    /// Which server.
    pub mcp_server_name: String,
    /// Tool name.
    pub name: String,
    /// A JSON object, verbatim.
    pub input: Raw,
    /// Policy's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluated_permission: Option<Permission>,
}

/// `session.status_idle`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idle {
    /// Why it rests.
    pub stop_reason: StopReason,
}

/// `session.error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionError {
    /// The error.
    pub error: ErrorDetail,
}

/// The error of a `session.error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// One of the API's names, e.g. `model_overloaded_error`.
    #[serde(rename = "type")]
    pub kind: ErrorKind,
    /// For a person: what failed and what to do.
    pub message: String,
    /// What happens next.
    pub retry_status: RetryStatus,
    /// Which of the agent's servers, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_server_name: Option<String>,
}

/// Kinds of `session.error` we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The provider is overloaded (529).
    ModelOverloadedError,
    /// The provider limits us (429).
    ModelRateLimitedError,
    /// Any other failed model request, a missing key included.
    ModelRequestFailedError,
    /// The provider wants money.
    BillingError,
    /// An MCP server cannot be reached.
    McpConnectionFailedError,
    /// An MCP server refuses us.
    McpAuthenticationFailedError,
    /// A turn used too many tool steps.
    ToolUseLimitReachedError,
    /// The context does not fit the model, and compacting it does not help (any more).
    CompactionLimitReachedError,
    /// None of the others.
    #[serde(other)]
    UnknownError,
}

/// What follows an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RetryStatus {
    /// Another attempt follows by itself.
    Retrying,
    /// Attempts are used up; new input starts again.
    Exhausted,
    /// Nothing will be tried.
    Terminal,
}

/// `session.updated`: the changed parts, verbatim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionUpdated {
    /// New title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Raw>,
    /// New metadata, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Raw>,
    /// New agent snapshot, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Raw>,
    /// New budget, or null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Raw>,
}

/// `span.model_request_end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRequestEnd {
    /// Event id of the start.
    pub model_request_start_id: EventId,
    /// Tokens of this request.
    pub model_usage: Usage,
    /// True closes a dead attempt: its previews are void.
    pub is_error: bool,
}

/// `tool.dispatched`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDispatched {
    /// Event id of the tool use; also the executor's call id.
    pub tool_use_id: EventId,
    /// The executor asked when the outcome is in question.
    pub executor_id: ExecutorId,
    /// The journal that remembers; another journal means another memory.
    pub journal_id: JournalId,
    /// 1, 2, … grows when a call is sent again.
    pub attempt: u32,
    /// What may be done when the outcome is unknown.
    pub effect: Effect,
    /// SHA-256 of tool name and input, hex: the same call with other arguments is refused.
    pub args_hash: String,
}

/// `input.processed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputProcessed {
    /// In the order in which they enter the context.
    pub event_ids: Vec<EventId>,
}

/// `mail.received`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MailReceived {
    /// Idempotency key of the hand-off.
    pub message_id: MessageId,
    /// Sender's address, set by the server.
    pub from: String,
    /// One line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Content blocks.
    pub content: Raw,
    /// Conversation the message belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<MessageId>,
}

/// `context.compacted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextCompacted {
    /// What the model sees instead.
    pub summary: String,
    /// Everything that entered the context at or before this seq is replaced.
    pub up_to: u64,
}

/// `session.forked`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionForked {
    /// The session the first `at_seq` events were copied from.
    pub from_session: SessionId,
    /// How many.
    pub at_seq: u64,
    /// What became of the workspace folder: `copied` (as it is now, not as it was at `at_seq`) or `empty`.
    pub workspace: String,
}

/// `budget.warning`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetWarning {
    /// Which.
    pub budget_id: BudgetId,
    /// `workspace`, `key` or `session`.
    pub scope: String,
    /// `requests`, `tokens` or `money` (millionths of a US dollar).
    pub metric: String,
    /// `total` or `day`.
    pub period: String,
    /// So much may be used.
    pub limit: u64,
    /// So much was used or set aside for requests under way.
    pub used: u64,
    /// The share of the limit that was passed.
    pub warn_percent: u8,
}

/// `harness.changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HarnessChanged {
    /// Before.
    pub from: String,
    /// After.
    pub to: String,
    /// Provider-only blocks the other side cannot take.
    pub dropped: u64,
}
