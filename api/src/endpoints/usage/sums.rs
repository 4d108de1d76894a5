//! `GET /v1/usage`: sums per day, model, session or agent.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{UsageBy, UsageQuery};
use perennial_schema::limits::PAGE_MAX;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::cut;
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::meter::UsageView;

#[utoipa::path(get, path = "/v1/usage", tag = "usage", params(doc::UsageParams),
    responses((status = 200, description = "The latest days first, otherwise what cost most", body = doc::UsagePage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn usage(State(app): State<App>, principal: Principal, query: Query) -> Result<Response, ApiError> {
    let by = match query.one("group_by") {
        None | Some("day") => UsageBy::Day,
        Some("model") => UsageBy::Model,
        Some("session") => UsageBy::Session,
        Some("agent") => UsageBy::Agent,
        Some(_) => return Err(ApiError::field("group_by", "must be one of day, model, session, agent")),
    };
    let limit = query.limit(PAGE_MAX, PAGE_MAX)?;
    let asked = UsageQuery {
        workspace: principal.workspace,
        by,
        from: query.time("from")?,
        to: query.time("to")?,
        limit: limit + 1,
    };
    let mut rows = app.ports.metering.usage(asked).await?;
    cut(&mut rows, limit);
    let data: Vec<UsageView> = rows.into_iter().map(UsageView::from).collect();
    Ok(json(&Page { data, next_page: None }))
}
