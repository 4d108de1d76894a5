//! Agents as clients write them: create and update bodies become a snapshot, checked and filled out.

use perennial_schema::agent::{Agent, AgentSnapshot, Harness, ModelConfig};
use perennial_schema::event::Raw;
use perennial_schema::limits::{DESCRIPTION_CHARS, NAME_CHARS, SYSTEM_CHARS};
use perennial_schema::mail::{Address, MailDesk};
use perennial_schema::{AgentId, Attachment, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::metadata::{self, Pairs, Patch};
use super::{length, servers, tools};
use crate::body::{nullable, part};
use crate::error::ApiError;
use crate::query::kind_of;

/// `POST /v1/agents`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    name: String,
    model: Value,
    system: Option<String>,
    description: Option<String>,
    tools: Option<Vec<Value>>,
    mcp_servers: Option<Vec<Value>>,
    skills: Option<Vec<Value>>,
    multiagent: Option<Value>,
    execution_identity: Option<Value>,
    metadata: Option<Pairs>,
    harness: Option<Harness>,
    mail: Option<Value>,
    executors: Option<Vec<Value>>,
}

/// `POST /v1/agents/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    /// Refused unless it is the newest.
    pub version: Option<u64>,
    name: Option<String>,
    model: Option<Value>,
    #[serde(default, deserialize_with = "nullable")]
    system: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    tools: Option<Option<Vec<Value>>>,
    #[serde(default, deserialize_with = "nullable")]
    mcp_servers: Option<Option<Vec<Value>>>,
    #[serde(default, deserialize_with = "nullable")]
    skills: Option<Option<Vec<Value>>>,
    multiagent: Option<Value>,
    execution_identity: Option<Value>,
    #[serde(default, deserialize_with = "nullable")]
    metadata: Option<Option<Patch>>,
    harness: Option<Harness>,
    #[serde(default, deserialize_with = "nullable")]
    mail: Option<Option<Value>>,
    #[serde(default, deserialize_with = "nullable")]
    executors: Option<Option<Vec<Value>>>,
}

impl Create {
    /// The executors it names.
    pub(crate) fn executors(&self) -> &[Value] {
        self.executors.as_deref().unwrap_or_default()
    }

    /// The agent this body describes, version 1, with the executors it names as they were found.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn into_agent(self, id: AgentId, at: Timestamp, executors: Vec<Attachment>) -> Result<Agent, ApiError> {
        no_multiagent(self.multiagent.as_ref())?;
        let mcp_servers = servers::servers("mcp_servers", &self.mcp_servers.unwrap_or_default())?;
        let snapshot = AgentSnapshot {
            id,
            kind: "agent".into(),
            version: 1,
            name: self.name,
            model: model("model", &self.model)?,
            system: self.system,
            description: self.description,
            tools: tools::tools("tools", &self.tools.unwrap_or_default(), &mcp_servers)?,
            mcp_servers,
            skills: tools::no_skills("skills", &self.skills.unwrap_or_default())?,
            multiagent: None,
            execution_identity: Some(identity(self.execution_identity.as_ref())?),
            harness: self.harness.unwrap_or_default(),
            mail: self.mail.as_ref().map(desk).transpose()?,
            executors,
        };
        check(&snapshot)?;
        let metadata = self.metadata.unwrap_or_default();
        metadata::check(&metadata)?;
        Ok(Agent {
            snapshot,
            metadata,
            created_at: at,
            updated_at: at,
            archived_at: None,
        })
    }
}

impl Update {
    /// The executors it names, if it does; null clears.
    pub(crate) fn executors(&self) -> Option<&[Value]> {
        self.executors
            .as_ref()
            .map(|given| given.as_deref().unwrap_or_default())
    }

    /// The agent after this update, one version on, with the executors it names as they were found; none when nothing changes.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn apply(
        self,
        current: &Agent,
        at: Timestamp,
        executors: Option<Vec<Attachment>>,
    ) -> Result<Option<Agent>, ApiError> {
        no_multiagent(self.multiagent.as_ref())?;
        let mut next = current.clone();
        let snapshot = &mut next.snapshot;
        snapshot.name = self.name.unwrap_or_else(|| snapshot.name.clone());
        if let Some(harness) = self.harness {
            snapshot.harness = harness;
        }
        if let Some(mail) = &self.mail {
            snapshot.mail = mail.as_ref().map(desk).transpose()?;
        }
        if let Some(executors) = executors {
            snapshot.executors = executors;
        }
        snapshot.system = self.system.unwrap_or_else(|| snapshot.system.clone());
        snapshot.description = self.description.unwrap_or_else(|| snapshot.description.clone());
        if let Some(given) = &self.model {
            snapshot.model = model("model", given)?;
        }
        if self.execution_identity.is_some() {
            snapshot.execution_identity = Some(identity(self.execution_identity.as_ref())?);
        }
        if let Some(skills) = self.skills {
            snapshot.skills = tools::no_skills("skills", &skills.unwrap_or_default())?;
        }
        replace_tools(snapshot, "", self.mcp_servers, self.tools)?;
        check(snapshot)?;
        next.metadata = metadata::merge(next.metadata, self.metadata)?;
        if next == *current {
            return Ok(None);
        }
        next.snapshot.version += 1;
        next.updated_at = at;
        Ok(Some(next))
    }
}

/// What a session changes of its own copy of an agent: when it is made, between its turns, or in a fork.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overrides {
    #[serde(default, deserialize_with = "nullable")]
    pub model: Option<Option<Value>>,
    #[serde(default, deserialize_with = "nullable")]
    pub system: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    pub tools: Option<Option<Vec<Value>>>,
    #[serde(default, deserialize_with = "nullable")]
    pub mcp_servers: Option<Option<Vec<Value>>>,
    #[serde(default, deserialize_with = "nullable")]
    pub skills: Option<Option<Vec<Value>>>,
    #[serde(default, deserialize_with = "nullable")]
    pub harness: Option<Option<Harness>>,
}

