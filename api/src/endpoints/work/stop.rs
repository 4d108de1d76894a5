//! `POST /v1/environments/{id}/work/{id}/stop`: forced, it is over; otherwise its worker is told at its next heartbeat.

use axum::extract::State;
use axum::response::Response;

use super::change;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::OfEnvironment;
use crate::respond::json;
use crate::wire::work::{Stop, WorkView};

#[utoipa::path(post, path = "/v1/environments/{environment_id}/work/{work_id}/stop", tag = "work",
    params(("environment_id" = String, Path), ("work_id" = String, Path)), request_body = doc::WorkStop,
    responses((status = 200, description = "The piece of work, which stops or has stopped", body = doc::Work),
    (status = 409, description = "It had stopped before", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn stop_work(
    State(app): State<App>,
    principal: Principal,
    at: OfEnvironment,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let force = body.parse::<Stop>()?.force.unwrap_or(false);
    let (work, done) = change(&app, principal, &at, |work, now| work.stop(force, now)).await?;
    done.map_err(|error| ApiError::conflict(error.to_string()))?;
    Ok(json(&WorkView::of(&work)))
}
