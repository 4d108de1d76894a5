//! `GET /v1/sessions/{id}/log?after=&limit=`, or `?tail=`: raw envelopes, every event, extensions too.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::ReadFrom;
use perennial_schema::limits::EVENT_PAGE_MAX;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::EVENT_PAGE_DEFAULT;
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;
use crate::respond::json_text;

#[utoipa::path(get, path = "/v1/sessions/{session_id}/log", tag = "sessions",
    params(("session_id" = String, Path), doc::LogParams),
    responses((status = 200, description = "Envelopes in order; go on with after=next_after", body = doc::LogPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn read_log(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let row = app.session(&principal, &id).await?;
    let after = match (
        query.parsed("after", "an event number")?,
        query.parsed::<u64>("tail", "a number of events")?,
    ) {
        (Some(_), Some(_)) => return Err(ApiError::field("tail", "goes without `after`")),
        (after, None) => after.unwrap_or(0),
        (None, Some(tail)) => row.head.saturating_sub(tail),
    };
    let limit = query.limit(EVENT_PAGE_DEFAULT, EVENT_PAGE_MAX)?;
    let records = app.ports.log.read(row.key, ReadFrom { after, limit }).await?;
    let envelopes: Vec<String> = records.iter().map(|record| record.envelope(row.key.session)).collect();
    // A page may be short of its limit because of its bytes; only the head says that this is the end.
    let next = records.last().map(|last| last.seq).filter(|seq| *seq < row.head);
    let next = next.map_or_else(|| "null".to_owned(), |seq| seq.to_string());
    Ok(json_text(format!(
        "{{\"data\":[{}],\"next_after\":{next}}}",
        envelopes.join(",")
    )))
}
