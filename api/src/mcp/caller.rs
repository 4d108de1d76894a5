//! Who asks, and the API's routes as they see them.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use perennial_engine::ports::SessionKey;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::MCP_ANSWER_BYTES;

/// What is offered at the door somebody came through.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    /// Whatever the key may use.
    Workspace,
    /// The tools of one session.
    Session(SessionKey),
}

/// Whoever asks.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) app: App,
    pub(super) principal: Principal,
    pub(super) scope: Scope,
    pub(super) inside: Router,
}

impl Caller {
    pub(super) async fn get(&self, path: &str) -> Result<Value, String> {
        self.ask(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// A route of the API, with the rights of whoever asks; a refusal is its message.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| "a name or an id is not one".to_owned())?;
        let json = axum::http::HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        request.extensions_mut().insert(self.principal);
        let Ok(response) = self.inside.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        if let Some(refused) = head.extensions.get::<ApiError>() {
            return Err(refused.message.clone());
        }
        let body = axum::body::to_bytes(body, MCP_ANSWER_BYTES)
            .await
            .map_err(|_| "the answer is too long: ask for less".to_owned())?;
        let answer: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        match head.status.is_success() {
            true => Ok(answer),
            false => Err(head.status.to_string()),
        }
    }
}

/// A part of a path: what is not an id or a name is not let in.
pub(super) fn part(given: &str) -> Result<&str, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let one = !given.is_empty() && given.len() <= 256 && given.chars().all(fits) && !given.chars().all(|c| c == '.');
    one.then_some(given)
        .ok_or_else(|| format!("{given:?} is neither an id nor a name"))
}
