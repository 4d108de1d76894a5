//! By which definition a session runs: an agent of the workspace, one with overrides, or what the session has, changed.

use perennial_schema::agent::{AgentSnapshot, Harness};
use perennial_schema::{AgentId, WorkspaceId};
use serde::Deserialize;
use serde_json::Value;

use crate::api::App;
use crate::auth::Principal;
use crate::body::{nullable, part};
use crate::error::ApiError;
use crate::query::kind_of;
use crate::wire::agent::Overrides;
use crate::wire::servers;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentInput {
    id: String,
    #[serde(rename = "type")]
    _kind: String,
    version: Option<u64>,
    #[serde(default, deserialize_with = "nullable")]
    model: Option<Option<Value>>,
    #[serde(default, deserialize_with = "nullable")]
    system: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    tools: Option<Option<Vec<Value>>>,
    #[serde(default, deserialize_with = "nullable")]
    mcp_servers: Option<Option<Vec<Value>>>,
    #[serde(default, deserialize_with = "nullable")]
    skills: Option<Option<Vec<Value>>>,
    #[serde(default, deserialize_with = "nullable")]
    harness: Option<Option<Harness>>,
}

impl AgentInput {
    fn split(self) -> (String, Option<u64>, Overrides) {
        let overrides = Overrides {
            model: self.model,
            system: self.system,
            tools: self.tools,
            mcp_servers: self.mcp_servers,
            skills: self.skills,
            harness: self.harness,
        };
        (self.id, self.version, overrides)
    }
}

/// The definition a session will run by: an id, an id with a version, or either with overrides.
pub(super) async fn snapshot(app: &App, principal: Principal, given: &Value) -> Result<AgentSnapshot, ApiError> {
    let (given_id, version, overrides) = match given {
        Value::String(id) => (id.clone(), None, Overrides::default()),
        Value::Object(_) => reference(given)?.split(),
        other => {
            return Err(ApiError::field(
                "agent",
                format!("expected an agent id or an object with id, not {}", kind_of(other)),
            ));
        }
    };
    let id: AgentId = given_id.parse().map_err(|error| ApiError::field("agent.id", error))?;
    let agent = app.ports.accounts.agent(principal.workspace, id, version).await?;
    let agent = agent.ok_or_else(|| match version {
        Some(version) => ApiError::not_found("agent", &format!("{id} version {version}")),
        None => ApiError::not_found("agent", &given_id),
    })?;
    if agent.archived_at.is_some() {
        return Err(ApiError::field(
            "agent",
            "the agent is archived and takes no new sessions",
        ));
    }
    applied(app, principal.workspace, overrides, agent.snapshot)
}

/// With these changes, of which nothing secret is readable.
pub(super) fn applied(
    app: &App,
    workspace: WorkspaceId,
    overrides: Overrides,
    current: AgentSnapshot,
) -> Result<AgentSnapshot, ApiError> {
    let mut snapshot = overrides.apply(current)?;
    servers::seal(&mut snapshot, app.ports.seals.as_ref(), workspace)?;
    Ok(snapshot)
}

/// Another agent, or the one a session has with changes: an object that names no agent changes the one there is.
pub(super) async fn another(
    app: &App,
    principal: Principal,
    given: &Value,
    current: AgentSnapshot,
) -> Result<AgentSnapshot, ApiError> {
    let names_one = given.get("id").is_some() || given.get("type").is_some();
    if given.is_object() && !names_one {
        return applied(app, principal.workspace, part::<Overrides>(given, "agent")?, current);
    }
    snapshot(app, principal, given).await
}

fn reference(given: &Value) -> Result<AgentInput, ApiError> {
    let overrides = match given.get("type").and_then(Value::as_str) {
        Some("agent") => false,
        Some("agent_with_overrides") => true,
        _ => return Err(ApiError::field("agent.type", "expected agent or agent_with_overrides")),
    };
    let input: AgentInput = part(given, "agent")?;
    let extra = ["model", "system", "tools", "mcp_servers", "skills", "harness"]
        .into_iter()
        .find(|name| !overrides && given.get(name).is_some());
    match extra {
        Some(name) => Err(ApiError::field(
            format!("agent.{name}"),
            "overrides need \"type\": \"agent_with_overrides\"",
        )),
        None => Ok(input),
    }
}
