//! `POST /v1/sessions/{id}/fork {"at_seq"?, "at_event"?, "agent"?, "title"?}`: a new session that begins as a copy, also of
//! one that runs; it may go on with another model, harness or agent.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::kernel::{Command, State as Folded};
use perennial_engine::ports::{ForkFrom, NewSession, Projection, ReadFrom, Ready, SessionKey, SessionRow, StoreError};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::{Body, Draft, Event, Raw, SessionUpdated};
use perennial_schema::limits::{EVENT_PAGE_MAX, NAME_CHARS};
use perennial_schema::session::Status;
use serde::Deserialize;
use serde_json::Value;

use super::{agent, budget, served};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;
use crate::wire::length;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fork {
    at_seq: Option<u64>,
    at_event: Option<String>,
    agent: Option<Value>,
    title: Option<String>,
}

#[utoipa::path(post, path = "/v1/sessions/{session_id}/fork", tag = "sessions", params(("session_id" = String, Path)),
    request_body = doc::SessionFork,
    responses((status = 200, description = "The new session", body = doc::Session),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn fork_session(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Fork = body.parse()?;
    length("title", input.title.as_deref().unwrap_or_default(), 0, NAME_CHARS)?;
    let source = app.session(&principal, &id).await?;
    let at_seq = cut(&app, &source, &input).await?;
    let mut agent = match &input.agent {
        Some(given) => agent::another(&app, principal, given, source.agent.clone()).await?,
        None => source.agent.clone(),
    };
    // Another brain has the same hands.
    agent.executors.clone_from(&source.agent.executors);
    let state = folded(&app, source.key, at_seq).await?;
    let key = SessionKey {
        session: app.ports.ids.session(),
        ..source.key
    };
    let workspace = copy_workspace(&app, &source, key).await;
    let other = (agent != source.agent).then_some(&agent);
    let (events, projection) = tail(&app, &state, source.key, workspace, other)?;
    let ceiling = budget::stored(source.budget.as_ref());
    let new = NewSession {
        key,
        agent,
        environment_id: source.environment_id,
        environment: source.environment,
        title: input.title.or(source.title),
        metadata: source.metadata,
        resources: source.resources,
        vault_ids: source.vault_ids,
        // Usage and budget start anew (DESIGN §7).
        budget: source.budget,
        place: source.place.filter(|_| workspace != "empty"),
        events,
        projection,
        idempotency: repeatable.with(&body),
    };
    let from = ForkFrom {
        session: source.key.session,
        at_seq,
    };
    budget::prepare(&app, key, ceiling.as_ref()).await?;
    let made = app.ports.sessions.create(new, Some(from)).await;
    budget::settle(&app, key, ceiling.as_ref(), &made).await;
    let session = made.as_ref().map_or(source.key.session, |made| made.session);
    if session != key.session {
        // Refused, or an earlier request did it: the folder just copied belongs to nobody.
        app.ports.router.forget(key.session, source.place).await;
    }
    made?;
    Ok(served(&app.reread(SessionKey { session, ..key }).await?))
}

/// How many events are copied: up to a number, or up to and with an event.
async fn cut(app: &App, source: &SessionRow, input: &Fork) -> Result<u64, ApiError> {
    let Some(event) = &input.at_event else {
        let at_seq = input.at_seq.unwrap_or(source.head);
        if at_seq > source.head {
            return Err(ApiError::field(
                "at_seq",
                format!("{at_seq} is beyond the session's last event, {}", source.head),
            ));
        }
        return Ok(at_seq);
    };
    if input.at_seq.is_some() {
        return Err(ApiError::field(
            "at_event",
            "at_seq says already where to cut; give one of them",
        ));
    }
    let id = event.parse().map_err(|error| ApiError::field("at_event", error))?;
    match app.ports.log.event(source.key, id).await? {
        Some(record) => Ok(record.seq),
        None => Err(ApiError::field(
            "at_event",
            format!("no event {id} in session {}", source.key.session),
        )),
    }
}

/// The source's state at the cut.
async fn folded(app: &App, key: SessionKey, at_seq: u64) -> Result<Folded, ApiError> {
    let mut state = Folded::default();
    while state.seq < at_seq {
        let from = ReadFrom {
            after: state.seq,
            limit: EVENT_PAGE_MAX,
        };
        let records = app.ports.log.read(key, from).await?;
        if records.is_empty() {
            break;
        }
        let events: Vec<Event> = records
            .iter()
            .filter(|record| record.seq <= at_seq)
            .map(|record| {
                record.decode().map_err(|error| StoreError::Inconsistent {
                    table: "events",
                    key: format!("{} {}", key.session, record.seq),
                    message: format!("{error}: {}", error.source),
                })
            })
            .collect::<Result<_, _>>()?;
        state = state.fold(&events);
    }
    Ok(state)
}

/// What follows the copied rows, and the row's columns after it. A fork rests: whoever made it says what comes next.
fn tail(
    app: &App,
    state: &Folded,
    from: SessionKey,
    workspace: &'static str,
    other: Option<&AgentSnapshot>,
) -> Result<(Vec<Draft>, Projection), ApiError> {
    let command = Command::Fork {
        from: from.session,
        workspace,
    };
    let at = app.ports.clock.now();
    let mut events = state
        .decide(command, at, app.ports.ids.as_ref())
        .map_err(|error| ApiError::conflict(format!("the session cannot be forked here: {error}")))?;
    if let Some(other) = other {
        // Told where it takes effect: behind the copied rows, before whatever closes them.
        let told = SessionUpdated {
            agent: Some(Raw::of(&other.clone().without_secrets())),
            ..SessionUpdated::default()
        };
        let told = Draft::new(app.ports.ids.event(), Body::SessionUpdated(told), at);
        events.insert(1.min(events.len()), told);
    }
    let projection = rest(&events, state);
    Ok((events, projection))
}

/// The columns of a session that begins as a copy and rests.
pub(super) fn rest(events: &[Draft], state: &Folded) -> Projection {
    let mut projection = Projection::of(events);
    projection.status = Some(Status::Idle);
    if projection.stop_reason.is_none() {
        projection.stop_reason = Some(state.stop.clone());
    }
    projection.turn = Some(state.turn);
    projection.ready = Ready::Never;
    // Tokens were used by the other session.
    projection.usage = perennial_schema::model::Usage::default();
    projection
}

/// Copies the folder as it is now and says what became of it. A fork without its files is still a fork, so a failure is told,
/// not fatal.
async fn copy_workspace(app: &App, source: &SessionRow, to: SessionKey) -> &'static str {
    match &source.environment {
        EnvironmentConfig::SelfHosted => "empty",
        // A folder of the user's own: both sessions work in it.
        EnvironmentConfig::Local { dir: Some(_), .. }
        | EnvironmentConfig::Local {
            executor_id: Some(_), ..
        } => "shared",
        EnvironmentConfig::Local { .. } | EnvironmentConfig::Cloud { .. } => {
            match app
                .ports
                .router
                .copy_workspace(source.key.session, to.session, source.place)
                .await
            {
                Ok(()) => "copied",
                Err(error) => {
                    tracing::warn!(session.id = %source.key.session, %error, "a fork begins with an empty workspace");
                    "empty"
                }
            }
        }
    }
}
