//! `DELETE /v1/executors/{id}`: its token opens nothing from now on, and its tunnel is cut. Sessions that named it keep their
//! environment, and are told that it is not connected. A sandbox goes with its executor, and its session gets another one.

use axum::extract::State;
use axum::response::Response;

use super::executor_id;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::Deleted;

#[utoipa::path(delete, path = "/v1/executors/{executor_id}", tag = "executors", params(("executor_id" = String, Path)),
    responses((status = 200, description = "Removed", body = doc::Deleted),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn remove_executor(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let executor = executor_id(&id)?;
    if !app.ports.executors.remove(principal.workspace, executor).await? {
        return Err(ApiError::not_found("executor", &id));
    }
    if let Some(tunnels) = &app.config.tunnels {
        tunnels.removed(executor);
        tunnels.discard(executor).await?;
    }
    Ok(json(&Deleted {
        id,
        kind: "executor_deleted",
    }))
}
