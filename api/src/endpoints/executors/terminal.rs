//! `GET /v1/executors/{id}/terminals/{name}`: a WebSocket to a shell on a machine, opened by a key or by a ticket. Binary messages are
//! what is typed and shown; text is a word between them: `resize` from the client, `skipped` and `exited` to it. A client that
//! leaves finds the same shell when it comes back, and the end of what it showed. Browsers tell a page nothing of a WebSocket that was
//! refused, so who comes with a ticket is told by its close why the machine does not go on.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use perennial_router::Stream;
use perennial_router::terminal::{Said, read, write};
use perennial_schema::stream::{MAX_TERMINAL_NAME_BYTES, TerminalSize};
use perennial_schema::{ExecutorTicket, WorkspaceId};
use serde::{Deserialize, Serialize};
use tokio::io::split;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::tunnel::{Upgrade, accept, upgraded};
use super::{executor_id, tunnels, unopened};
use crate::api::App;
use crate::auth;
use crate::error::ApiError;
use crate::limits::{SOCKET_BEAT, SOCKET_BEATS, SOCKET_WAITING};
use crate::openapi as doc;
use crate::query::Query;

/// A close with this and the status of a refusal on top: codes from 4000 on are an application's own.
const TURNED_AWAY: u16 = 4000;
/// The longest reason that fits into a close.
const REASON_BYTES: usize = 123;
/// Of who does not say.
const SIZE: TerminalSize = TerminalSize { columns: 80, rows: 24 };

/// What is said between bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Word {
    Resize { columns: u16, rows: u16 },
    Skipped { bytes: u64 },
    Exited { code: i32 },
}

#[utoipa::path(get, path = "/v1/executors/{executor_id}/terminals/{name}", tag = "executors",
    params(("executor_id" = String, Path), ("name" = String, Path, description = "Letters, digits, - and _"),
        ("columns" = Option<u16>, Query), ("rows" = Option<u16>, Query),
        ("ticket" = Option<String>, Query, description = "Instead of a key")),
    responses((status = 101, description = "A WebSocket to a shell; the same one for the same name. Where the machine does not go on, \
        one that was opened by a ticket is closed with 4000 + the status"),
    (status = 401, description = "No key and no ticket for this terminal", body = doc::Error),
    (status = 403, description = "The owner of the machine does not offer that", body = doc::Error),
    (status = 409, description = "The executor is not connected", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn executor_terminal(
    State(app): State<App>,
    Path((id, name)): Path<(String, String)>,
    query: Query,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let workspace = opened_by(&app, &headers, &query, &id, &name).await?;
    let name = named(&name).map_err(|problem| ApiError::field("name", problem))?;
    let size = TerminalSize {
        columns: query.parsed("columns", "a number")?.unwrap_or(SIZE.columns),
        rows: query.parsed("rows", "a number")?.unwrap_or(SIZE.rows),
    };
    let executor = app.ports.executors.executor(workspace, executor_id(&id)?).await?;
    let executor = executor.ok_or_else(|| ApiError::not_found("executor", &id))?;
    // Before anything is started.
    let upgrade = upgraded(upgrade)?;
    let tunnels = tunnels(&app)?;
    let stream = tunnels.terminal(workspace, executor.id, name.to_owned(), size).await;
    let stall = app.config.limits.write_stall;
    let stream = match stream.map_err(unopened) {
        Ok(stream) => stream,
        Err(why) if query.one("ticket").is_some() => {
            return Ok(accept(&app, upgrade, async move |socket| {
                let _ = timeout(stall, turn_away(socket, &why)).await;
            }));
        }
        Err(why) => return Err(why),
    };
    Ok(accept(&app, upgrade, async move |socket| {
        carry(socket, stream, stall).await;
    }))
}

/// A terminal's name, or what is wrong with it.
pub(super) fn named(name: &str) -> Result<&str, &'static str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match !name.is_empty() && name.len() <= MAX_TERMINAL_NAME_BYTES && name.bytes().all(known) {
        true => Ok(name),
        false => Err("is not made of at most 64 letters, digits, - and _"),
    }
}

