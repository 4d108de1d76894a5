//! `POST /v1/budgets`

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{BudgetScope, NewBudget, SessionKey};
use perennial_schema::BudgetId;

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::respond::json;
use crate::wire::budget::{Create, View};

#[utoipa::path(post, path = "/v1/budgets", tag = "budgets", request_body = doc::BudgetCreate, responses(
    (status = 200, description = "The budget", body = doc::Budget),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn create_budget(
    State(app): State<App>,
    principal: Principal,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Create = body.parse()?;
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    if let Some(earlier) = &once.earlier {
        return Ok(json(&View::from(find(&app, principal, earlier).await?)));
    }
    let budget = input.into_budget(BudgetId::from_uuid(once.id), principal.workspace)?;
    there(&app, &budget).await?;
    let made = app.ports.metering.create_budget(budget).await?;
    once.made(&app, made.id.to_string()).await?;
    Ok(json(&View::from(made)))
}

/// A budget for what is not there would never be used.
async fn there(app: &App, budget: &NewBudget) -> Result<(), ApiError> {
    let workspace = budget.workspace;
    let found = match budget.scope {
        BudgetScope::Workspace => true,
        BudgetScope::Key(id) => {
            let key = app.ports.metering.key(id).await?;
            key.is_some_and(|key| key.workspace == workspace)
        }
        BudgetScope::Session(session) => {
            let row = app.ports.sessions.get(SessionKey { workspace, session }).await?;
            row.is_some_and(|row| row.deleted_at.is_none())
        }
    };
    if found {
        Ok(())
    } else {
        Err(ApiError::field(
            "scope.id",
            "there is no such key or session in this workspace",
        ))
    }
}
