//! Paths of the vendors.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::{Value, json};

use super::{Desk, Received};
use crate::limits;
use crate::reply::Reply;
use crate::wire::{Response, Wire};

type Shared = State<Arc<Desk>>;

pub(super) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route(Wire::Messages.path(), post(messages))
        .route("/v1/messages/count_tokens", post(count))
        .route(Wire::Responses.path(), post(responses))
        .route(Wire::Chat.path(), post(chat))
        .route("/v1/models", get(models))
        .route("/v1/models/{id}", get(model))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES))
        .with_state(desk)
}

/// A refusal of who shows no key.
pub(super) fn stranger(wire: Wire, headers: &HeaderMap) -> Option<Reply> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes().starts_with(b"Bearer "));
    let key = headers.get("x-api-key").is_some_and(|value| !value.is_empty());
    let known = bearer || (wire == Wire::Messages && key);
    (!known).then(|| Reply::refusal(wire, 401, "no key"))
}

fn received(wire: Wire, uri: &Uri, headers: HeaderMap, body: &Bytes) -> Received {
    let raw = String::from_utf8_lossy(body).into_owned();
    Received {
        wire,
        path: uri.path().to_owned(),
        headers,
        body: serde_json::from_str(&raw).unwrap_or_default(),
        raw,
        at: Instant::now(),
    }
}

async fn messages(State(desk): Shared, uri: Uri, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    let response = desk.respond(received(Wire::Messages, &uri, headers, &body));
    send(desk, response).await
}

async fn responses(State(desk): Shared, uri: Uri, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    let response = desk.respond(received(Wire::Responses, &uri, headers, &body));
    send(desk, response).await
}

async fn chat(State(desk): Shared, uri: Uri, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    let response = desk.respond(received(Wire::Chat, &uri, headers, &body));
    send(desk, response).await
}

async fn count(State(desk): Shared, uri: Uri, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    let response = desk.count(&received(Wire::Messages, &uri, headers, &body));
    send(desk, response).await
}

/// Both vendors list their models here; only one of them wants a version in a header.
fn vendor(headers: &HeaderMap) -> Wire {
    if headers.contains_key("anthropic-version") {
        Wire::Messages
    } else {
        Wire::Responses
    }
}

fn described(wire: Wire, id: &str) -> Value {
    match wire {
        Wire::Messages => {
            json!({"type": "model", "id": id, "display_name": "Rehearsal", "created_at": "2026-01-01T00:00:00Z"})
        }
        Wire::Responses | Wire::Chat => {
            json!({"object": "model", "id": id, "created": 1_767_225_600, "owned_by": "perennial"})
        }
    }
}

async fn models(State(desk): Shared, headers: HeaderMap) -> axum::response::Response {
    let wire = vendor(&headers);
    let model = described(wire, crate::ID);
    let list = match wire {
        Wire::Messages => {
            json!({"data": [model], "has_more": false, "first_id": crate::ID, "last_id": crate::ID})
        }
        Wire::Responses | Wire::Chat => json!({"object": "list", "data": [model]}),
    };
    let reply = stranger(wire, &headers).unwrap_or_else(|| Reply::json(200, &list));
    send(desk, reply.into()).await
}

/// Any model is served, so any is described.
async fn model(State(desk): Shared, Path(id): Path<String>, headers: HeaderMap) -> axum::response::Response {
    let wire = vendor(&headers);
    let reply = stranger(wire, &headers).unwrap_or_else(|| Reply::json(200, &described(wire, &id)));
    send(desk, reply.into()).await
}

async fn unknown(State(desk): Shared, uri: Uri, headers: HeaderMap) -> axum::response::Response {
    let message = format!("{} is not rehearsed here", uri.path());
    send(desk, Reply::refusal(vendor(&headers), 404, &message).into()).await
}

/// A body still to be sent; says so when it is dropped with some left.
struct Sending {
    response: Response,
    desk: Arc<Desk>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.response.frames.is_empty() {
            self.desk.abandoned.send_modify(|count| *count += 1);
        }
    }
}

async fn send(desk: Arc<Desk>, response: Response) -> axum::response::Response {
    let mut sending = Sending { response, desk };
    if !sending.response.wait.is_zero() {
        tokio::time::sleep(sending.response.wait).await;
    }
    let mut head = axum::http::Response::new(());
    *head.status_mut() = StatusCode::from_u16(sending.response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in std::mem::take(&mut sending.response.headers) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value.parse()) {
            head.headers_mut().insert(name, value);
        }
    }
    let frames = stream::unfold(sending, |mut sending| async move {
        let piece = sending.response.next().await?;
        Some((piece, sending))
    });
    head.map(|()| Body::from_stream(frames))
}