/// What a ticket is for.
pub(super) fn what(terminal: &str) -> String {
    format!("terminals/{terminal}")
}

/// Whose machines the caller may open: those of its key's workspace, or the one its ticket was made for.
async fn opened_by(
    app: &App,
    headers: &HeaderMap,
    query: &Query,
    id: &str,
    terminal: &str,
) -> Result<WorkspaceId, ApiError> {
    let Some(shown) = query.one("ticket") else {
        return Ok(auth::principal(app, headers).await?.workspace);
    };
    let refuse = || ApiError::unauthenticated("this ticket is unknown, expired, used or for something else");
    let (Ok(ticket), Ok(executor)) = (shown.parse::<ExecutorTicket>(), executor_id(id)) else {
        return Err(refuse());
    };
    let registry = &app.ports.executors;
    if !registry.use_pass(executor, ticket.hash(&what(terminal))).await? {
        return Err(refuse());
    }
    let executor = registry.holder(executor).await?.ok_or_else(refuse)?;
    Ok(executor.workspace)
}

/// Says why, and waits until that was heard.
async fn turn_away(mut socket: WebSocket, why: &ApiError) {
    let end = why.message.floor_char_boundary(REASON_BYTES);
    let close = CloseFrame {
        code: TURNED_AWAY + why.status.as_u16(),
        reason: why.message[..end].into(),
    };
    if socket.send(Message::Close(Some(close))).await.is_ok() {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

/// Until the shell ends or either goes; dropping the stream leaves the shell alone.
async fn carry(socket: WebSocket, stream: Stream, stall: Duration) {
    let (mut out, mut messages) = socket.split();
    let (mut reader, mut writer) = split(stream);
    // Two say something to the client; a message is written by one, to its end or not at all.
    let (say, mut said) = mpsc::channel(SOCKET_WAITING);
    let typing = async {
        // A client that went away without a word does not answer pings.
        while let Ok(Some(Ok(message))) = timeout(SOCKET_BEAT * SOCKET_BEATS, messages.next()).await {
            let typed = match message {
                Message::Binary(bytes) => Said::Bytes(bytes),
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(Word::Resize { columns, rows }) => Said::Resize(TerminalSize { columns, rows }),
                    Ok(Word::Skipped { .. } | Word::Exited { .. }) | Err(_) => break,
                },
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Close(_) => break,
            };
            if write(&mut writer, &typed).await.is_err() {
                break;
            }
        }
    };
    let pinging = async {
        let mut beats = interval(SOCKET_BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            let _ = say.send(Message::Ping(Bytes::new())).await;
        }
    };
    let showing = async {
        while let Ok(Some(shown)) = read(&mut reader).await {
            let message = match shown {
                Said::Bytes(bytes) => Some(Message::Binary(bytes)),
                Said::Skipped(bytes) => word(&Word::Skipped { bytes }),
                Said::Exited(code) => word(&Word::Exited { code }),
                Said::Resize(_) => None,
            };
            if let Some(message) = message
                && say.send(message).await.is_err()
            {
                break;
            }
        }
    };
    let sending = async {
        while let Some(message) = said.recv().await {
            if !matches!(timeout(stall, out.send(message)).await, Ok(Ok(()))) {
                return;
            }
        }
        let _ = timeout(stall, out.close()).await;
    };
    tokio::pin!(sending);
    let gone = tokio::select! {
        () = typing => false,
        () = pinging => false,
        () = showing => false,
        () = &mut sending => true,
    };
    if !gone {
        // What was shown last is still seen.
        drop(say);
        let _ = timeout(stall, sending).await;
    }
}

fn word(word: &Word) -> Option<Message> {
    serde_json::to_string(word).ok().map(|text| Message::Text(text.into()))
}
