//! Around every request: request id, a task of its own, and error bodies.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use perennial_schema::RequestId;
use serde::Serialize;
use tracing::Instrument as _;

use crate::api::App;
use crate::error::ApiError;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A JSON answer.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => json_text(text),
        Err(error) => {
            tracing::error!(%error, "an answer did not encode");
            axum::response::IntoResponse::into_response(ApiError::bug())
        }
    }
}

/// A JSON answer that is already text.
pub(crate) fn json_text(text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `{"data":[…],"next_page":…}` from items that are already JSON text.
pub(crate) fn page_text<'a>(items: impl Iterator<Item = &'a str>, next_page: Option<&str>) -> Response {
    let mut text = String::from("{\"data\":[");
    for (at, item) in items.enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(item);
    }
    text.push_str("],\"next_page\":");
    // Cursors are base64url: nothing in them needs escaping.
    match next_page {
        Some(cursor) => text.push_str(&format!("\"{cursor}\"}}")),
        None => text.push_str("null}"),
    }
    json_text(text)
}

/// Gives the request an id, runs it in its own task, and writes error bodies.
///
/// The task matters: hyper drops a handler's future when the client hangs up, and a database call dropped half-way can poison
/// its connection (INVARIANTS §0.5). Detached, every verb ends by itself whoever is still listening.
pub(crate) async fn finish(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = RequestId::from_uuid(app.ports.ids.uuid());
    let span =
        tracing::info_span!("api.request", request.id = %id, method = %request.method(), path = request.uri().path());
    let task = app.tracker.spawn(
        async move {
            let mut request = request;
            request.extensions_mut().insert(id);
            next.run(request).await
        }
        .instrument(span),
    );
    let mut response = task.await.unwrap_or_else(|failure| {
        tracing::error!(request.id = %id, %failure, "a handler panicked");
        axum::response::IntoResponse::into_response(ApiError::bug())
    });
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        write_error(&mut response, &error, &id.to_string());
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn write_error(response: &mut Response, error: &ApiError, id: &str) {
    *response.status_mut() = error.status;
    *response.body_mut() = Body::from(error.body(Some(id)).to_string());
    let headers: &mut HeaderMap = response.headers_mut();
    headers.remove(axum::http::header::CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(retry) = error.retry {
        headers.insert(
            SHOULD_RETRY,
            HeaderValue::from_static(if retry { "true" } else { "false" }),
        );
    }
    if let Some(seconds) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.status == StatusCode::REQUEST_TIMEOUT || error.status == StatusCode::PAYLOAD_TOO_LARGE {
        // The rest of the body will not be read.
        headers.insert(axum::http::header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// No such route.
pub(crate) async fn no_route(request: Request) -> ApiError {
    ApiError::no_route(format!(
        "no route {} {}; /openapi.json lists them",
        request.method(),
        cut(request.uri().path())
    ))
}

/// The route exists, the method does not.
pub(crate) async fn no_method(request: Request) -> ApiError {
    ApiError::method_not_allowed(format!(
        "{} is not allowed on {}; /openapi.json lists the methods",
        request.method(),
        cut(request.uri().path())
    ))
}

fn cut(path: &str) -> String {
    path.chars().take(120).collect()
}
