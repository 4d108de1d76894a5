//! The tools of `/mcp`: sessions, agents as peers, and executors.

mod agents;
mod delegate_task;
pub(super) mod executors;
#[cfg(feature = "failpoints")]
pub(super) mod fixtures;
mod inbox;
mod send_message;
pub(super) mod session;
mod sessions;
mod wait;

use perennial_router::mcp::{McpAsked, McpOffer};
use perennial_schema::tool::Effect;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::caller::Caller;

/// What a model reads of what was done.
pub(super) type Done = Value;

/// A tool that does not depend on what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    ListAgents,
    DelegateTask,
    Wait,
    SendMessage,
    Inbox,
    CreateSession,
    ListSessions,
    Send,
    ReadEvents,
    Interrupt,
}

impl Tool {
    pub(super) const ALL: [Self; 10] = [
        Self::ListAgents,
        Self::DelegateTask,
        Self::Wait,
        Self::SendMessage,
        Self::Inbox,
        Self::CreateSession,
        Self::ListSessions,
        Self::Send,
        Self::ReadEvents,
        Self::Interrupt,
    ];

    pub(super) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::ListAgents => "list_agents",
            Self::DelegateTask => "delegate_task",
            Self::Wait => "wait",
            Self::SendMessage => "send_message",
            Self::Inbox => "inbox",
            Self::CreateSession => "create_session",
            Self::ListSessions => "list_sessions",
            Self::Send => "send",
            Self::ReadEvents => "read_events",
            Self::Interrupt => "interrupt",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::ListAgents => {
                "The agents of this server: what they are for, and where they take mail and tasks, if they do."
            }
            Self::DelegateTask => {
                "Gives a task to an agent that takes mail. It works by itself; `wait` with the `to` and `message_id` that come back \
                 tells what became of it."
            }
            Self::Wait => {
                "Waits until a session has nothing more to do, and tells what it said. For a session: its id, and the `after` that \
                 `create_session`, `send` or an earlier `wait` gave. For a task: its `to` and `message_id`. When the time is over \
                 first, wait again with the `after` that comes back."
            }
            Self::SendMessage => "Mail to an agent (agent/NAME), a session (session/ID) or a queue (queue/NAME).",
            Self::Inbox => "Takes the mail out of a queue. What is shown is gone from there.",
            Self::CreateSession => "Begins a session of an agent, and says the first thing in it if there is one.",
            Self::ListSessions => "The sessions there are, newest first.",
            Self::Send => "Says something in a session. It works on it by itself; `wait` tells what it answered.",
            Self::ReadEvents => "The log of a session: everything that was said and done in it, in order.",
            Self::Interrupt => "Stops what a session does now. It can go on when something is said in it.",
        }
    }

    fn input_schema(self) -> Value {
        let text = |what: &str| json!({"type": "string", "description": what});
        let number = |what: &str| json!({"type": "integer", "description": what});
        let session = text("sesn_…");
        match self {
            Self::ListAgents => object(&[], json!({})),
            Self::DelegateTask => object(
                &["to", "prompt"],
                json!({"to": text("agent/NAME"), "prompt": text("What is to be done, with all that is needed for it")}),
            ),
            Self::Wait => object(
                &[],
                json!({"session_id": session, "to": text("Whom the task was given to"), "message_id": text("The task: msg_…"),
                    "after": number("Events up to this number are known already"),
                    "timeout": number("Seconds, 120 when left out, 600 at most")}),
            ),
            Self::SendMessage => object(
                &["to", "content"],
                json!({"to": text("agent/NAME, session/ID or queue/NAME"), "content": text("What it says"),
                    "subject": text("One line"), "in_reply_to": text("Id of the message it answers"),
                    "reply_to": text("queue/NAME, where `inbox` finds answers")}),
            ),
            Self::Inbox => object(
                &["queue"],
                json!({"queue": text("NAME of queue/NAME"), "limit": number("Messages at most, 10 when left out"),
                    "wait": number("Seconds to wait for the first one")}),
            ),
            Self::CreateSession => object(
                &["agent"],
                json!({"agent": text("Its id, or its name"), "environment_id": text("Where its tools run; the newest when left out"),
                    "prompt": text("The first thing to say"), "title": text("For people")}),
            ),
            Self::ListSessions => object(
                &[],
                json!({"status": {"type": "string", "enum": ["idle", "running", "rescheduling", "terminated"]},
                    "limit": number("20 when left out")}),
            ),
            Self::Send => object(
                &["session_id", "text"],
                json!({"session_id": session, "text": text("What to say")}),
            ),
            Self::ReadEvents => object(
                &["session_id"],
                json!({"session_id": session, "after": number("Events up to this number are left out"),
                    "limit": number("100 when left out")}),
            ),
            Self::Interrupt => object(&["session_id"], json!({"session_id": session})),
        }
    }

    const fn effect(self) -> Effect {
        match self {
            Self::ListAgents | Self::Wait | Self::ListSessions | Self::ReadEvents => Effect::Read,
            Self::Interrupt => Effect::Idempotent,
            Self::DelegateTask | Self::SendMessage | Self::Inbox | Self::CreateSession | Self::Send => Effect::Once,
        }
    }

    pub(super) fn offer(self) -> McpOffer {
        McpOffer {
            name: self.name().to_owned(),
            description: self.description().to_owned(),
            input_schema: self.input_schema(),
            effect: self.effect(),
        }
    }

    pub(super) async fn run(self, caller: &Caller, asked: McpAsked) -> Result<Done, String> {
        match self {
            Self::ListAgents => agents::list(caller).await,
            Self::DelegateTask => delegate_task::run(caller, input(asked.arguments)?).await,
            Self::Wait => wait::run(caller, asked).await,
            Self::SendMessage => send_message::run(caller, input(asked.arguments)?).await,
            Self::Inbox => inbox::run(caller, input(asked.arguments)?).await,
            Self::CreateSession => sessions::create(caller, input(asked.arguments)?).await,
            Self::ListSessions => sessions::list(caller, input(asked.arguments)?).await,
            Self::Send => sessions::send(caller, input(asked.arguments)?).await,
            Self::ReadEvents => sessions::read(caller, input(asked.arguments)?).await,
            Self::Interrupt => sessions::interrupt(caller, input(asked.arguments)?).await,
        }
    }
}

fn object(required: &[&str], properties: Value) -> Value {
    let mut schema = json!({"type": "object", "required": required});
    schema["properties"] = properties;
    schema
}

/// What a model gave.
fn input<T: DeserializeOwned>(arguments: Value) -> Result<T, String> {
    serde_json::from_value(arguments).map_err(|error| format!("the input does not fit: {error}"))
}
