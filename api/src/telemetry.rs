//! Metrics of the HTTP edge. Labels come from closed sets: routes, methods, status classes.

use std::sync::OnceLock;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::get;
pub use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

use crate::endpoints::health;

/// The content type of what Prometheus reads.
pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The process's metrics as Prometheus prints them; installs the recorder on the first call.
pub fn prometheus() -> Option<PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
                .and_then(PrometheusBuilder::install_recorder)
                .inspect_err(|error| tracing::warn!(%error, "metrics are not available"))
                .ok()
        })
        .clone()
}

/// The `/metrics` and `/healthz` of a process without an API, for whoever reaches its listener: numbers, and no names but those of
/// models' providers.
pub fn operations(metrics: PrometheusHandle) -> Router {
    let render = async move || {
        metrics.run_upkeep();
        ([(CONTENT_TYPE, PROMETHEUS)], metrics.render())
    };
    Router::new()
        .route("/metrics", get(render))
        .route("/healthz", get(health::healthz))
        .fallback(async || StatusCode::NOT_FOUND)
}

/// Counts and times a request under its route (never its path, which has ids in it).
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let method = method(&request);
    let begun = Instant::now();
    let response = next.run(request).await;
    let class = match response.status().as_u16() {
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    metrics::counter!("perennial_http_requests_total", "route" => route.clone(), "method" => method, "class" => class)
        .increment(1);
    metrics::histogram!("perennial_http_request_seconds", "route" => route, "method" => method).record(begun.elapsed());
    response
}

fn method(request: &Request) -> &'static str {
    match request.method().as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
