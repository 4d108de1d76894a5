//! The parts of the API's resources that the verbs look at. Everything else passes through as text.

use serde::Deserialize;
use serde_json::Value;

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// Items, verbatim.
    pub data: Vec<Box<serde_json::value::RawValue>>,
    /// Cursor of the next page.
    pub next_page: Option<String>,
}

/// A session.
#[derive(Debug, Deserialize)]
pub struct Session {
    /// Id.
    pub id: String,
    /// `idle`, `running`, `rescheduling`, `terminated`.
    pub status: String,
    /// Title.
    pub title: Option<String>,
    /// Its agent as of its creation.
    pub agent: AgentSnapshot,
    /// Where its tools run.
    pub environment_id: String,
    /// Tokens.
    #[serde(default)]
    pub usage: Value,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// RFC 3339.
    pub archived_at: Option<String>,
    /// With `include=extensions` only.
    pub perennial: Option<SessionExtension>,
}

/// What is left of a deleted session.
#[derive(Debug, Deserialize)]
pub struct Deleted {
    /// Id.
    pub id: String,
}

/// What our server says beyond the adopted API.
#[derive(Debug, Deserialize)]
pub struct SessionExtension {
    /// Number of the last event.
    pub head: u64,
    /// Why it rests.
    pub stop_reason: Option<StopReason>,
    /// Set aside after too many attempts.
    pub quarantined: bool,
}

/// Why a session rests.
#[derive(Debug, Deserialize)]
pub struct StopReason {
    /// `end_turn`, `requires_action`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Tool uses it waits for.
    #[serde(default)]
    pub event_ids: Vec<String>,
}

impl Session {
    /// Number of the last event, as far as the server says.
    pub fn head(&self) -> u64 {
        self.perennial.as_ref().map_or(0, |extension| extension.head)
    }

    /// The status in the words of a person who waits for it.
    pub fn state(&self) -> &str {
        match &self.perennial {
            Some(SessionExtension { quarantined: true, .. }) => "quarantined",
            Some(SessionExtension {
                stop_reason: Some(stop),
                ..
            }) if self.status == "idle" && stop.kind == "requires_action" => "waiting",
            _ => &self.status,
        }
    }
}

/// What a session keeps of its agent.
#[derive(Debug, Deserialize)]
pub struct AgentSnapshot {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Version.
    pub version: u64,
    /// Model.
    pub model: Model,
    /// Left out when native.
    pub harness: Option<String>,
    /// Machines that are attached beside the environment.
    #[serde(default)]
    pub executors: Vec<Attached>,
}

/// A machine that is attached to a session.
#[derive(Debug, Deserialize)]
pub struct Attached {
    /// Id.
    pub executor_id: String,
    /// What the model calls it.
    pub name: String,
    /// A folder there.
    pub dir: Option<String>,
}

impl std::fmt::Display for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.executor_id)?;
        self.dir.iter().try_for_each(|dir| write!(f, " in {dir}"))
    }
}

/// A model.
#[derive(Debug, Deserialize)]
pub struct Model {
    /// Its name.
    pub id: String,
}

/// An agent.
#[derive(Debug, Deserialize)]
pub struct Agent {
    /// The definition.
    #[serde(flatten)]
    pub snapshot: AgentSnapshot,
    /// System prompt.
    pub system: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Tools.
    #[serde(default)]
    pub tools: Vec<Value>,
    /// Free pairs.
    #[serde(default)]
    pub metadata: Value,
    /// RFC 3339.
    pub updated_at: String,
    /// RFC 3339.
    pub archived_at: Option<String>,
}

/// An environment.
#[derive(Debug, Deserialize)]
pub struct Environment {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Where.
    pub config: EnvironmentConfig,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub archived_at: Option<String>,
}

/// Where an environment's hands are.
#[derive(Debug, Deserialize)]
pub struct EnvironmentConfig {
    /// `cloud`, `self_hosted`, `local`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The folder of a local one.
    pub dir: Option<String>,
    /// The machine of a local one, if it dialled in.
    pub executor_id: Option<String>,
}

/// What `POST …/events` answers.
#[derive(Debug, Deserialize)]
pub struct Sent {
    /// The stored events.
    pub data: Vec<SentEvent>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub struct SentEvent {
    /// Its id.
    pub id: String,
}
