//! `GET /v1/executors`

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::ExecutorListing;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut, time_and_id};
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::executor::ExecutorView;

#[utoipa::path(get, path = "/v1/executors", tag = "executors", params(doc::PageParams),
    responses((status = 200, description = "Newest first", body = doc::ExecutorPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_executors(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    let binding = Binding::new("executors", principal.workspace, false);
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let listing = ExecutorListing {
        workspace: principal.workspace,
        cursor: binding.read(&query)?.map(|place| time_and_id(&place)).transpose()?,
        limit: limit + 1,
    };
    let mut executors = app.ports.executors.executors(listing).await?;
    let more = cut(&mut executors, limit);
    let last = executors.last().filter(|_| more);
    let next_page = last.map(|last| binding.write(&format!("{} {}", last.created_at.micros(), last.id)));
    let data: Vec<ExecutorView> = executors.into_iter().map(ExecutorView::from).collect();
    Ok(json(&Page { data, next_page }))
}
