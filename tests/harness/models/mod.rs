//! Scripted model servers: what Anthropic and OpenAI are to a test. On a loopback port of their own, strict as the vendors
//! are: each request is validated ([`validate`]), and what a vendor would refuse gets status 400 and is kept as a violation.
//!
//! Answers are those pushed with [`ModelServer::push`], in order; when there are none, the server obeys the rehearsal script
//! in the newest prompt, so that whole conversations need no set-up.

mod anthropic;
mod openai;
mod reply;
mod script;
pub mod validate;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use futures_util::stream;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use reply::{Answer, Reply};
pub use validate::Issued;

/// Whose API a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Responses.
    OpenAi,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Headers.
    pub headers: HeaderMap,
    /// The body, verbatim.
    pub raw: String,
    /// The body, parsed; null if it is not JSON.
    pub body: Value,
    /// When it was complete.
    pub at: Instant,
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct ModelServer {
    base_url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    vendor: Vendor,
    log: Mutex<Log>,
    abandoned: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Log {
    queue: VecDeque<Reply>,
    requests: Vec<Received>,
    violations: Vec<String>,
    issued: Issued,
    answers: u64,
    failed: HashMap<(String, usize), usize>,
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ModelServer {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no loopback port.
    pub async fn start(vendor: Vendor) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let (path, base_url) = match vendor {
            Vendor::Anthropic => ("/v1/messages", origin),
            Vendor::OpenAi => ("/v1/responses", format!("{origin}/v1")),
        };
        let shared = Arc::new(Shared {
            vendor,
            log: Mutex::default(),
            abandoned: watch::Sender::new(0),
        });
        let router = Router::new()
            .route(path, axum::routing::post(answer))
            .with_state(shared.clone());
        let router = router.layer(axum::extract::DefaultBodyLimit::max(64 * 1024 * 1024));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("a scripted model server ended: {error}");
            }
        });
        Ok(Self { base_url, shared, task })
    }

    /// What `ANTHROPIC_BASE_URL` or `OPENAI_BASE_URL` is to be.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// When the newest request was complete.
    #[must_use]
    pub fn last_arrival(&self) -> Option<Instant> {
        self.shared.log().requests.last().map(|request| request.at)
    }

    /// Answers the next request that has no answer yet.
    pub fn push(&self, reply: impl Into<Reply>) {
        self.shared.log().queue.push_back(reply.into());
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.shared.log().requests.clone()
    }

    /// What a vendor would have refused, in words.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.shared.log().violations.clone()
    }

    /// Waits until this many answers were left by the client before their end.
    ///
    /// # Errors
    /// When that takes more than ten seconds.
    pub async fn abandoned(&self, count: usize) -> Result<()> {
        let mut abandoned = self.shared.abandoned.subscribe();
        tokio::time::timeout(Duration::from_secs(10), abandoned.wait_for(|now| *now >= count)).await??;
        Ok(())
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to answer: a refusal of what is wrong, what was pushed, or what the script in the prompt says.
    fn reply(&self, headers: HeaderMap, raw: String) -> Vec<Frame> {
        // Before anything is checked: what is timed is the server under test.
        let at = Instant::now();
        let body: Value = serde_json::from_str(&raw).unwrap_or_default();
        let mut log = self.log();
        let log = &mut *log;
        let refusal = self.refusal(&headers, &body, &log.issued);
        log.requests.push(Received {
            at,
            headers,
            raw,
            body: body.clone(),
        });
        let reply = match refusal {
            Some(reply) => {
                if let Reply::Status { status: 400, body, .. } = &reply {
                    log.violations.push(body.clone());
                }
                reply
            }
            None => log
                .queue
                .pop_front()
                .unwrap_or_else(|| script::reply(self.vendor, &body, &mut log.failed)),
        };
        match reply {
            Reply::Status { status, headers, body } => vec![Frame::Head { status, headers }, Frame::data(body)],
            Reply::Answer(answer) => {
                log.answers += 1;
                let events = match self.vendor {
                    Vendor::Anthropic => anthropic::events(&answer, log.answers, &mut log.issued),
                    Vendor::OpenAi => openai::events(&answer, log.answers, &mut log.issued),
                };
                let stream = ("content-type".to_owned(), "text/event-stream".to_owned());
                let head = Frame::Head {
                    status: 200,
                    headers: vec![stream],
                };
                std::iter::once(head)
                    .chain(answer.with_faults(self.vendor, events))
                    .collect()
            }
        }
    }

    fn refusal(&self, headers: &HeaderMap, body: &Value, issued: &Issued) -> Option<Reply> {
        let bearer = headers
            .get(header::AUTHORIZATION)
            .is_some_and(|value| value.as_bytes().starts_with(b"Bearer "));
        let key = headers.get("x-api-key").is_some_and(|value| !value.is_empty());
        let (authorized, checked) = match self.vendor {
            Vendor::Anthropic if !headers.contains_key("anthropic-version") => {
                (true, Err("anthropic-version: header is required".into()))
            }
            Vendor::Anthropic => (key || bearer, validate::anthropic(body, issued)),
            Vendor::OpenAi => (bearer, validate::openai(body, issued)),
        };
        if !authorized {
            return Some(Reply::error(401, "authentication_error", "no key"));
        }
        checked
            .err()
            .map(|problem| Reply::error(400, "invalid_request_error", &problem))
    }
}

/// A piece of an answer.
#[derive(Debug)]
pub(crate) enum Frame {
    /// Status and headers; always first.
    Head {
        status: u16,
        headers: Vec<(String, String)>,
    },
    /// Bytes, after a pause.
    Data { text: String, pause: Duration },
    /// The connection breaks.
    Cut,
}

impl Frame {
    fn data(text: String) -> Self {
        Self::Data {
            text,
            pause: Duration::ZERO,
        }
    }
}

/// Frames still to be sent; says so when it is dropped with some left.
struct Sending {
    frames: VecDeque<Frame>,
    shared: Arc<Shared>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.frames.is_empty() {
            self.shared.abandoned.send_modify(|count| *count += 1);
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut frames: VecDeque<Frame> = shared
        .reply(headers, String::from_utf8_lossy(&body).into_owned())
        .into();
    let mut response = Response::new(Body::empty());
    if let Some(Frame::Head { status, headers }) = frames.pop_front() {
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (header::HeaderName::try_from(name), value.parse()) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    let frames = stream::unfold(Sending { frames, shared }, |mut sending| async move {
        let pause = match sending.frames.front()? {
            Frame::Data { pause, .. } => *pause,
            _ => Duration::ZERO,
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        match sending.frames.pop_front()? {
            Frame::Data { text, .. } => Some((Ok(text), sending)),
            Frame::Cut | Frame::Head { .. } => {
                sending.frames.clear();
                Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), sending))
            }
        }
    });
    *response.body_mut() = Body::from_stream(frames);
    response
}
