//! `POST /v1/agents`

use axum::extract::State;
use axum::response::Response;
use perennial_schema::AgentId;

use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::executors::attachments;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::respond::json;
use crate::wire::agent::Create;
use crate::wire::servers;

#[utoipa::path(post, path = "/v1/agents", tag = "agents", request_body = doc::AgentCreate, responses(
    (status = 200, description = "The agent, version 1", body = doc::Agent),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn create_agent(
    State(app): State<App>,
    principal: Principal,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Create = body.parse()?;
    let id = AgentId::from_uuid(app.ports.ids.uuid());
    let executors = attachments(&app, principal, "executors", input.executors()).await?;
    let mut agent = input.into_agent(id, app.ports.clock.now(), executors)?;
    servers::seal(&mut agent.snapshot, app.ports.seals.as_ref(), principal.workspace)?;
    let accounts = &app.ports.accounts;
    let made = accounts
        .create_agent(principal.workspace, agent, repeatable.with(&body))
        .await?;
    Ok(json(&made.resource))
}
