//! `GET /v1/environments/{id}/work/stats`: what a pool of workers is scaled by.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::WorkState;

use super::queue;
use super::supply::supply;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::work::Stats;

#[utoipa::path(get, path = "/v1/environments/{environment_id}/work/stats", tag = "work",
    params(("environment_id" = String, Path)),
    responses((status = 200, description = "How much waits, and for how many workers", body = doc::WorkStats),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn work_stats(State(app): State<App>, principal: Principal, Id(id): Id) -> Result<Response, ApiError> {
    let queue = queue(&app, principal, &id).await?;
    let (_, pieces) = supply(&app, queue).await?;
    let queued = || pieces.iter().filter(|piece| piece.state == WorkState::Queued);
    let stats = Stats {
        kind: "work_queue_stats",
        depth: queued().filter(|piece| !piece.is_pending()).count(),
        pending: queued().filter(|piece| piece.is_pending()).count(),
        oldest_queued_at: queued().map(|piece| piece.created_at).min(),
        workers_polling: app.ports.work.attending(queue).await?,
    };
    Ok(json(&stats))
}
