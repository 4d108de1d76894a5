//! `GET /v1/environments/{id}/work/poll`: hands out the oldest piece of work that nobody has, with a token that opens its session
//! and nothing else; `null` when there is none in time.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perennial_engine::ports::{Work, WorkQueueKey};
use serde_json::json;
use tokio::time::{Duration, Instant, sleep_until, timeout_at};

use super::queue;
use super::supply::supply;
use crate::accounts::Secret;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::{WORK_BLOCK_MOST, WORK_LOOK_AGAIN, WORK_RECLAIM_MILLIS, WORKER_NAME_BYTES};
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;
use crate::respond::{json, json_text};
use crate::wire::work::WorkView;

/// What a worker calls itself.
const WORKER: &str = "anthropic-worker-id";

#[utoipa::path(get, path = "/v1/environments/{environment_id}/work/poll", tag = "work",
    params(("environment_id" = String, Path), doc::WorkPollParams),
    responses((status = 200, description = "A piece of work with its `secret`, or `null`", body = doc::Work),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn poll_work(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let queue = queue(&app, principal, &id).await?;
    let wait = wait(&query)?;
    let reclaim = query.parsed("reclaim_older_than_ms", "a number of milliseconds")?;
    let reclaim: u64 = reclaim.unwrap_or(WORK_RECLAIM_MILLIS);
    let worker = worker(&headers)?;
    if let Some(worker) = worker {
        app.ports.work.attend(queue, worker).await?;
    }
    let deadline = Instant::now() + wait;
    // Heard from before the first look: what comes meanwhile is seen by the next.
    let mut changes = app.ports.bus.changes(queue.workspace);
    loop {
        if let Some(handed) = take(&app, principal, queue, worker, reclaim).await? {
            return Ok(handed);
        }
        if timeout_at(deadline, changes.next()).await.is_err() {
            return Ok(json_text("null".to_owned()));
        }
        sleep_until(deadline.min(Instant::now() + WORK_LOOK_AGAIN)).await;
    }
}

fn wait(query: &Query) -> Result<Duration, ApiError> {
    match query.parsed::<u64>("block_ms", "a number of milliseconds")? {
        None => Ok(Duration::ZERO),
        Some(millis) if (1..=WORK_BLOCK_MOST).contains(&millis) => Ok(Duration::from_millis(millis)),
        Some(millis) => Err(ApiError::field(
            "block_ms",
            format!("{millis} is not between 1 and {WORK_BLOCK_MOST}"),
        )),
    }
}

fn worker(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(WORKER) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(name) if (1..=WORKER_NAME_BYTES).contains(&name.len()) => Ok(Some(name)),
        _ => Err(ApiError::field(
            WORKER,
            format!("must be 1 to {WORKER_NAME_BYTES} visible ASCII characters"),
        )),
    }
}

/// Takes the oldest piece that nobody has. Of several that try, the one whose change comes first has it.
async fn take(
    app: &App,
    principal: Principal,
    queue: WorkQueueKey,
    worker: Option<&str>,
    reclaim: u64,
) -> Result<Option<Response>, ApiError> {
    let (now, pieces) = supply(app, queue).await?;
    for piece in pieces.iter().filter(|piece| piece.is_free(now, reclaim)) {
        let token = Secret::work(piece.id).map_err(|error| ApiError::unavailable(error.to_string()))?;
        let mut work: Work = piece.clone();
        work.hand_out(token.hash().0, principal.key, worker, now);
        if app.ports.work.swap(piece.revision, &work).await? {
            return Ok(Some(json(&WorkView::with_secret(&work, secret(&token)))));
        }
    }
    Ok(None)
}

/// As the official workers read it.
fn secret(token: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(json!({ "sessions_token": token.expose() }).to_string())
}
