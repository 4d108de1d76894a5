//! `POST /v1/agents/{id}`: the next version, unless nothing changes.

use axum::extract::State;
use axum::response::Response;
use perennial_schema::AgentId;
use perennial_schema::agent::Agent;

use crate::accounts::{AccountsError, Earlier};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::executors::attachments;
use crate::endpoints::{agent_id, changed_nothing};
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::agent::Update;
use crate::wire::servers;

/// How often an update without an expected version is applied to a newer one.
const TRIES: u32 = 5;

#[utoipa::path(post, path = "/v1/agents/{agent_id}", tag = "agents", params(("agent_id" = String, Path)),
    request_body = doc::AgentUpdate,
    responses((status = 200, description = "The newest version", body = doc::Agent),
    (status = 409, description = "`version` is not the newest", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn update_agent(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let agent = agent_id(&id)?;
    let idempotency = repeatable.with(&body);
    let accounts = &app.ports.accounts;
    let at = app.ports.clock.now();
    if let Some(idempotency) = &idempotency
        && let Some(earlier) = accounts.recalled(principal.workspace, idempotency, at).await?
        && let Some(agent) = accounts
            .agent(principal.workspace, agent, Some(earlier.version))
            .await?
    {
        return Ok(json(&agent));
    }
    for _ in 0..TRIES {
        let input: Update = body.parse()?;
        let expected = input.version;
        let current = current(&app, principal, agent, &id, expected).await?;
        let executors = match input.executors() {
            Some(given) => Some(attachments(&app, principal, "executors", given).await?),
            None => None,
        };
        let Some(mut next) = input.apply(&current, at, executors)? else {
            let made = Earlier::agent(agent, current.snapshot.version);
            changed_nothing(&app, principal, idempotency, made).await?;
            return Ok(json(&current));
        };
        servers::seal(&mut next.snapshot, app.ports.seals.as_ref(), principal.workspace)?;
        let put = accounts
            .put_agent_version(principal.workspace, next, idempotency.clone())
            .await;
        match put {
            Ok(made) => return Ok(json(&made.resource)),
            Err(AccountsError::VersionMoved) if expected.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AccountsError::VersionMoved.into())
}

async fn current(
    app: &App,
    principal: Principal,
    agent: AgentId,
    id: &str,
    expected: Option<u64>,
) -> Result<Agent, ApiError> {
    let current = app.ports.accounts.agent(principal.workspace, agent, None).await?;
    let current = current.ok_or_else(|| ApiError::not_found("agent", id))?;
    if current.archived_at.is_some() {
        return Err(ApiError::bad_request("the agent is archived and takes no more changes"));
    }
    match expected {
        Some(version) if version != current.snapshot.version => Err(ApiError::conflict(format!(
            "version: {version} is not the newest, {} is; read the agent again and repeat the update",
            current.snapshot.version
        ))),
        _ => Ok(current),
    }
}
