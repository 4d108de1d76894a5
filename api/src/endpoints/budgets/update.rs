//! `POST /v1/budgets/{id}`: another limit; sessions that rest for this budget try again in the same commit. Setting what is set
//! already is harmless, so a repetition needs no key.

use axum::extract::State;
use axum::response::Response;

use super::find;
use crate::accounts::Earlier;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::changed_nothing;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::budget::{Update, View};

#[utoipa::path(post, path = "/v1/budgets/{budget_id}", tag = "budgets", params(("budget_id" = String, Path)),
    request_body = doc::BudgetUpdate,
    responses((status = 200, description = "The budget", body = doc::Budget),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn update_budget(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Update = body.parse()?;
    let budget = find(&app, principal, &id).await?;
    let change = input.into_change(&budget)?;
    let idempotency = repeatable.with(&body);
    if let Some(idempotency) = &idempotency {
        let at = app.ports.clock.now();
        let accounts = &app.ports.accounts;
        if accounts.recalled(principal.workspace, idempotency, at).await?.is_some() {
            return Ok(json(&View::from(budget)));
        }
    }
    let changed = app
        .ports
        .metering
        .change_budget(principal.workspace, budget.id, change)
        .await?;
    let changed = changed.ok_or_else(|| ApiError::not_found("budget", &id))?;
    let made = Earlier {
        resource_id: id,
        version: 0,
    };
    changed_nothing(&app, principal, idempotency, made).await?;
    Ok(json(&View::from(changed)))
}
