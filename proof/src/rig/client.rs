//! A plain HTTP client that shows what is on the wire.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::sse::Stream;

/// Connections of a killed server a client may still hold: one for each request it had under way at once.
const STALE_CONNECTIONS: usize = 32;

/// A client with a key.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Without a timeout: streams stay open.
    streams: reqwest::Client,
    base: String,
    key: String,
}

/// Status and body of an answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers we look at.
    pub headers: reqwest::header::HeaderMap,
    /// JSON body; text that is no JSON becomes a string.
    pub body: Value,
}

impl Answer {
    /// The body of a 2xx.
    ///
    /// # Errors
    /// With the body of anything else.
    pub fn ok(self) -> Result<Value> {
        if (200..300).contains(&self.status) {
            Ok(self.body)
        } else {
            bail!("{}: {}", self.status, self.body)
        }
    }
}

impl Client {
    /// For a server.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(base: &str, key: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()?;
        let streams = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self {
            http,
            streams,
            base: base.to_owned(),
            key: key.to_owned(),
        })
    }

    /// The same session of work at a server that moved (another port after a restart).
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self {
            base: base.to_owned(),
            ..self.clone()
        }
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A request with the key.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap_or(reqwest::Method::GET);
        self.http
            .request(method, format!("{}{path}", self.base))
            .header("x-api-key", &self.key)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, headers, body })
    }

    /// GET.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request("GET", path)).await
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request("POST", path).json(body)).await
    }

    /// POST under an idempotency key.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post_once(&self, path: &str, key: &str, body: &Value) -> Result<Answer> {
        self.send(self.request("POST", path).header("idempotency-key", key).json(body))
            .await
    }

    /// An agent with the built-in tools on a model, and a local environment.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn agent_and_environment(&self, model: &str) -> Result<(String, String)> {
        self.agent_on(model, "native").await
    }

    /// The same on a harness.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn agent_on(&self, model: &str, harness: &str) -> Result<(String, String)> {
        let agent = json!({"name": "tester", "model": model, "harness": harness, "tools": [{"type": "agent_toolset_20260401",
            "default_config": {"enabled": true, "permission_policy": {"type": "always_allow"}}}]});
        let agent = self.post("/v1/agents", &agent).await?.ok()?;
        let name = format!("local-{}", uuid::Uuid::now_v7().simple());
        let environment = json!({"name": name, "config": {"type": "local"}});
        let environment = self.post("/v1/environments", &environment).await?.ok()?;
        Ok((id(&agent)?, id(&environment)?))
    }

    /// A session.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn session(&self, agent: &str, environment: &str) -> Result<String> {
        let body = json!({"agent": agent, "environment_id": environment});
        id(&self.post("/v1/sessions", &body).await?.ok()?)
    }

    /// Sends a user message; returns its event id.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn say(&self, session: &str, text: &str) -> Result<String> {
        let answer = self
            .post(&format!("/v1/sessions/{session}/events"), &message(text))
            .await?
            .ok()?;
        id(&answer["data"][0])
    }

    /// Opens the event stream; `after` none is live.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn stream(&self, session: &str, query: &str, last_event_id: Option<u64>) -> Result<Stream> {
        let url = format!("{}/v1/sessions/{session}/events/stream{query}", self.base);
        let mut request = self.streams.get(url).header("x-api-key", &self.key);
        if let Some(seq) = last_event_id {
            request = request.header("last-event-id", seq.to_string());
        }
        let response = request.send().await?;
        if !response.status().is_success() {
            bail!(
                "stream: {}: {}",
                response.status(),
                response.text().await.unwrap_or_default()
            );
        }
        Ok(Stream::new(response))
    }

    /// The whole log as raw envelopes.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn log(&self, session: &str) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        loop {
            let after = events
                .last()
                .and_then(|event: &Value| event["seq"].as_u64())
                .unwrap_or(0);
            let page = self.page(session, after).await?.ok()?;
            let data = page["data"].as_array().context("log page without data")?;
            if data.is_empty() {
                return Ok(events);
            }
            events.extend(data.iter().cloned());
        }
    }

    /// A page of the log. Kept connections may be those of a server that was killed: each is found out by a request that fails.
    async fn page(&self, session: &str, after: u64) -> Result<Answer> {
        let path = format!("/v1/sessions/{session}/log?after={after}&limit=1000");
        for _ in 0..STALE_CONNECTIONS {
            let answer = self.get(&path).await;
            // A server that says nothing is no connection of a dead one: not asked again for minutes.
            let stale = |error: &anyhow::Error| {
                error
                    .downcast_ref::<reqwest::Error>()
                    .is_some_and(|error| error.is_request() && !error.is_timeout())
            };
            if !answer.as_ref().is_err_and(stale) {
                return answer;
            }
        }
        self.get(&path).await
    }

    /// Follows the session's stream from `after` until it rests with nothing ready; returns all payloads and the last seq.
    ///
    /// # Errors
    /// When it does not rest within `patience`.
    pub async fn until_idle(&self, session: &str, after: u64, patience: Duration) -> Result<(Vec<Value>, u64)> {
        let mut stream = self
            .stream(session, &format!("?after={after}&include=extensions"), None)
            .await?;
        let mut seen = Vec::new();
        let mut last = after;
        let follow = async {
            while let Some(frame) = stream.next().await? {
                if let Some(seq) = frame.seq {
                    last = seq;
                }
                let idle = frame.event == "session.status_idle";
                seen.push(frame.data);
                if idle && self.is_resting(session, last).await? {
                    return Ok(());
                }
            }
            bail!("the stream ended")
        };
        let outcome = tokio::time::timeout(patience, follow).await;
        outcome.with_context(|| format!("{session} did not rest within {patience:?}"))??;
        Ok((seen, last))
    }

    async fn is_resting(&self, session: &str, last: u64) -> Result<bool> {
        let row = self.get(&format!("/v1/sessions/{session}")).await?.ok()?;
        let page = self
            .get(&format!("/v1/sessions/{session}/log?after={last}&limit=1"))
            .await?
            .ok()?;
        Ok(row["status"] == "idle" && page["data"].as_array().is_some_and(Vec::is_empty))
    }
}

/// The body that says something.
#[must_use]
pub fn message(text: &str) -> Value {
    json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": text}]}]})
}

/// The `id` of a resource.
///
/// # Errors
/// When it has none.
pub fn id(value: &Value) -> Result<String> {
    value["id"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no id in {value}"))
}
