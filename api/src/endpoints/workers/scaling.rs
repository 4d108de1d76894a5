//! `GET /v1/scaling/{pool}`: the one number a pool is scaled by, for KEDA's metrics-api scaler and whatever else reads JSON; the
//! same as gauges at `/metrics`.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::Backlog;

use crate::api::App;
use crate::auth::Operator;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::worker::ScalingView;

/// All workers claim from one pool.
pub(crate) const POOL: &str = "default";

#[utoipa::path(get, path = "/v1/scaling/{pool}", tag = "operations", params(("pool" = String, Path,
        description = "`default`: all workers are one pool")),
    responses((status = 200, description = "How many sessions want a slot, and what there is", body = doc::Scaling),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn scaling(_: Operator, State(app): State<App>, Id(pool): Id) -> Result<Response, ApiError> {
    if pool != POOL {
        return Err(ApiError::not_found("pool", &pool));
    }
    let pool = &app.ports.pool;
    let (backlog, demand, workers) = tokio::try_join!(pool.backlog(), pool.demand(), pool.workers())?;
    Ok(json(&ScalingView::of(POOL, backlog, demand, &workers)))
}

/// The same for Prometheus.
pub(crate) fn gauge(backlog: &Backlog) {
    let number = |amount: u64| f64::from(u32::try_from(amount).unwrap_or(u32::MAX));
    metrics::gauge!("perennial_pool_wanted_slots").set(number(backlog.wanted_slots()));
    metrics::gauge!("perennial_pool_ready_sessions").set(number(backlog.ready));
    metrics::gauge!("perennial_pool_over_slots_sessions").set(number(backlog.over));
    metrics::gauge!("perennial_pool_held_sessions").set(number(backlog.held));
    metrics::gauge!("perennial_pool_oldest_ready_seconds").set(number(backlog.oldest_millis) / 1000.0);
    metrics::gauge!("perennial_pool_workers").set(number(backlog.workers));
    metrics::gauge!("perennial_pool_slots").set(number(backlog.slots));
}
