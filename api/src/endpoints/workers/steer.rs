//! `PATCH /v1/workers/{id}`: whether a worker claims sessions, and whether it keeps those it has. The same request twice is the
//! same as once, so it needs no key.

use axum::extract::State;
use axum::response::Response;
use perennial_schema::OwnerId;

use crate::api::App;
use crate::auth::Operator;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::worker::{Steer, WorkerView};

#[utoipa::path(patch, path = "/v1/workers/{worker_id}", tag = "operations", params(("worker_id" = String, Path)),
    request_body = doc::WorkerSteer, responses((status = 200, description = "The worker; it hears of it within seconds",
        body = doc::Worker),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn steer_worker(
    _: Operator,
    State(app): State<App>,
    Id(id): Id,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let standing = body.parse::<Steer>()?.read()?;
    let missing = || ApiError::not_found("worker", &id);
    let owner: OwnerId = id.parse().map_err(|_| missing())?;
    let steered = app.ports.pool.steer(owner, standing).await?;
    Ok(json(&WorkerView::from(steered.ok_or_else(missing)?)))
}
