//! `GET /v1/usage/requests`: one by one, latest first, as long as they are kept.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::TraceQuery;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut, time_and_id};
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::meter::TraceView;

#[utoipa::path(get, path = "/v1/usage/requests", tag = "usage", params(doc::PageParams, doc::TraceParams),
    responses((status = 200, description = "Latest first", body = doc::TracePage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn usage_requests(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    let binding = Binding::new("usage_requests", principal.workspace, false);
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let asked = TraceQuery {
        workspace: principal.workspace,
        session: query.parsed("session_id", "a session id")?,
        key: query.parsed("key_id", "a gateway key id")?,
        model: query.one("model").map(str::to_owned),
        from: query.time("from")?,
        to: query.time("to")?,
        cursor: binding.read(&query)?.map(|place| time_and_id(&place)).transpose()?,
        limit: limit + 1,
    };
    let mut traces = app.ports.metering.traces(asked).await?;
    let more = cut(&mut traces, limit);
    let last = traces.last().filter(|_| more);
    let next_page = last.map(|last| binding.write(&format!("{} {}", last.at.micros(), last.id)));
    let data: Vec<TraceView> = traces.into_iter().map(TraceView::from).collect();
    Ok(json(&Page { data, next_page }))
}
