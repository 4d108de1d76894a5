//! Traces of this process, to a collector over OTLP/HTTP. Off unless an endpoint is named, and never in anybody's way: what the
//! queue does not hold is dropped and counted, and so is what the collector does not take in a few attempts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use perennial_schema::Timestamp;
use perennial_telemetry::{Kind, Sink, Span, Value, names};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::{Origin, Otlp, Settings};

/// Spans that wait for the collector.
const QUEUE: usize = 8_192;
/// Spans of one request.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHERING: Duration = Duration::from_millis(500);
/// One request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a batch is offered, and the pause after the first attempt; it doubles.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// What is left is offered for so long when the process ends.
const LAST: Duration = Duration::from_secs(3);
/// Most bytes of a collector's answer that are read.
const ANSWER: usize = 64 * 1024;

/// Exports until it is closed.
pub struct Traces {
    closing: CancellationToken,
    exporting: Option<JoinHandle<()>>,
}

impl Traces {
    /// From now on spans of this process go where the settings say, if they say it.
    pub fn begin(settings: &Settings) -> Result<Self> {
        let closing = CancellationToken::new();
        let Some(otlp) = &settings.otlp else {
            return Ok(Self {
                closing,
                exporting: None,
            });
        };
        if let Some(reason) = &otlp.unusable {
            tracing::warn!(reason, "traces are not exported");
            return Ok(Self {
                closing,
                exporting: None,
            });
        }
        let refused = Arc::new(AtomicBool::new(false));
        let built = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(otlp, refused.clone())?)
            .with_endpoint(otlp.endpoint.value.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(PATIENCE)
            .build();
        let mut exporter = match built {
            Ok(exporter) => exporter,
            // Variables that are set for all programs of a machine keep none of them from starting.
            Err(error) if matches!(&otlp.endpoint.from, Origin::Variable(name) if name.starts_with("OTEL_")) => {
                tracing::warn!(%error, "traces are not exported");
                return Ok(Self {
                    closing,
                    exporting: None,
                });
            }
            Err(error) => return Err(error).with_context(|| format!("traces cannot go to {}", otlp.endpoint.value)),
        };
        exporter.set_resource(&resource(otlp.service.as_deref()));
        let (queue, waiting) = mpsc::channel(QUEUE);
        perennial_telemetry::install(Box::new(Queue(queue)));
        tracing::info!(endpoint = %otlp.endpoint.value, "traces are exported");
        let exporting = Exporting {
            exporter,
            refused,
            waiting,
            closing: closing.clone(),
            failing: false,
        };
        Ok(Self {
            closing,
            exporting: Some(tokio::spawn(exporting.run())),
        })
    }

    /// Offers what is left, for a short time.
    pub async fn close(self) {
        self.closing.cancel();
        if let Some(exporting) = self.exporting
            && timeout(LAST, exporting).await.is_err()
        {
            tracing::warn!("some traces were not exported: the collector did not take them in time");
        }
    }
}

fn resource(service: Option<&str>) -> Resource {
    // Beside what OTEL_RESOURCE_ATTRIBUTES says, which the builder reads.
    let mut resource = Resource::builder();
    if let Some(service) = service {
        resource = resource.with_service_name(service.to_owned());
    }
    resource
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build()
}

/// Where spans wait.
struct Queue(mpsc::Sender<Span>);

impl Sink for Queue {
    fn record(&self, span: Span) {
        if self.0.try_send(span).is_err() {
            dropped("queue_full", 1);
        }
    }
}

fn dropped(reason: &'static str, spans: usize) {
    metrics::counter!("perennial_spans_dropped_total", "reason" => reason).increment(spans as u64);
}

/// The task between the queue and the collector.
struct Exporting {
    exporter: SpanExporter,
    /// The collector will not take what it was offered last, however often.
    refused: Arc<AtomicBool>,
    waiting: mpsc::Receiver<Span>,
    closing: CancellationToken,
    /// The last batch was not taken; said once.
    failing: bool,
}

