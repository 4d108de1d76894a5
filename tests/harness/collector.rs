//! A collector of traces: takes OTLP over HTTP, and keeps what came.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
pub use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
pub use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Longest wait for a span.
const PATIENCE: Duration = Duration::from_secs(60);

/// A collector.
#[derive(Debug, Default)]
pub struct Collector {
    spans: Mutex<Vec<Span>>,
    schemas: Mutex<Vec<String>>,
    bytes: Mutex<Vec<u8>>,
    /// Something came, whatever became of it.
    pub came: Notify,
    refuses: bool,
}

async fn take(State(collector): State<Arc<Collector>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else {
        return StatusCode::BAD_REQUEST;
    };
    if collector.refuses {
        collector.came.notify_one();
        return StatusCode::BAD_REQUEST;
    }
    collector
        .bytes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend_from_slice(&body);
    for scoped in request
        .resource_spans
        .into_iter()
        .flat_map(|resource| resource.scope_spans)
    {
        collector
            .schemas
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(scoped.schema_url);
        collector
            .spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(scoped.spans);
    }
    collector.came.notify_one();
    StatusCode::OK
}

impl Collector {
    /// On a port of its own; its address. `refuses` takes nothing.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn open(refuses: bool) -> Result<(Arc<Self>, String)> {
        let collector = Arc::new(Self {
            refuses,
            ..Self::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((collector, url))
    }

    /// Waits until a span of this name came; then all of its trace that came so far.
    ///
    /// # Errors
    /// When none comes.
    pub async fn trace_of(&self, name: &str) -> Result<Vec<Span>> {
        let found = async {
            loop {
                let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(found) = spans.iter().find(|span| span.name == name) {
                    let trace = found.trace_id.clone();
                    return spans.into_iter().filter(|span| span.trace_id == trace).collect();
                }
                self.came.notified().await;
            }
        };
        timeout(PATIENCE, found)
            .await
            .with_context(|| format!("no span {name:?} came"))
    }
}

impl Collector {
    /// The versions of the conventions that were named.
    #[must_use]
    pub fn schemas(&self) -> Vec<String> {
        self.schemas.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything that came, as far as it is text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// An id as people write it.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
