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
use crate::respond::json;
use crate::wire::executor::ExecutorView;

#[utoipa::path(get, path = "/v1/executors/{executor_id}", tag = "executors", params(("executor_id" = String, Path)),
    responses((status = 200, description = "The executor", body = doc::Executor),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retrieve_executor(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    Ok(json(&ExecutorView::from(find(&app, principal, &id).await?)))
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
