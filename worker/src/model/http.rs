//! The way to a model: one POST, a stream of server-sent events. Requests of the native loop go through the model gateway, which
//! has the providers' keys and counts them; a harness that speaks for its process dials the address it was given. Says what a
//! failure means, but not to whom: bodies, keys and prompts are never logged.

use std::error::Error as _;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::{Event, EventStreamError, Eventsource as _};
use futures_util::{Stream, StreamExt as _};
use perennial_engine::ports::{BudgetRefusal, ModelError, Payer};
use perennial_gateway::{Answer, Ask, BUDGET, BUDGET_NEED, BUDGET_RESETS, Body, Caller, Cut, Forward, Kind, Refusal};
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::Timeouts;
use super::error::{self, Class};

/// Most bytes of one streamed response.
const RESPONSE_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of an error response that are read.
const ERROR_BYTES: usize = 64 * 1024;

/// The client all adapters share. Made on first use: loading the system's certificates takes time and memory that a server
/// without a key need not spend.
#[derive(Debug)]
pub(crate) struct Http {
    timeouts: Timeouts,
    client: OnceLock<Client>,
}

/// A gateway's provider.
#[derive(Clone)]
pub(crate) struct Via {
    pub(crate) gateway: Arc<dyn Forward>,
    /// As it is called there.
    pub(crate) provider: String,
}

impl std::fmt::Debug for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Via")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The provider's name, for messages.
    pub(crate) who: &'static str,
    /// The whole URL.
    pub(crate) url: String,
    /// Kept out of every message.
    pub(crate) key: SecretString,
    /// Below `/v1`.
    path: String,
    via: Option<Via>,
}

impl Endpoint {
    /// `base` with or without a final slash; `path` begins with one.
    pub(crate) fn new(who: &'static str, base: &str, path: &str, key: SecretString) -> Self {
        Self {
            who,
            url: format!("{}{path}", base.trim_end_matches('/')),
            key,
            path: path.strip_prefix("/v1").unwrap_or(path).to_owned(),
            via: None,
        }
    }

    /// The same by way of a gateway, which has the key.
    pub(crate) fn through(mut self, via: Via) -> Self {
        self.via = Some(via);
        self.key = SecretString::default();
        self
    }

