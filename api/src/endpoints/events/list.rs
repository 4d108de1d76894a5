//! `GET /v1/sessions/{id}/events`: stored events, with `processed_at` of inputs filled in.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::EventFilter;
use perennial_schema::limits::EVENT_PAGE_MAX;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::EVENT_PAGE_DEFAULT;
use crate::openapi as doc;
use crate::page::{Binding, cut};
use crate::path::Id;
use crate::query::Query;
use crate::respond::page_text;

#[utoipa::path(get, path = "/v1/sessions/{session_id}/events", tag = "events",
    params(("session_id" = String, Path), doc::PageParams, doc::OrderParams, doc::CreatedParams, doc::EventParams, doc::IncludeParams),
    responses((status = 200, description = "Oldest first unless order=desc", body = doc::EventPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_events(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let row = app.session(&principal, &id).await?;
    let limit = query.limit(EVENT_PAGE_DEFAULT, EVENT_PAGE_MAX)?;
    let ascending = query.ascending(true)?;
    let binding = Binding::new("events", row.key.session, ascending);
    let filter = EventFilter {
        types: query.many("types")?.into_iter().map(str::to_owned).collect(),
        include_extensions: query.extensions()?,
        descending: !ascending,
        cursor: binding.read(&query)?.and_then(|position| position.parse().ok()),
        created: query.bounds("created_at")?,
        limit: limit + 1,
    };
    let mut records = app.ports.log.list(row.key, filter).await?;
    let more = cut(&mut records, limit);
    let next_page = records
        .last()
        .filter(|_| more)
        .map(|last| binding.write(&last.seq.to_string()));
    Ok(page_text(
        records.iter().map(|record| record.payload.as_str()),
        next_page.as_deref(),
    ))
}
