//! `POST /v1/sessions`: the agent's definition is copied into the session; its first events come in the same commit.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{NewSession, Projection, Ready, SessionKey, SessionMetadata};
use perennial_schema::Attachment;
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::{Environment, EnvironmentConfig};
use perennial_schema::event::Raw;
use perennial_schema::limits::{EXECUTORS, NAME_CHARS};
use serde::Deserialize;
use serde_json::Value;

use super::{agent, budget, served, takes};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::executors::{attachments, distinct};
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::traced::Traced;
use crate::wire::event::Reader;
use crate::wire::length;
use crate::wire::metadata::{self, Pairs};
use crate::wire::resource;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    agent: Value,
    environment_id: String,
    title: Option<String>,
    metadata: Option<Pairs>,
    initial_events: Option<Vec<Raw>>,
    resources: Option<Vec<Value>>,
    vault_ids: Option<Vec<String>>,
    budget: Option<Value>,
    /// Ours; left out, those of the agent and of the environment.
    executors: Option<Vec<Value>>,
}

#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = doc::SessionCreate,
    responses((status = 200, description = "The session", body = doc::Session),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn create_session(
    State(app): State<App>,
    principal: Principal,
    Traced(trace): Traced,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Create = body.parse()?;
    unsupported(&input)?;
    let ceiling = budget::read(input.budget.as_ref())?.flatten();
    length("title", input.title.as_deref().unwrap_or_default(), 0, NAME_CHARS)?;
    let pairs = input.metadata.unwrap_or_default();
    metadata::check(&pairs)?;
    let mut agent = agent::snapshot(&app, principal, &input.agent).await?;
    let environment = environment(&app, principal, &input.environment_id).await?;
    agent.executors = match &input.executors {
        Some(given) => {
            let given = attachments(&app, principal, "executors", given).await?;
            let mut all = given
                .iter()
                .map(|attached| takes(&environment.config, attached.executor_id));
            all.try_for_each(|taken| taken)?;
            given
        }
        None => unless_said(&agent, &environment.config),
    };
    let reader = Reader {
        ids: app.ports.ids.as_ref(),
        at: app.ports.clock.now(),
        actor: principal.key.to_string(),
        environment: &environment.config,
        only: Some(&["user.message", "user.define_outcome"]),
        trace,
    };
    let events = reader.drafts("initial_events", &input.initial_events.unwrap_or_default())?;
    let projection = Projection {
        ready: if events.is_empty() { Ready::Keep } else { Ready::Now },
        ..Projection::default()
    };
    let key = SessionKey {
        workspace: principal.workspace,
        session: app.ports.ids.session(),
    };
    let resources = resource::read(&app, key, input.resources.as_deref().unwrap_or_default()).await?;
    let new = NewSession {
        key,
        agent,
        environment_id: environment.id,
        environment: environment.config,
        title: input.title,
        metadata: stored(pairs),
        resources,
        vault_ids: Vec::new(),
        budget: ceiling.as_ref().map(|ceiling| ceiling.shown.clone()),
        place: None,
        events,
        projection,
        idempotency: repeatable.with(&body),
    };
    budget::prepare(&app, key, ceiling.as_ref()).await?;
    let made = app.ports.sessions.create(new, None).await;
    budget::settle(&app, key, ceiling.as_ref(), &made).await;
    let made = made?;
    let key = SessionKey {
        session: made.session,
        ..key
    };
    Ok(served(&app.reread(key).await?))
}

/// What is attached when the client does not say: what the agent brings, then what the environment does.
fn unless_said(agent: &AgentSnapshot, environment: &EnvironmentConfig) -> Vec<Attachment> {
    let mut all: Vec<Attachment> = Vec::new();
    for next in agent.executors.iter().chain(environment.executors()) {
        // Of two that are called the same, the agent's is meant.
        if takes(environment, next.executor_id).is_ok() && distinct(&all, next).is_ok() {
            all.push(next.clone());
        }
    }
    all.truncate(EXECUTORS);
    all
}

/// Parts of the adopted API that would be silently ignored: refused instead.
fn unsupported(input: &Create) -> Result<(), ApiError> {
    if input.vault_ids.as_ref().is_some_and(|vaults| !vaults.is_empty()) {
        return Err(ApiError::not_yet("vault_ids"));
    }
    Ok(())
}

/// Metadata in the session row's type.
pub(crate) fn stored(pairs: Pairs) -> SessionMetadata {
    pairs
        .into_iter()
        .map(|(key, value)| (key, Value::String(value)))
        .collect()
}

/// An environment that takes sessions.
pub(super) async fn environment(app: &App, principal: Principal, id: &str) -> Result<Environment, ApiError> {
    let environment = id.parse().map_err(|error| ApiError::field("environment_id", error))?;
    let found = app.ports.accounts.environment(principal.workspace, environment).await?;
    let found = found.ok_or_else(|| ApiError::not_found("environment", id))?;
    if found.archived_at.is_some() {
        return Err(ApiError::field(
            "environment_id",
            "the environment is archived and takes no new sessions",
        )
        .code("environment_archived"));
    }
    Ok(found)
}
