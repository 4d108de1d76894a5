//! `POST /v1/environments/{id}/work/{id}/heartbeat`: the worker lives. Each heartbeat names the one before it, so that of two
//! workers that believe to have the same piece one is told that it has lost it.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use perennial_engine::ports::{Beat, LastBeat, SessionKey, Work, WorkState};
use perennial_schema::session::Status;
use serde_json::json;

use super::supply::supply;
use super::wanting::{Want, want};
use super::{change, find};
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::{WORK_LEASE_MOST_SECONDS, WORK_RECLAIM_MILLIS};
use crate::openapi as doc;
use crate::path::OfEnvironment;
use crate::query::{Query, time};
use crate::respond::json;
use crate::wire::work::{Heartbeat, lease_state};

/// What the first heartbeat names.
const NONE: &str = "NO_HEARTBEAT";

#[utoipa::path(post, path = "/v1/environments/{environment_id}/work/{work_id}/heartbeat", tag = "work",
    params(("environment_id" = String, Path), ("work_id" = String, Path), doc::WorkHeartbeatParams),
    responses((status = 200, description = "How long the lease lasts, and whether to go on", body = doc::WorkHeartbeat),
    (status = 412, description = "Not the last heartbeat: somebody else has it", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn heartbeat_work(
    State(app): State<App>,
    principal: Principal,
    at: OfEnvironment,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let ttl = ttl(&app, &query)?;
    let beat = Beat {
        last: last(&query),
        repeated: is_repeated(&headers),
        ttl_millis: u64::from(ttl) * 1000,
    };
    let idle = is_needed_elsewhere(&app, principal, &at).await?;
    let (work, done) = change(&app, principal, &at, |work, now| {
        if idle && work.state == WorkState::Active {
            work.stop(false, now)?;
        }
        work.beat(&beat, now)
    })
    .await?;
    match done {
        Ok(extended) => Ok(json(&Heartbeat::of(&work, extended, ttl))),
        Err(error) => {
            let mut refusal = ApiError::precondition_failed(error.to_string()).code("heartbeat_precondition_failed");
            let state = json!({ "current_state": lease_state(&work, ttl) });
            refusal.details = state.as_object().cloned();
            Err(refusal)
        }
    }
}

fn ttl(app: &App, query: &Query) -> Result<u32, ApiError> {
    match query.parsed::<u32>("desired_ttl_seconds", "a number of seconds")? {
        None => Ok(app.config.limits.work_lease),
        Some(seconds) if (1..=WORK_LEASE_MOST_SECONDS).contains(&seconds) => Ok(seconds),
        Some(seconds) => Err(ApiError::field(
            "desired_ttl_seconds",
            format!("{seconds} is not between 1 and {WORK_LEASE_MOST_SECONDS}"),
        )),
    }
}

fn last(query: &Query) -> LastBeat {
    match query.one("expected_last_heartbeat") {
        None => LastBeat::Unsaid,
        Some(NONE) => LastBeat::None,
        Some(text) => time(text).map_or(LastBeat::Unknown, LastBeat::At),
    }
}

/// The official SDKs say so.
fn is_repeated(headers: &HeaderMap) -> bool {
    let count = headers.get("x-stainless-retry-count");
    let count = count
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    count.is_some_and(|count: u32| count > 0)
}

/// Whether the worker of this piece waits for a session that wants nothing of it while another one waits for a worker. The
/// official workers serve one session at a time, and stay for a minute after its last call. Not within the length of a lease: a
/// client may be about to answer, and the turn to go on.
async fn is_needed_elsewhere(app: &App, principal: Principal, at: &OfEnvironment) -> Result<bool, ApiError> {
    let (now, work) = find(app, principal, at).await?;
    let lease = u64::from(app.config.limits.work_lease) * 1000;
    let settled = work.started_at.is_some_and(|since| since.plus_millis(lease) <= now);
    if work.state != WorkState::Active || !settled || !rests(app, &work).await? {
        return Ok(false);
    }
    let (now, pieces) = supply(app, work.queue).await?;
    Ok(pieces.iter().any(|piece| piece.is_free(now, WORK_RECLAIM_MILLIS)))
}

async fn rests(app: &App, work: &Work) -> Result<bool, ApiError> {
    let key = SessionKey {
        workspace: work.queue.workspace,
        session: work.session,
    };
    let Some(row) = app.ports.sessions.get(key).await? else {
        return Ok(true);
    };
    Ok(row.served_status() == Status::Idle && want(app, &row).await? != Want::Worker)
}
