//! `GET /v1/executors/{id}`

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::Executor;
use perennial_schema::ExecutorId;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;
use crate::respond::json;
use crate::wire::executor::ExecutorView;

#[utoipa::path(get, path = "/v1/executors/{executor_id}", tag = "executors", params(("executor_id" = String, Path),
    ("refresh" = Option<bool>, Query, description = "Have it look at its machine again first")),
    responses((status = 200, description = "The executor", body = doc::Executor),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retrieve_executor(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let mut executor = find(&app, principal, &id).await?;
    if query.flag("refresh")? {
        let looked = app.ports.router.look_at(principal.workspace, executor.id).await;
        executor.card = Some(looked.map_err(|why| ApiError::conflict(why).code("executor_offline"))?);
    }
    Ok(json(&ExecutorView::from(executor)))
}

/// The executor, or 404.
pub(super) async fn find(app: &App, principal: Principal, id: &str) -> Result<Executor, ApiError> {
    let found = app
        .ports
        .executors
        .executor(principal.workspace, executor_id(id)?)
        .await?;
    found.ok_or_else(|| ApiError::not_found("executor", id))
}

/// An executor's id in a path.
pub(crate) fn executor_id(text: &str) -> Result<ExecutorId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("executor", text))
}
