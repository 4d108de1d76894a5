//! `PATCH /v1/executors/{id}`: another name. The same request twice is the same as once, so it needs no key.

use axum::extract::State;
use axum::response::Response;

use super::executor_id;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::executor::{ExecutorView, Rename};

#[utoipa::path(patch, path = "/v1/executors/{executor_id}", tag = "executors", params(("executor_id" = String, Path)),
    request_body = doc::ExecutorRename, responses((status = 200, description = "The executor", body = doc::Executor),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn rename_executor(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let name = body.parse::<Rename>()?.read()?;
    let registry = &app.ports.executors;
    let renamed = registry.rename(principal.workspace, executor_id(&id)?, &name).await?;
    let renamed = renamed.ok_or_else(|| ApiError::not_found("executor", &id))?;
    Ok(json(&ExecutorView::from(renamed)))
}
