//! `DELETE /v1/budgets/{id}`: sessions that rest for it go on.

use axum::extract::State;
use axum::response::Response;

use super::budget_id;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::Deleted;

#[utoipa::path(delete, path = "/v1/budgets/{budget_id}", tag = "budgets", params(("budget_id" = String, Path)),
    responses((status = 200, description = "Gone", body = doc::Deleted),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn delete_budget(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let budget = budget_id(&id)?;
    if !app.ports.metering.delete_budget(principal.workspace, budget).await? {
        return Err(ApiError::not_found("budget", &id));
    }
    Ok(json(&Deleted {
        id,
        kind: "budget_deleted",
    }))
}
