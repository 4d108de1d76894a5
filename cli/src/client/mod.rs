//! The HTTP client of the verbs: finds the server, sends requests, turns its errors into ours.
//!
//! A POST carries an `Idempotency-Key`, so that one whose answer was lost is simply sent again.

mod find;
mod form;
mod limits;
pub mod mcp;
pub mod pages;
pub mod pending;
pub mod resources;
pub mod socket;
mod sse;
mod transfer;

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::config::Settings;
use crate::error::Error;
use crate::output;

pub use find::Server;
pub use sse::{Changes, Feed, Frame, MailFeed};
pub use transfer::Told;

/// A connection to a server.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    settings: Settings,
    /// How long to wait for a server that is not there (a restart) before giving up.
    patience: Duration,
}

/// A response body: the server's own text, which `--json` prints as it is.
#[derive(Clone, Debug)]
pub struct Body {
    what: String,
    text: String,
}

impl Body {
    /// The JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The body as a typed value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.text).map_err(|error| Error::Answer {
            what: self.what.clone(),
            detail: error.to_string(),
        })
    }
}

/// Query parameters.
pub type Query<'a> = &'a [(&'a str, String)];

impl Client {
    /// A client for the server the settings name. Gives up at once when it is not there.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        // The server sends a heartbeat at least every ten seconds; silence means the connection is dead.
        Self::with_silence(settings, limits::SILENCE)
    }

    /// The same for whole sessions: the server packs and unpacks folders before it says a word.
    pub fn for_files(settings: &Settings) -> Result<Self, Error> {
        Self::with_silence(settings, limits::FILE_SILENCE)
    }

    fn with_silence(settings: &Settings, silence: Duration) -> Result<Self, Error> {
        Ok(Self {
            http: http(&Server::find(settings)?, silence)?,
            settings: settings.clone(),
            patience: Duration::ZERO,
        })
    }

    /// The same, but it waits for a server that restarts.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.patience = limits::PATIENCE;
        self
    }

    /// Where the server is now; a restarted one may have another address.
    pub fn server(&self) -> Result<Server, Error> {
        Server::find(&self.settings)
    }

    /// What the server is known by on this machine, whatever address it has at the moment.
    pub fn place(&self) -> String {
        let named = self.settings.url.as_ref().map(|url| url.value.clone());
        named.unwrap_or_else(|| self.settings.data_dir.value.display().to_string())
    }

    /// `GET`.
    pub async fn get(&self, path: &str, query: Query<'_>) -> Result<Body, Error> {
        self.request(Method::GET, path, query, None).await
    }

    /// `POST`.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Body, Error> {
        self.request(Method::POST, path, &[], Some(body)).await
    }

    /// `PATCH`.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Body, Error> {
        self.request(Method::PATCH, path, &[], Some(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Result<Body, Error> {
        self.request(Method::DELETE, path, &[], None).await
    }

    async fn request(&self, method: Method, path: &str, query: Query<'_>, body: Option<&Value>) -> Result<Body, Error> {
        let key = (method == Method::POST).then(|| uuid::Uuid::now_v7().to_string());
        let mut retries = Retries::new(self.patience);
        loop {
            let answer = match self.server() {
                Ok(server) => self.attempt(&server, &method, path, query, body, key.as_deref()).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if retries.worthwhile(&error) => retries.pause().await,
                answer => return answer,
            }
        }
    }

    async fn attempt(
        &self,
        server: &Server,
        method: &Method,
        path: &str,
        query: Query<'_>,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Body, Error> {
        let what = format!("{method} {path}");
        let mut request = self
            .http
            .request(method.clone(), server.url(path))
            .headers(authorization(server)?)
            .query(query);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(server, what, request).await
    }

    /// Opens an event stream; the response's body is still to be read.
    async fn open(&self, path: &str, query: Query<'_>, last: Option<&str>) -> Result<reqwest::Response, Error> {
        let server = self.server()?;
        let mut request = self
            .http
            .get(server.url(path))
            .headers(authorization(&server)?)
            .header("accept", "text/event-stream")
            .query(query);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.map_err(|error| server.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let text = response.text().await.map_err(|error| server.unreachable(error))?;
        Err(refusal(status, &headers, &text))
    }
}

/// How requests to a server are sent.
fn http(server: &Server, silence: Duration) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(limits::CONNECT)
        .read_timeout(silence)
        .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")));
    if server.is_loopback() {
        // A proxy must not see, let alone fail, what stays on this machine.
        builder = builder.no_proxy();
    }
    if server.base.starts_with("http://") {
        // Without TLS no authorities are needed, and a small container may have none.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        Error::Failed(format!(
            "cannot set up the HTTP client: {}",
            crate::error::chain(&error)
        ))
    })
}

