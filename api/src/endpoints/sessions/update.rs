//! `POST /v1/sessions/{id}`: title and metadata at any time; what its turns run by (tools, and ours: model, harness, system
//! prompt) only while idle.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{
    Append, AppendError, Authority, Guard, Idempotency, Projection, SessionPatch, SessionRow,
};
use perennial_schema::event::{Body, Draft, Raw, SessionUpdated};
use perennial_schema::limits::NAME_CHARS;
use serde::Deserialize;
use serde_json::Value;

use super::agent::applied;
use super::{budget, served, stored};
use crate::api::App;
use crate::auth::Principal;
use crate::body::{JsonBody, nullable};
use crate::endpoints::append;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::limits::APPEND_TRIES;
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
    let mut row = app.session(&principal, &id).await?;
    let mut tries = 1;
    loop {
        match once(&app, &row, body.parse()?, repeatable.with(&body)).await {
            Ok(response) => return Ok(response),
            Err(Missed::Moved) if tries < APPEND_TRIES => tries += 1,
            Err(Missed::Moved) => return Err(AppendError::Moved { head: row.head }.into()),
            Err(Missed::Refused(error)) => return Err(error),
        }
        row = app.reread(row.key).await?;
    }
}

/// Why an attempt changed nothing.
enum Missed {
    /// The session went on since it was looked at.
    Moved,
    Refused(ApiError),
}

impl<E: Into<ApiError>> From<E> for Missed {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// One attempt. A change of its definition is one of the definition that was looked at: nobody else's is lost.
async fn once(
    app: &App,
    row: &SessionRow,
    input: Update,
    idempotency: Option<Idempotency>,
) -> Result<Response, Missed> {
    if input.vault_ids.as_ref().is_some_and(|vaults| !vaults.is_empty()) {
        return Err(ApiError::not_yet("vault_ids").into());
    }
    let given = input.budget.as_ref().map(|given| given.clone().unwrap_or_default());
    let ceiling = budget::read(given.as_ref())?;
    let mut patch = patch(app, row, input)?;
    if let Some(ceiling) = &ceiling {
        let shown = ceiling.as_ref().map(|ceiling| ceiling.shown.clone());
        patch.budget = (shown != row.budget).then_some(shown);
    }
    let changes = patch != SessionPatch::default();
    if !changes && idempotency.is_none() {
        return Ok(served(row));
    }
    let told = Draft::new(
        app.ports.ids.event(),
        Body::SessionUpdated(told(&patch)),
        app.ports.clock.now(),
    );
    if let (Some(ceiling), None) = (&ceiling, row.archived_at) {
        budget::change(app, row.key, ceiling.as_ref()).await?;
    }
    let guards = match patch.agent {
        Some(_) => vec![Guard::NotRunning, Guard::Head(row.head)],
        None => Vec::new(),
    };
    let order = Append {
        key: row.key,
        append_id: app.ports.ids.append(),
        // An update that changes nothing says nothing, but its key is remembered.
        events: Vec::from_iter(changes.then_some(told)),
        authority: Authority::Client { guards, idempotency },
        projection: Projection {
            patch,
            ..Projection::default()
        },
    };
    match append(app, order).await {
        Ok(_) => Ok(served(&app.reread(row.key).await?)),
        Err(AppendError::Moved { .. }) => Err(Missed::Moved),
        Err(error) => Err(error.into()),
    }
}

/// What really changes.
fn patch(app: &App, row: &SessionRow, input: Update) -> Result<SessionPatch, ApiError> {
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
        Some(update) => {
            Some(applied(app, row.key.workspace, update, row.agent.clone())?).filter(|agent| *agent != row.agent)
        }
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
        agent: patch.agent.clone().map(|agent| Raw::of(&agent.without_secrets())),
        budget: patch.budget.as_ref().map(Raw::of),
    }
}
