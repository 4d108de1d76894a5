//! `POST /v1/sessions/{id}/events`: inputs, appended in one commit; the answer carries them as stored.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::kernel::admit;
use perennial_engine::ports::{
    Append, AppendError, Appended, Authority, Guard, Idempotency, Projection, ReadFrom, SessionKey, SessionRow,
};
use perennial_schema::event::{Body, Domain, Draft, InputProcessed, Raw, domain};
use perennial_schema::limits::EVENTS_PER_SEND;
use perennial_schema::session::{Status, StopReason};
use serde::Deserialize;

use super::again::stored_results;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::append;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json_text;
use crate::traced::Traced;
use crate::wire::event::{Reader, guards};

#[derive(Deserialize)]
struct Send {
    events: Vec<Raw>,
}

#[utoipa::path(post, path = "/v1/sessions/{session_id}/events", tag = "events", params(("session_id" = String, Path)),
    request_body = doc::EventsSend,
    responses((status = 200, description = "The events as stored, with their ids", body = doc::EventsSent),
    (status = 409, description = "Archived, or already answered", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn send_events(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    Traced(trace): Traced,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Send = body.parse()?;
    let row = app.session(&principal, &id).await?;
    if input.events.is_empty() {
        return Err(ApiError::field("events", "must hold at least one event"));
    }
    let reader = Reader {
        ids: app.ports.ids.as_ref(),
        at: app.ports.clock.now(),
        actor: principal.key.to_string(),
        environment: &row.environment,
        only: principal.scope.inputs(),
        trace,
    };
    let drafts = reader.drafts("events", &input.events)?;
    let idempotency = repeatable.with(&body);
    fail::fail_point!("api.send.before");
    let appended = match idle_interrupt(&app, &row, &drafts, idempotency.clone()).await? {
        Some(appended) => appended,
        None => {
            let order = Append {
                key: row.key,
                append_id: app.ports.ids.append(),
                authority: Authority::Client {
                    guards: guards(&drafts),
                    idempotency,
                },
                projection: admit(&drafts),
                events: drafts.clone(),
            };
            match append(&app, order).await {
                Err(AppendError::AlreadyAnswered(_)) if principal.scope.is_worker() => {
                    let payloads = stored_results(&app, row.key, &drafts).await?;
                    return Ok(sent(&payloads));
                }
                appended => appended?,
            }
        }
    };
    fail::fail_point!("api.send.after");
    let payloads = if appended.replayed {
        stored(&app, row.key, &appended).await?
    } else {
        drafts.into_iter().map(|draft: Draft| draft.payload).collect()
    };
    Ok(sent(&payloads))
}

fn sent(payloads: &[String]) -> Response {
    json_text(format!("{{\"data\":[{}]}}", payloads.join(",")))
}

/// Interrupts of a session at rest are processed on receipt: there is nothing to stop, so it does not seem to run meanwhile.
/// None when there is something else to it, or the session has begun to run.
async fn idle_interrupt(
    app: &App,
    row: &SessionRow,
    drafts: &[Draft],
    idempotency: Option<Idempotency>,
) -> Result<Option<Appended>, ApiError> {
    let interrupts = drafts.iter().all(|draft| matches!(draft.body, Body::UserInterrupt(_)));
    let parked = matches!(row.stop_reason, Some(StopReason::RequiresAction { .. }));
    if !interrupts || parked || row.held || row.hold.is_some() || row.served_status() != Status::Idle {
        return Ok(None);
    }
    let named = Body::InputProcessed(InputProcessed {
        event_ids: drafts.iter().map(|draft| draft.id).collect(),
    });
    let mut events = drafts.to_vec();
    events.push(Draft::new(app.ports.ids.event(), named, app.ports.clock.now()));
    let order = Append {
        key: row.key,
        append_id: app.ports.ids.append(),
        authority: Authority::Client {
            guards: vec![Guard::NotRunning],
            idempotency,
        },
        projection: Projection::of(&events),
        events,
    };
    match append(app, order).await {
        Err(AppendError::Running) => Ok(None),
        appended => Ok(Some(appended?)),
    }
}

/// The inputs an earlier request under the same key appended.
async fn stored(app: &App, key: SessionKey, appended: &Appended) -> Result<Vec<String>, ApiError> {
    let from = ReadFrom {
        after: appended.first_seq.saturating_sub(1),
        // One more for what names them.
        limit: u32::try_from(EVENTS_PER_SEND).map_or(u32::MAX, |most| most + 1),
    };
    let mut records = app.ports.log.read(key, from).await?;
    records.retain(|record| record.seq <= appended.last_seq && domain(&record.kind) == Domain::Input);
    Ok(records.into_iter().map(|record| record.payload).collect())
}
