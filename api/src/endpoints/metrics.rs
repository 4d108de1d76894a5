//! `GET /metrics`: Prometheus text. Needs a key: counts tell a stranger what goes on here.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};

use crate::api::App;
use crate::endpoints::workers;
use crate::telemetry::PROMETHEUS;

#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    metrics::gauge!("perennial_feeds_open").set(f64::from(u32::try_from(app.hub.open()).unwrap_or(u32::MAX)));
    match app.ports.pool.backlog().await {
        Ok(backlog) => workers::gauge(&backlog),
        Err(error) => tracing::warn!(%error, "the pool's gauges are old: its backlog could not be counted"),
    }
    let text = app.config.metrics.as_ref().map(|handle| {
        handle.run_upkeep();
        handle.render()
    });
    let mut response = text.unwrap_or_default().into_response();
    let kind = HeaderValue::from_static(PROMETHEUS);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
