//! `GET /v1/executors/{id}/forwards/{port}`: a WebSocket to whoever listens on a loopback port of a machine. Binary messages are
//! bytes as they come; an empty one says that no more follow.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use perennial_router::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::tunnel::{Upgrade, accept, upgraded};
use super::{find, tunnels, unopened};
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::{FORWARD_PIECE_BYTES, SOCKET_BEAT, SOCKET_BEATS};
use crate::openapi as doc;

#[utoipa::path(get, path = "/v1/executors/{executor_id}/forwards/{port}", tag = "executors",
    params(("executor_id" = String, Path), ("port" = u16, Path, description = "Of the machine's own loopback address")),
    responses((status = 101, description = "A WebSocket; its binary messages are bytes, and an empty one is their end"),
    (status = 403, description = "The owner of the machine does not offer that", body = doc::Error),
    (status = 404, description = "Nobody listens there", body = doc::Error),
    (status = 409, description = "The executor is not connected", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn forward_executor_port(
    State(app): State<App>,
    principal: Principal,
    Path((id, port)): Path<(String, String)>,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let port = port.parse::<u16>().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| ApiError::field("port", "is not a port"))?;
    let executor = find(&app, principal, &id).await?;
    // Before anything is connected.
    let upgrade = upgraded(upgrade)?;
    let stream = tunnels(&app)?.forward(principal.workspace, executor.id, port).await;
    let stream = stream.map_err(unopened)?;
    let stall = app.config.limits.write_stall;
    Ok(accept(&app, upgrade, async move |socket| {
        carry(socket, stream, stall).await;
    }))
}

/// Bytes both ways, until both have said all or either is gone; dropping the stream tells the machine.
async fn carry(socket: WebSocket, stream: Stream, stall: Duration) {
    let (mut out, mut messages) = socket.split();
    let (mut reader, mut writer) = split(stream);
    let there = async {
        // A client that went away without a word does not answer pings.
        while let Ok(Some(Ok(message))) = timeout(SOCKET_BEAT * SOCKET_BEATS, messages.next()).await {
            let told = match message {
                Message::Binary(bytes) if bytes.is_empty() => writer.shutdown().await,
                Message::Binary(bytes) => writer.write_all(&bytes).await,
                Message::Ping(_) | Message::Pong(_) => Ok(()),
                Message::Text(_) | Message::Close(_) => break,
            };
            if told.is_err() {
                break;
            }
        }
    };
    let back = async {
        let mut beats = interval(SOCKET_BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        loop {
            let mut piece = BytesMut::with_capacity(FORWARD_PIECE_BYTES);
            let message = tokio::select! {
                read = reader.read_buf(&mut piece), if open => {
                    open = matches!(read, Ok(1..));
                    Message::Binary(piece.freeze())
                }
                _ = beats.tick() => Message::Ping(Bytes::new()),
            };
            if !matches!(timeout(stall, out.send(message)).await, Ok(Ok(()))) {
                break;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
    let _ = timeout(stall, out.close()).await;
}
