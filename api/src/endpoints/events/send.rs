//! `POST /v1/sessions/{id}/events`: inputs, appended in one commit; the answer carries them as stored.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::kernel::admit;
use perennial_engine::ports::{Append, Appended, Authority, ReadFrom, SessionKey};
use perennial_schema::event::{Draft, Raw};
use perennial_schema::limits::EVENTS_PER_SEND;
use serde::Deserialize;

use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::append;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json_text;
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
        only: None,
    };
    let drafts = reader.drafts("events", &input.events)?;
    let projection = admit(&drafts);
    fail::fail_point!("api.send.before");
    let order = Append {
        key: row.key,
        append_id: app.ports.ids.append(),
        authority: Authority::Client {
            guards: guards(&drafts),
            idempotency: repeatable.with(&body),
        },
        events: drafts.clone(),
        projection,
    };
    let appended = append(&app, order).await?;
    fail::fail_point!("api.send.after");
    let payloads = if appended.replayed {
        stored(&app, row.key, &appended).await?
    } else {
        drafts.into_iter().map(|draft: Draft| draft.payload).collect()
    };
    Ok(json_text(format!("{{\"data\":[{}]}}", payloads.join(","))))
}

/// The events an earlier request under the same key appended.
async fn stored(app: &App, key: SessionKey, appended: &Appended) -> Result<Vec<String>, ApiError> {
    let from = ReadFrom {
        after: appended.first_seq.saturating_sub(1),
        limit: u32::try_from(EVENTS_PER_SEND).unwrap_or(u32::MAX),
    };
    let mut records = app.ports.log.read(key, from).await?;
    records.retain(|record| record.seq <= appended.last_seq);
    Ok(records.into_iter().map(|record| record.payload).collect())
}
