//! `GET /v1/executors/tunnel`: the WebSocket an executor dials home with, opened by its own token.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use perennial_schema::ExecutorToken;
use perennial_schema::executor_token::START_HEADER;
use perennial_schema::frame::REMOVED;

use super::tunnels;
use crate::api::App;
use crate::auth::bearer;
use crate::error::ApiError;
use crate::openapi as doc;

/// A request to go on as a WebSocket, or why it is none.
pub(super) type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// Largest message of an executor: what is written at a time is smaller.
const MESSAGE_BYTES: usize = perennial_router::limits::TUNNEL_MESSAGE_BYTES;
/// Read at a time.
const READ_BYTES: usize = perennial_router::limits::TUNNEL_READ_BYTES;

#[utoipa::path(get, path = "/v1/executors/tunnel", tag = "executors",
    responses((status = 101, description = "A WebSocket of an executor's tunnel"),
    (status = 401, description = "No such executor, or not its token", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)), security(("bearer" = [])))]
pub(crate) async fn executor_tunnel(
    State(app): State<App>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let refuse = || ApiError::unauthenticated("this executor is not known here (any more): register it again");
    let token: ExecutorToken = bearer(&headers).and_then(|text| text.parse().ok()).ok_or_else(refuse)?;
    let known = app.ports.executors.holder(token.id).await?;
    let tunnels = tunnels(&app).map(Arc::clone);
    let who = match (known, &tunnels) {
        (Some(who), _) if who.hash.matches(&token) => who,
        (Some(_), _) => return Err(refuse()),
        // An executor in a sandbox registers with its first connection.
        (None, Ok(tunnels)) => {
            let removed = || refuse().code(REMOVED);
            let code = headers
                .get(START_HEADER)
                .and_then(|value| value.to_str().ok()?.parse().ok());
            let code = code.ok_or_else(removed)?;
            tunnels.begin(&token, &code).await?.ok_or_else(removed)?
        }
        (None, Err(_)) => return Err(refuse()),
    };
    let tunnels = tunnels?;
    Ok(accept(&app, upgraded(upgrade)?, async move |socket| {
        tunnels.serve(&who, messages(socket)).await;
    }))
}

/// The same, or why there is none, for a client.
pub(super) fn upgraded(upgrade: Upgrade) -> Result<WebSocketUpgrade, ApiError> {
    upgrade.map_err(|error| ApiError::bad_request(format!("expected a WebSocket: {error}")))
}

/// Serves a WebSocket for as long as it lasts; a server that stops waits for its end.
pub(super) fn accept<F: Future<Output = ()> + Send + 'static>(
    app: &App,
    upgrade: WebSocketUpgrade,
    serve: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> Response {
    let tracker = app.tracker.clone();
    upgrade
        .read_buffer_size(READ_BYTES)
        .max_message_size(MESSAGE_BYTES)
        .max_frame_size(MESSAGE_BYTES)
        .on_upgrade(move |socket| tracker.track_future(serve(socket)))
}

/// Binary messages as bytes; what else a WebSocket carries is its own business.
pub(super) fn messages(
    socket: WebSocket,
) -> impl Stream<Item = io::Result<Bytes>> + Sink<Bytes, Error = io::Error> + Send + 'static {
    socket
        .with(async |bytes: Bytes| Ok::<_, axum::Error>(Message::Binary(bytes)))
        .sink_map_err(io::Error::other)
        .filter_map(async |message| match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Text(_)) => Some(Err(io::ErrorKind::InvalidData.into())),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
}