impl Overrides {
    /// Omitted = inherited; null or [] clears; a value replaces the whole. A model cannot be cleared, a cleared harness is
    /// the native one.
    ///
    /// # Errors
    /// 400 naming the field under `agent.`.
    pub(crate) fn apply(self, mut snapshot: AgentSnapshot) -> Result<AgentSnapshot, ApiError> {
        match &self.model {
            None => {}
            Some(Some(given)) => snapshot.model = model("agent.model", given)?,
            Some(None) => {
                return Err(ApiError::field(
                    "agent.model",
                    "a model cannot be cleared; leave it out to inherit",
                ));
            }
        }
        if let Some(harness) = self.harness {
            snapshot.harness = harness.unwrap_or_default();
        }
        if let Some(system) = self.system {
            snapshot.system = system;
        }
        if let Some(skills) = self.skills {
            snapshot.skills = tools::no_skills("agent.skills", &skills.unwrap_or_default())?;
        }
        replace_tools(&mut snapshot, "agent.", self.mcp_servers, self.tools)?;
        check(&snapshot)?;
        Ok(snapshot)
    }
}

/// Replaces tools and servers where given (null and [] clear), keeping them consistent with each other.
///
/// # Errors
/// 400 naming the field under `prefix`.
pub(crate) fn replace_tools(
    snapshot: &mut AgentSnapshot,
    prefix: &str,
    given: Option<Option<Vec<Value>>>,
    toolsets: Option<Option<Vec<Value>>>,
) -> Result<(), ApiError> {
    let given_servers = given.is_some();
    if let Some(given) = given {
        snapshot.mcp_servers = servers::servers(&format!("{prefix}mcp_servers"), &given.unwrap_or_default())?;
    }
    let path = format!("{prefix}tools");
    if let Some(toolsets) = toolsets {
        snapshot.tools = tools::tools(&path, &toolsets.unwrap_or_default(), &snapshot.mcp_servers)?;
    } else if given_servers {
        // The tools that stay must still find their servers.
        let kept: Vec<Value> = snapshot
            .tools
            .iter()
            .filter_map(|tool| serde_json::to_value(tool).ok())
            .collect();
        snapshot.tools = tools::tools(&path, &kept, &snapshot.mcp_servers)?;
    }
    Ok(())
}

/// The bounds every version keeps.
///
/// # Errors
/// 400 naming the field.
pub(crate) fn check(snapshot: &AgentSnapshot) -> Result<(), ApiError> {
    length("name", &snapshot.name, 1, NAME_CHARS)?;
    if snapshot.mail.is_some() {
        Address::of("agent", &snapshot.name).map_err(|_| {
            ApiError::field(
                "name",
                "an agent that takes mail is addressed by its name: 1 to 128 letters, digits, -, _ and .",
            )
        })?;
    }
    length(
        "description",
        snapshot.description.as_deref().unwrap_or_default(),
        0,
        DESCRIPTION_CHARS,
    )?;
    length(
        "system",
        snapshot.system.as_deref().unwrap_or_default(),
        0,
        SYSTEM_CHARS,
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelInput {
    id: String,
    speed: Option<Speed>,
    effort: Option<Value>,
    inference_geo: Option<String>,
}

#[derive(Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Speed {
    Standard,
    Fast,
}

const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// A model is a name or an object; it is always stored and shown as an object.
///
/// # Errors
/// 400 naming the field under `path`.
pub(crate) fn model(path: &str, given: &Value) -> Result<ModelConfig, ApiError> {
    let input = match given {
        Value::String(id) => ModelInput {
            id: id.clone(),
            speed: None,
            effort: None,
            inference_geo: None,
        },
        Value::Object(_) => part(given, path)?,
        other => {
            return Err(ApiError::field(
                path,
                format!("expected a model name or an object with id, not {}", kind_of(other)),
            ));
        }
    };
    length(&format!("{path}.id"), &input.id, 1, NAME_CHARS)?;
    Ok(ModelConfig {
        id: input.id,
        speed: input.speed.map(|speed| Raw::of(&speed)),
        effort: input
            .effort
            .filter(|effort| !effort.is_null())
            .map(|given| effort(path, &given))
            .transpose()?,
        inference_geo: input.inference_geo.map(|geo| Raw::of(&geo)),
    })
}

/// Effort is a word or `{"type": word}`; shown as the object.
fn effort(path: &str, given: &Value) -> Result<Raw, ApiError> {
    let word = given.as_str().or_else(|| given.get("type").and_then(Value::as_str));
    match word.filter(|word| EFFORTS.contains(word)) {
        Some(word) => Ok(Raw::of(&json!({"type": word}))),
        None => Err(ApiError::field(
            format!("{path}.effort"),
            format!("expected one of {}", EFFORTS.join(", ")),
        )),
    }
}

/// How an agent takes mail.
fn desk(given: &Value) -> Result<MailDesk, ApiError> {
    part(given, "mail")
}

fn no_multiagent(given: Option<&Value>) -> Result<(), ApiError> {
    match given {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(ApiError::not_yet("multiagent")),
    }
}

/// Only the default identity exists here; strict clients want it shown.
fn identity(given: Option<&Value>) -> Result<Raw, ApiError> {
    let service = json!({"type": "service_account"});
    match given {
        None | Some(Value::Null) => Ok(Raw::of(&service)),
        Some(value) if *value == service => Ok(Raw::of(&service)),
        Some(_) => Err(ApiError::field(
            "execution_identity",
            "only {\"type\": \"service_account\"} is supported by this server",
        )),
    }
}