impl Exporting {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut open = true;
        while open {
            let first = tokio::select! {
                biased;
                first = self.waiting.recv() => first,
                () = self.closing.cancelled() => None,
            };
            match first {
                Some(first) => batch.push(first),
                None => open = false,
            }
            let until = Instant::now() + GATHERING;
            while batch.len() < BATCH {
                let more = tokio::select! {
                    biased;
                    more = timeout_at(until, self.waiting.recv()) => more.ok().flatten(),
                    () = self.closing.cancelled() => self.waiting.try_recv().ok(),
                };
                let Some(more) = more else { break };
                batch.push(more);
            }
            if !batch.is_empty() {
                self.export(&mut batch).await;
                // More may wait than one batch holds.
                open |= !self.waiting.is_empty();
            }
        }
    }

    async fn export(&mut self, batch: &mut Vec<Span>) {
        let count = batch.len();
        let spans: Vec<SpanData> = batch.drain(..).map(data).collect();
        let mut pause = PAUSE;
        for attempt in 1..=TRIES {
            let error = match self.exporter.export(spans.clone()).await {
                Ok(()) => {
                    metrics::counter!("perennial_spans_exported_total").increment(count as u64);
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("traces are exported again");
                    }
                    return;
                }
                Err(error) => error,
            };
            if attempt == TRIES || self.refused.load(Ordering::Relaxed) || self.closing.is_cancelled() {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, spans = count, "the collector does not take traces; they are dropped and counted");
                }
                break;
            }
            tokio::select! {
                () = self.closing.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause *= 2;
        }
        dropped("not_exported", count);
    }
}

/// A span as the exporter wants it.
fn data(span: Span) -> SpanData {
    let context = span.context;
    let flags = if context.sampled() {
        TraceFlags::SAMPLED
    } else {
        TraceFlags::default()
    };
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(context.trace().to_be_bytes()),
            SpanId::from_bytes(context.span().to_be_bytes()),
            flags,
            false,
            TraceState::default(),
        ),
        parent_span_id: span
            .parent
            .map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.to_be_bytes())),
        parent_span_is_remote: false,
        span_kind: match span.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
        },
        name: span.name,
        start_time: time(span.start),
        end_time: time(span.end),
        attributes: span
            .attributes
            .into_iter()
            .map(|(name, value)| match value {
                Value::Text(text) => KeyValue::new(name, text),
                Value::Number(number) => KeyValue::new(name, number),
                Value::Measure(measure) => KeyValue::new(name, measure),
                Value::Flag(flag) => KeyValue::new(name, flag),
            })
            .collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: match span.error {
            Some(error) => Status::error(error),
            None => Status::Unset,
        },
        instrumentation_scope: InstrumentationScope::builder(names::SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(names::SCHEMA_URL)
            .build(),
    }
}

fn time(at: Timestamp) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.micros()).unwrap_or(0))
}

/// The way to the collector: the HTTP client that everything else uses, which follows no redirect with its headers.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    headers: HeaderMap,
    refused: Arc<AtomicBool>,
}

impl Collector {
    fn new(otlp: &Otlp, refused: Arc<AtomicBool>) -> Result<Self> {
        let mut headers = HeaderMap::new();
        for (name, value) in &otlp.headers {
            let wrong = || format!("OTEL_EXPORTER_OTLP_HEADERS: {name:?} is no header, or its value can be none");
            let key: HeaderName = name.parse().with_context(wrong)?;
            let mut value = HeaderValue::from_str(value.expose_secret()).with_context(wrong)?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        let mut client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")));
        let url = reqwest::Url::parse(&otlp.endpoint.value);
        let host = url.with_context(|| format!("{}: no URL", otlp.endpoint.from))?;
        if matches!(host.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            // What stays on this machine goes through no proxy.
            client = client.no_proxy();
        }
        let client = client.build().context("cannot make an HTTP client")?;
        Ok(Self {
            client,
            headers,
            refused,
        })
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.refused.store(false, Ordering::Relaxed);
        let mut request: reqwest::Request = request.try_into()?;
        request.headers_mut().extend(self.headers.clone());
        let mut response = self.client.execute(request).await?;
        let status = response.status();
        if !status.is_success() {
            // The protocol says which answers mean "not now".
            let later = matches!(status.as_u16(), 429 | 502 | 503 | 504);
            self.refused.store(!later, Ordering::Relaxed);
            return Err(format!("the collector answered {status}").into());
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            if body.len() + piece.len() > ANSWER {
                return Err("the collector's answer is too long".into());
            }
            body.extend_from_slice(&piece);
        }
        Ok(Response::builder().status(status).body(body.into())?)
    }
}
