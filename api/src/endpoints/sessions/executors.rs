//! `/v1/sessions/{id}/executors`: what is attached to a session beside its environment, while it is idle. Attaching one that is
//! attached changes its name and folder.

use axum::extract::{Path, State};
use axum::response::Response;
use perennial_engine::ports::{
    Append, AppendError, Authority, Guard, Idempotency, Projection, SessionPatch, SessionRow,
};
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::{Body, Draft, Raw, SessionUpdated};
use perennial_schema::limits::EXECUTORS;
use perennial_schema::{Attachment, ExecutorId};

use super::served;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::append;
use crate::endpoints::executors::{attachment, distinct, executor_id};
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::limits::APPEND_TRIES;
use crate::openapi as doc;
use crate::path::Id;
use crate::wire::attachment::Attach;
use crate::wire::count;

#[utoipa::path(post, path = "/v1/sessions/{session_id}/executors", tag = "sessions",
    params(("session_id" = String, Path)), request_body = doc::ExecutorAttach,
    responses((status = 200, description = "The session", body = doc::Session),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn attach_executor(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Attach = body.parse()?;
    let row = app.session(&principal, &id).await?;
    let next = attachment(&app, principal, input).await?;
    change(&app, row, repeatable.with(&body), |row, attached| {
        takes(&row.environment, next.executor_id)?;
        match attached.iter().position(|known| known.executor_id == next.executor_id) {
            Some(at) => drop(std::mem::replace(&mut attached[at], next.clone())),
            None => attached.push(next.clone()),
        }
        count("executors", attached.len(), EXECUTORS)?;
        let others: Vec<Attachment> = attached
            .iter()
            .filter(|known| known.executor_id != next.executor_id)
            .cloned()
            .collect();
        distinct(&others, &next).map_err(|problem| ApiError::field("name", problem))
    })
    .await
}

#[utoipa::path(delete, path = "/v1/sessions/{session_id}/executors/{executor_id}", tag = "sessions",
    params(("session_id" = String, Path), ("executor_id" = String, Path)),
    responses((status = 200, description = "The session", body = doc::Session),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn detach_executor(
    State(app): State<App>,
    principal: Principal,
    Path((id, executor)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let row = app.session(&principal, &id).await?;
    let gone = executor_id(&executor)?;
    let response = change(&app, row.clone(), None, |_, attached| {
        let before = attached.len();
        attached.retain(|known| known.executor_id != gone);
        match attached.len() == before {
            true => Err(ApiError::not_found("attached executor", &executor)),
            false => Ok(()),
        }
    })
    .await?;
    // Its shell there is not needed any more.
    app.ports.router.leave(row.key.session, gone).await;
    Ok(response)
}

/// Whether a session takes attached executors at all, and this one.
///
/// # Errors
/// 400 or 409.
pub(super) fn takes(environment: &EnvironmentConfig, executor: ExecutorId) -> Result<(), ApiError> {
    if *environment == EnvironmentConfig::SelfHosted {
        return Err(ApiError::bad_request(
            "tools of a self-hosted environment are run by its own worker, and by no executor",
        ));
    }
    if environment.executor() == Some(executor) {
        return Err(ApiError::conflict(
            "this executor is where the session's environment is already",
        ));
    }
    Ok(())
}

/// Changes what is attached. Nobody else's change is lost: the session is looked at again when it moved.
async fn change(
    app: &App,
    mut row: SessionRow,
    idempotency: Option<Idempotency>,
    change: impl Fn(&SessionRow, &mut Vec<Attachment>) -> Result<(), ApiError>,
) -> Result<Response, ApiError> {
    let mut tries = 1;
    loop {
        let mut agent = row.agent.clone();
        change(&row, &mut agent.executors)?;
        let changes = agent != row.agent;
        if !changes && idempotency.is_none() {
            return Ok(served(&row));
        }
        let told = Draft::new(
            app.ports.ids.event(),
            Body::SessionUpdated(SessionUpdated {
                agent: Some(Raw::of(&agent.clone().without_secrets())),
                ..SessionUpdated::default()
            }),
            app.ports.clock.now(),
        );
        let order = Append {
            key: row.key,
            append_id: app.ports.ids.append(),
            events: Vec::from_iter(changes.then_some(told)),
            authority: Authority::Client {
                guards: vec![Guard::NotRunning, Guard::Head(row.head)],
                idempotency: idempotency.clone(),
            },
            projection: Projection {
                patch: SessionPatch {
                    agent: changes.then_some(agent),
                    ..SessionPatch::default()
                },
                ..Projection::default()
            },
        };
        match append(app, order).await {
            Ok(_) => return Ok(served(&app.reread(row.key).await?)),
            Err(AppendError::Moved { .. }) if tries < APPEND_TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
        row = app.reread(row.key).await?;
    }
}
