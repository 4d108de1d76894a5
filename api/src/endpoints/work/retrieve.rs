//! `GET /v1/environments/{id}/work/{id}`

use axum::extract::State;
use axum::response::Response;

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::OfEnvironment;
use crate::respond::json;
use crate::wire::work::WorkView;

#[utoipa::path(get, path = "/v1/environments/{environment_id}/work/{work_id}", tag = "work",
    params(("environment_id" = String, Path), ("work_id" = String, Path)),
    responses((status = 200, description = "The piece of work", body = doc::Work),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retrieve_work(
    State(app): State<App>,
    principal: Principal,
    at: OfEnvironment,
) -> Result<Response, ApiError> {
    let (_, work) = find(&app, principal, &at).await?;
    Ok(json(&WorkView::of(&work)))
}
