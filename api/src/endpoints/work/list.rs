//! `GET /v1/environments/{id}/work`

use axum::extract::State;
use axum::response::Response;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};

use super::queue;
use super::supply::supply;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut, time_and_id};
use crate::path::Id;
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::work::WorkView;

#[utoipa::path(get, path = "/v1/environments/{environment_id}/work", tag = "work",
    params(("environment_id" = String, Path), doc::PageParams),
    responses((status = 200, description = "Newest first; what stopped is kept for a week", body = doc::WorkPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_work(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let queue = queue(&app, principal, &id).await?;
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let binding = Binding::new("work", queue.environment, false);
    let before = binding.read(&query)?.map(|place| time_and_id(&place)).transpose()?;
    supply(&app, queue).await?;
    let mut pieces = app.ports.work.list(queue, before, limit + 1).await?;
    let more = cut(&mut pieces, limit);
    let last = pieces.last().filter(|_| more);
    let next_page = last.map(|last| binding.write(&format!("{} {}", last.created_at.micros(), last.id)));
    let data: Vec<WorkView> = pieces.iter().map(WorkView::of).collect();
    Ok(json(&Page { data, next_page }))
}
