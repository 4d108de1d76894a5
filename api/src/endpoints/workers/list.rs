//! `GET /v1/workers`

use axum::extract::State;
use axum::response::Response;

use crate::api::App;
use crate::auth::Operator;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::worker::WorkerView;

#[utoipa::path(get, path = "/v1/workers", tag = "operations",
    responses((status = 200, description = "Those that were heard of lately, longest here first; all on one page",
        body = doc::WorkerPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_workers(_: Operator, State(app): State<App>) -> Result<Response, ApiError> {
    let workers = app.ports.pool.workers().await?;
    let data: Vec<WorkerView> = workers.into_iter().map(WorkerView::from).collect();
    let next_page = None;
    Ok(json(&Page { data, next_page }))
}