    /// A header that carries the key, or a prefix and the key; none for an empty key.
    pub(crate) fn key_header(&self, prefix: &str) -> Result<Option<HeaderValue>, ModelError> {
        let key = self.key.expose_secret().trim();
        if key.is_empty() {
            return Ok(None);
        }
        let mut value = HeaderValue::from_str(&format!("{prefix}{key}")).map_err(|_| {
            error::unusable(format!(
                "the API key for {} has characters no key can have; set it again",
                self.who
            ))
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// A failure without the key in it.
    pub(crate) fn without_key(&self, mut error: ModelError) -> ModelError {
        error.message = self.scrubbed(error.message);
        error
    }

    /// Takes the key out of a message a provider may have put it in.
    fn scrubbed(&self, message: String) -> String {
        let key = self.key.expose_secret().trim();
        if key.len() >= 8 && message.contains(key) {
            message.replace(key, "[the API key]")
        } else {
            message
        }
    }
}

impl Http {
    pub(crate) fn new(timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            client: OnceLock::new(),
        }
    }

    fn client(&self) -> Result<&Client, ModelError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .http1_only()
            .connect_timeout(self.timeouts.connect)
            .read_timeout(self.timeouts.idle)
            // A redirect would carry the key to another place.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error::unusable(format!("cannot make an HTTP client: {}", chain(&error))))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Sends a request to the address itself, and waits for the beginning of the answer.
    pub(crate) async fn post(
        &self,
        endpoint: &Endpoint,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Events, ModelError> {
        self.post_for(None, endpoint, headers, body).await
    }

    /// Sends a request at somebody's expense, and waits for the beginning of the answer.
    pub(crate) async fn post_for(
        &self,
        payer: Option<Payer>,
        endpoint: &Endpoint,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Events, ModelError> {
        let answer = match (&endpoint.via, payer) {
            (Some(via), Some(payer)) => {
                let path = format!("/v1{}", endpoint.path);
                let ask = Ask::post(&via.provider, &path, headers, body);
                let forwarded = via.gateway.forward(&Caller::of(payer), ask).await;
                forwarded.map_err(|refusal| not_passed_on(&refusal))?
            }
            _ => self.dial(endpoint, headers, body).await?,
        };
        if !answer.status().is_success() {
            return Err(refused(endpoint, answer).await);
        }
        let kind = answer.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            let what = format!("{} answered with {kind:?} instead of an event stream", endpoint.who);
            return Err(error::unusable(format!(
                "{what}; check its base URL ({})",
                endpoint.url
            )));
        }
        Ok(Events::new(endpoint.who, answer.into_body()))
    }

    async fn dial(&self, endpoint: &Endpoint, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, ModelError> {
        let request = self
            .client()?
            .post(&endpoint.url)
            .header(CONTENT_TYPE, "application/json")
            .headers(headers);
        let response = request
            .body(body)
            .send()
            .await
            .map_err(|error| unreachable(endpoint, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answer = Answer::new(Body::of(response));
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}

/// The gateway said no, or did not get through.
pub(super) fn not_passed_on(refusal: &Refusal) -> ModelError {
    let message = refusal.whole();
    let mut error = match (refusal.kind, refusal.budget) {
        (Kind::Budget, Some(budget)) => return ModelError::exhausted(budget, message),
        (Kind::NoPrice, _) => Class::Billing.error(&message, ""),
        (Kind::Unreachable | Kind::Silent | Kind::Store | Kind::Withheld | Kind::Budget, _) => {
            Class::Passing.error(&message, "")
        }
        _ => error::unusable(message),
    };
    error.retry_after = refusal.retry_after;
    error
}

fn unreachable(endpoint: &Endpoint, error: reqwest::Error) -> ModelError {
    if error.is_builder() {
        return error::unusable(format!(
            "{} cannot be asked at {:?}; check its base URL",
            endpoint.who, endpoint.url
        ));
    }
    let what = if error.is_timeout() {
        "did not answer in time"
    } else {
        "cannot be reached"
    };
    Class::Passing.error(
        &format!("{} {what} at {}", endpoint.who, endpoint.url),
        &chain(&error.without_url()),
    )
}

async fn refused(endpoint: &Endpoint, answer: Answer) -> ModelError {
    let (head, body) = answer.into_parts();
    let wait = retry_after(&head.headers);
    let should = head.headers.get("x-should-retry").map(|value| value == "true");
    // Before it is cut: half a key must not be left either.
    let detail = endpoint.scrubbed(detail_of(&error_body(body).await));
    if let Some(budget) = budget_of(&head.headers) {
        return ModelError::exhausted(budget, detail);
    }
    let mut error = error::of_status(endpoint.who, head.status.as_u16(), wait, &detail);
    error.retryable = should.unwrap_or(error.retryable);
    error
}

/// The budget that another process's gateway says is used up.
fn budget_of(headers: &HeaderMap) -> Option<BudgetRefusal> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let at = text(BUDGET_RESETS).and_then(|at| chrono::DateTime::parse_from_rfc3339(at).ok());
    Some(BudgetRefusal {
        budget: text(BUDGET)?.parse().ok()?,
        need: text(BUDGET_NEED).and_then(|need| need.parse().ok()).unwrap_or(1),
        resets_at: at.map(|at| at.to_utc().into()),
    })
}

/// As much of the body as an error can need; a body that ends early is as good as it is.
async fn error_body(mut pieces: Body) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(Ok(piece)) = pieces.next().await {
        body.extend_from_slice(&piece);
        if body.len() >= ERROR_BYTES {
            break;
        }
    }
    body
}

/// `code: message` of the error shapes that providers use, else the body as text.
fn detail_of(body: &[u8]) -> String {
    let text = perennial_schema::text::sanitize(body);
    let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) else {
        return text;
    };
    let error = if json["error"].is_null() { &json } else { &json["error"] };
    let message = error["message"].as_str().or_else(|| error.as_str());
    let code = error["code"].as_str().or_else(|| error["type"].as_str());
    match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (None, Some(message)) => message.to_owned(),
        _ => text,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| {
        headers
            .get(HeaderName::from_static(name))
            .and_then(|value| value.to_str().ok())
    };
    if let Some(ms) = text("retry-after-ms").and_then(|ms| ms.trim().parse::<u64>().ok()) {
        return Some(Duration::from_millis(ms));
    }
    let value = text("retry-after")?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = chrono::DateTime::parse_from_rfc2822(value).ok()?;
    Some((at.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default())
}

/// An error with its causes: the outermost of them seldom says why.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// Why a stream stopped short.
#[derive(Debug)]
enum Short {
    Cut(Cut),
    TooLong,
}

/// The events of a streamed response.
pub(crate) struct Events {
    who: &'static str,
    stream: Pin<Box<dyn Stream<Item = Result<Event, EventStreamError<Short>>> + Send>>,
}

impl Events {
    fn new(who: &'static str, pieces: Body) -> Self {
        let mut left = RESPONSE_BYTES;
        let pieces = pieces.map(move |piece| -> Result<Bytes, Short> {
            let piece = piece.map_err(Short::Cut)?;
            left = left.checked_sub(piece.len()).ok_or(Short::TooLong)?;
            Ok(piece)
        });
        Self {
            who,
            stream: Box::pin(pieces.eventsource()),
        }
    }

    /// The data of the next event; `None` when the response is over.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, ModelError> {
        let who = self.who;
        match self.stream.next().await {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event.data)),
            Some(Err(EventStreamError::Transport(Short::Cut(cut)))) => {
                let (what, why) = match cut {
                    Cut::Silent(why) => ("fell silent in mid-answer", why),
                    Cut::Broken(why) => ("broke off its answer", why),
                    Cut::Withheld => ("put its key into its answer, which is withheld", String::new()),
                };
                Err(Class::Passing.error(&format!("{who} {what}"), &why))
            }
            Some(Err(EventStreamError::Transport(Short::TooLong))) => Err(error::unusable(format!(
                "{who} sent an answer of more than {RESPONSE_BYTES} bytes"
            ))),
            Some(Err(_)) => Err(error::broken(format!(
                "{who} sent something that is not an event stream"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_give_code_and_message() {
        let anthropic = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        assert_eq!(detail_of(anthropic), "overloaded_error: Overloaded");
        let openai = br#"{"error":{"message":"no","type":"requests","code":"insufficient_quota"}}"#;
        assert_eq!(detail_of(openai), "insufficient_quota: no");
        assert_eq!(detail_of(b"<html>"), "<html>");
        assert_eq!(detail_of(br#"{"error":"gone"}"#), "gone");
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        let wait = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(wait("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("retry-after", "1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(wait("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(
            wait("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert!(wait("retry-after", "Wed, 21 Oct 2099 07:28:00 GMT") > Some(Duration::from_secs(3600)));
        assert_eq!(wait("retry-after", "-1"), None);
        assert_eq!(wait("retry-after", "soon"), None);
    }
}
