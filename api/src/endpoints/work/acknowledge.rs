//! `POST /v1/environments/{id}/work/{id}/ack`: whoever was handed it does it. A second time changes nothing.

use axum::extract::State;
use axum::response::Response;

use super::change;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::OfEnvironment;
use crate::respond::json;
use crate::wire::work::WorkView;

#[utoipa::path(post, path = "/v1/environments/{environment_id}/work/{work_id}/ack", tag = "work",
    params(("environment_id" = String, Path), ("work_id" = String, Path)),
    responses((status = 200, description = "The piece of work, which is starting", body = doc::Work),
    (status = 409, description = "It was not handed out, or somebody serves it", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn acknowledge_work(
    State(app): State<App>,
    principal: Principal,
    at: OfEnvironment,
) -> Result<Response, ApiError> {
    let ttl = u64::from(app.config.limits.work_lease) * 1000;
    let (work, done) = change(&app, principal, &at, |work, now| work.acknowledge(ttl, now)).await?;
    done.map_err(|error| ApiError::conflict(error.to_string()))?;
    Ok(json(&WorkView::of(&work)))
}
