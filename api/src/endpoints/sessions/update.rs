//! `POST /v1/sessions/{id}`: title and metadata at any time; what its turns run by (tools, and ours: model, harness, system
//! prompt) only while idle.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{Append, Authority, Guard, Projection, SessionPatch, SessionRow};
use perennial_schema::event::{Body, Draft, Raw, SessionUpdated};
use perennial_schema::limits::NAME_CHARS;
use serde::Deserialize;
use serde_json::Value;

use super::{budget, served, stored};
use crate::api::App;
use crate::auth::Principal;
use crate::body::{JsonBody, nullable};
use crate::endpoints::append;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;
use crate::wire::agent::Overrides;
use crate::wire::length;
use crate::wire::metadata::{self, Pairs, Patch};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    #[serde(default, deserialize_with = "nullable")]
    title: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    metadata: Option<Option<Patch>>,
    agent: Option<Overrides>,
    #[serde(default, deserialize_with = "nullable")]
    budget: Option<Option<Value>>,
    vault_ids: Option<Vec<String>>,
}

#[utoipa::path(post, path = "/v1/sessions/{session_id}", tag = "sessions", params(("session_id" = String, Path)),
    request_body = doc::SessionUpdate,
    responses((status = 200, description = "The session", body = doc::Session),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn update_session(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Update = body.parse()?;
    if input.vault_ids.as_ref().is_some_and(|vaults| !vaults.is_empty()) {
        return Err(ApiError::not_yet("vault_ids"));
    }
    let row = app.session(&principal, &id).await?;
    let given = input.budget.as_ref().map(|given| given.clone().unwrap_or_default());
    let ceiling = budget::read(given.as_ref())?;
    let mut patch = patch(&row, input)?;
    if let Some(ceiling) = &ceiling {
        let shown = ceiling.as_ref().map(|ceiling| ceiling.shown.clone());
        patch.budget = (shown != row.budget).then_some(shown);
    }
    let idempotency = repeatable.with(&body);
    let changes = patch != SessionPatch::default();
    if !changes && idempotency.is_none() {
        return Ok(served(&row));
    }
    let told = Draft::new(
        app.ports.ids.event(),
        Body::SessionUpdated(told(&patch)),
        app.ports.clock.now(),
    );
    if let (Some(ceiling), None) = (&ceiling, row.archived_at) {
        budget::change(&app, row.key, ceiling.as_ref()).await?;
    }
    let order = Append {
        key: row.key,
        append_id: app.ports.ids.append(),
        // An update that changes nothing says nothing, but its key is remembered.
        events: Vec::from_iter(changes.then_some(told)),
        authority: Authority::Client {
            guards: patch.agent.iter().map(|_| Guard::NotRunning).collect(),
            idempotency,
        },
        projection: Projection {
            patch,
            ..Projection::default()
        },
    };
    append(&app, order).await?;
    Ok(served(&app.reread(row.key).await?))
}

/// What really changes.
fn patch(row: &SessionRow, input: Update) -> Result<SessionPatch, ApiError> {
    if let Some(Some(title)) = &input.title {
        length("title", title, 0, NAME_CHARS)?;
    }
    let pairs: Pairs = row
        .metadata
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let merged = metadata::merge(pairs.clone(), input.metadata)?;
    let agent = match input.agent {
        Some(update) => Some(update.apply(row.agent.clone())?).filter(|agent| *agent != row.agent),
        None => None,
    };
    Ok(SessionPatch {
        title: input.title.filter(|title| *title != row.title),
        metadata: (merged != pairs).then(|| stored(merged)),
        agent,
        ..SessionPatch::default()
    })
}

fn told(patch: &SessionPatch) -> SessionUpdated {
    SessionUpdated {
        title: patch.title.as_ref().map(Raw::of),
        metadata: patch.metadata.as_ref().map(Raw::of),
        agent: patch.agent.as_ref().map(Raw::of),
        budget: patch.budget.as_ref().map(Raw::of),
    }
}
