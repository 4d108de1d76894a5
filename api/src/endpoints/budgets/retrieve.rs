//! `GET /v1/budgets/{id}`

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::Budget;
use perennial_schema::BudgetId;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::budget::View;

#[utoipa::path(get, path = "/v1/budgets/{budget_id}", tag = "budgets", params(("budget_id" = String, Path)),
    responses((status = 200, description = "The budget", body = doc::Budget),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retrieve_budget(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    Ok(json(&View::from(find(&app, principal, &id).await?)))
}

/// The budget, or 404.
pub(crate) async fn find(app: &App, principal: Principal, id: &str) -> Result<Budget, ApiError> {
    let found = app.ports.metering.budget(principal.workspace, budget_id(id)?).await?;
    found.ok_or_else(|| ApiError::not_found("budget", id))
}

/// A budget id in a path.
pub(crate) fn budget_id(text: &str) -> Result<BudgetId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("budget", text))
}
