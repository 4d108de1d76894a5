//! Mail as tools of a session.

use serde_json::{Value, json};

use crate::tool::Effect;

/// A mail tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTool {
    /// Who is there.
    ListAgents,
    /// Write.
    SendMessage,
    /// Read again what came.
    ReadMail,
    /// Have another do something, and hear what came of it.
    DelegateTask,
    /// Stop that.
    CancelTask,
}

impl MailTool {
    /// All of them, in the order in which they are offered to a model.
    pub const ALL: [Self; 5] = [
        Self::ListAgents,
        Self::SendMessage,
        Self::ReadMail,
        Self::DelegateTask,
        Self::CancelTask,
    ];

    /// The tool's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ListAgents => "list_agents",
            Self::SendMessage => "send_message",
            Self::ReadMail => "read_mail",
            Self::DelegateTask => "delegate_task",
            Self::CancelTask => "cancel_task",
        }
    }

    /// The tool of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// Its effect class. A message's id is its call's, a task is a message: sent twice it is one.
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self {
            Self::ListAgents | Self::ReadMail => Effect::Read,
            Self::SendMessage | Self::DelegateTask | Self::CancelTask => Effect::Idempotent,
        }
    }

    /// What the model is told about it.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::ListAgents => "Lists the agents that can be written to, with their addresses and what they do.",
            Self::SendMessage => {
                "Sends a message to an agent, a session or a queue. It is delivered even if the receiver is away. An answer \
                 comes as a message of its own later and wakes this session: do not wait or poll for it."
            }
            Self::ReadMail => "Shows the messages that came to this session, newest first.",
            Self::DelegateTask => {
                "Has another agent or session do a task. What its turn says in the end, and how many turns and tokens it took, \
                 comes as a message of its own later and wakes this session: do not wait or poll for it. A task that takes too \
                 long, or more turns or money than it may, is stopped, and a message says so."
            }
            Self::CancelTask => "Stops a task that this session delegated. A message says how it ended.",
        }
    }

    /// JSON Schema of its input.
    #[must_use]
    pub fn input_schema(self) -> Value {
        match self {
            Self::ListAgents => json!({"type": "object", "properties": {}}),
            Self::SendMessage => json!({"type": "object", "required": ["to", "content"], "properties": {
                "to": {"type": "string", "description": "agent/NAME, session/ID or queue/NAME"},
                "content": {"type": "string", "description": "What it says"},
                "subject": {"type": "string", "description": "One line"},
                "in_reply_to": {"type": "string", "description": "Id of the message it answers"},
            }}),
            Self::DelegateTask => json!({"type": "object", "required": ["to", "prompt"], "properties": {
                "to": {"type": "string", "description": "agent/NAME or session/ID"},
                "prompt": {"type": "string", "description": "What is to be done, with all that is needed for it"},
                "max_turns": {"type": "integer", "description": "Model requests it may take; any number when left out"},
                "max_budget": {"type": "object", "description": "What it may use of models: {\"tokens\": 50000}, or cents of list cost, \
                    {\"amount\": \"250\", \"currency\": \"USD\"}; any amount when left out", "properties": {
                    "tokens": {"type": "integer"}, "amount": {"type": "string"}, "currency": {"type": "string"}}},
                "timeout": {"type": "integer", "description": "Seconds it may take; an hour when left out"},
            }}),
            Self::CancelTask => json!({"type": "object", "required": ["task_id"], "properties": {
                "task_id": {"type": "string", "description": "Id of the task, as delegate_task said it"},
            }}),
            Self::ReadMail => json!({"type": "object", "properties": {
                "limit": {"type": "integer", "description": "At most so many; 10 when left out"},
            }}),
        }
    }
}