/// Registers this machine as an executor: the code in the body stands for a key. Safe to repeat, and repeated when the answer is
/// lost.
pub async fn register(server: &str, body: &Value) -> Result<Body, Error> {
    let server = Server::without_key(server);
    let http = http(&server, limits::SILENCE)?;
    let mut retries = Retries::new(Duration::ZERO);
    loop {
        let path = "/v1/executors/register";
        match answer(&server, format!("POST {path}"), http.post(server.url(path)).json(body)).await {
            Err(error) if retries.worthwhile(&error) => retries.pause().await,
            answer => return answer,
        }
    }
}

/// Sends a request and reads its answer.
async fn answer(server: &Server, what: String, request: reqwest::RequestBuilder) -> Result<Body, Error> {
    let response = request.send().await.map_err(|error| server.unreachable(error))?;
    let status = response.status();
    let headers = response.headers().clone();
    let text = response.text().await.map_err(|error| server.unreachable(error))?;
    if status.is_success() {
        return Ok(Body { what, text });
    }
    Err(refusal(status, &headers, &text))
}

fn authorization(server: &Server) -> Result<HeaderMap, Error> {
    let mut value = HeaderValue::from_str(server.key.expose_secret())
        .map_err(|_| Error::Usage("the key holds characters a header cannot carry".to_owned()))?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(
        reqwest::header::HeaderName::from_static("x-api-key"),
        value,
    )]))
}

/// The API's error shape, or the status alone when something else answered.
fn refusal(status: StatusCode, headers: &HeaderMap, text: &str) -> Error {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| body["error"][name].as_str().map(str::to_owned);
    let request_id = headers.get("request-id").and_then(|id| id.to_str().ok());
    Error::Api {
        status: status.as_u16(),
        kind: field("type").unwrap_or_else(|| "unknown".to_owned()),
        message: field("message").unwrap_or_else(|| format!("the server answered {status}")),
        request_id: request_id.map(str::to_owned),
    }
}

/// Bounded retries of requests that are safe to repeat.
pub(super) struct Retries {
    patience: Duration,
    since: Option<Instant>,
    attempts: u32,
}

impl Retries {
    pub(super) const fn new(patience: Duration) -> Self {
        Self {
            patience,
            since: None,
            attempts: 0,
        }
    }

    /// Whether the request may succeed a little later, and there is time left for that.
    pub(super) fn worthwhile(&mut self, error: &Error) -> bool {
        let absent = match error {
            Error::NoServer { .. } => true,
            Error::Unreachable { source, .. } => source.is_connect(),
            Error::Api {
                status: 429 | 502 | 503 | 504 | 529,
                ..
            } => false,
            _ => return false,
        };
        let first = *self.since.get_or_insert_with(Instant::now);
        // Without patience a server that is not there is an answer; a lost answer is still worth a few tries.
        first.elapsed() < self.patience || (!absent && self.attempts < limits::ATTEMPTS)
    }

    /// Waits a growing while.
    pub(super) async fn pause(&mut self) {
        if self.attempts == 1 && !self.patience.is_zero() {
            output::note("waiting for the server …");
        }
        let pause = limits::FIRST_PAUSE * 2u32.saturating_pow(self.attempts.min(16));
        self.attempts += 1;
        tokio::time::sleep(pause.min(limits::LONGEST_PAUSE)).await;
    }

    /// There is a connection again. The pauses shrink only when something arrives: a server that takes connections and
    /// closes them must not be hammered.
    pub(super) fn connected(&mut self) {
        if self.attempts > 1 {
            output::note("connected again");
        }
        self.since = None;
    }

    /// Something arrived.
    pub(super) const fn progress(&mut self) {
        self.attempts = 0;
    }
}
