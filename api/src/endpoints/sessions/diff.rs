//! `GET /v1/sessions/{id}/diff`: what has changed in a repository of the session's folder, as JSON or, for `Accept: text/x-patch`, as a
//! patch that git applies. The executor that has the folder is asked; nothing there is touched.

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use perennial_engine::ports::{CallError, Order, SessionRow, Settled};
use perennial_schema::content::Block;
use perennial_schema::event::Raw;
use perennial_schema::resource::{Resource, Source};
use perennial_schema::step::{DIFF, DiffInput};
use perennial_schema::tool::{Effect, Outcome};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::{DIFF_BYTES, DIFFS_AT_ONCE};
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;
use crate::respond::json;
use crate::wire::diff::Diff;

/// Each is in memory as a whole until its reader has it.
static ROOM: Semaphore = Semaphore::const_new(DIFFS_AT_ONCE);
const CONTEXT: u16 = 3;
/// A newer lease may have spoken to the executor since the row was read.
const TRIES: u32 = 5;
const PATCH: &str = "text/x-patch";

#[utoipa::path(get, path = "/v1/sessions/{session_id}/diff", tag = "sessions",
    params(("session_id" = String, Path),
    ("path" = Option<String>, Query, description = "A folder in the repository, in the session's folder; its one repository by default"),
    ("base" = Option<String>, Query, description = "From this revision on; by default from where the session began"),
    ("head" = Option<String>, Query, description = "Up to this revision; by default to the files as they are"),
    ("staged" = Option<bool>, Query, description = "Up to what is staged"),
    ("untracked" = Option<bool>, Query, description = "Files that git does not know too; they are by default"),
    ("context" = Option<u16>, Query, description = "Lines around a change")),
    responses((status = 200, description = "What changed; a patch for `Accept: text/x-patch`", body = doc::SessionDiff),
    (status = 409, description = "There is no repository, or its executor is not reached", body = doc::Error),
    (status = 413, description = "It is too large", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn diff_session(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let row = app.session(&principal, &id).await?;
    let input = asked(&query, || repository(&row))?;
    let _room = room()?;
    let bytes = changes(&app, row, &input).await?;
    told("session_diff", &input, &bytes, &headers)
}

/// One of the few that are made at a time.
pub(crate) fn room() -> Result<SemaphorePermit<'static>, ApiError> {
    let room = ROOM.try_acquire();
    room.map_err(|_| ApiError::unavailable("too many diffs are being made at the moment; try again"))
}

/// What git printed, as JSON or as a patch.
pub(crate) fn told(
    kind: &'static str,
    input: &DiffInput,
    bytes: &[u8],
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let diff = Diff::read(kind, &input.path, bytes).ok_or_else(ApiError::bug)?;
    let wanted = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !wanted.contains(PATCH) {
        return Ok(json(&diff));
    }
    let mut response = Response::new(diff.patch_bytes().to_vec().into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(PATCH));
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// What a query asks for.
pub(crate) fn asked(query: &Query, path: impl FnOnce() -> String) -> Result<DiffInput, ApiError> {
    let owned = |name: &str| query.one(name).map(str::to_owned);
    let input = DiffInput {
        path: owned("path").unwrap_or_else(path),
        base: owned("base"),
        head: owned("head"),
        staged: query.parsed("staged", "true or false")?.unwrap_or(false),
        untracked: query.parsed("untracked", "true or false")?.unwrap_or(true),
        context: query.parsed("context", "a number of lines")?.unwrap_or(CONTEXT),
    };
    input.check().map_err(ApiError::bad_request)?;
    Ok(input)
}

/// The one repository of a session; else its folder.
fn repository(row: &SessionRow) -> String {
    let resources = row.resources.iter().filter_map(|raw| raw.parse::<Resource>().ok());
    let mut paths = resources
        .filter(|resource| matches!(resource.source, Source::GithubRepository { .. }))
        .filter_map(|resource| resource.path().ok());
    match (paths.next(), paths.next()) {
        (Some(only), None) => only,
        _ => ".".into(),
    }
}

/// What the executor says.
async fn changes(app: &App, mut row: SessionRow, input: &DiffInput) -> Result<Vec<u8>, ApiError> {
    let router = &app.ports.router;
    for _ in 0..TRIES {
        if row.epoch == 0 {
            return Err(
                ApiError::conflict("nothing has run in this session yet: it has no folder").code("no_workspace"),
            );
        }
        let placement = router
            .place_to_look(row.key, &row.environment, row.place)
            .await
            .map_err(|reason| unreached(&reason))?;
        let order = Order {
            key: row.key,
            epoch: row.epoch,
            call_id: app.ports.ids.event(),
            tool: DIFF.into(),
            input: Raw::of(&serde_json::to_value(input).map_err(|_| ApiError::bug())?),
            effect: Effect::Read,
            placement,
            environment: row.environment.clone(),
            secret: None,
            mcp: None,
        };
        let called = match router.call(order.clone()).await {
            Err(CallError::Unknown(_)) => match router.settle(order.clone()).await {
                Ok(Settled::Done(outcome)) => Ok(outcome),
                // It changes nothing.
                Ok(_) => router.call(order.clone()).await,
                Err(error) => Err(error),
            },
            called => called,
        };
        match called {
            Ok(outcome) => return whole(app, &order, outcome).await,
            // Under another lease, or with the executor as it is now.
            Err(CallError::Fenced | CallError::NotSent(_)) => row = app.reread(row.key).await?,
            Err(CallError::NotStarted(reason) | CallError::Unknown(reason)) => return Err(unreached(&reason)),
        }
    }
    Err(ApiError::unavailable("the session changes hands; try again"))
}

/// All that git printed, from where the executor keeps it.
pub(crate) async fn whole(app: &App, order: &Order, outcome: Outcome) -> Result<Vec<u8>, ApiError> {
    let text = outcome.content.iter().find_map(|block| match block {
        Block::Text { text } => Some(text.clone()),
        _ => None,
    });
    let read = match outcome.whole {
        _ if outcome.is_error => Err(ApiError::conflict(text.unwrap_or_default()).code("no_diff")),
        None => Err(ApiError::bug()),
        Some(whole) if whole.written > DIFF_BYTES => Err(ApiError::too_large(format!(
            "the changes have {} bytes, the most is {DIFF_BYTES}: ask for a part of them with path, base and head",
            whole.written
        ))),
        Some(whole) => pieces(app, order, whole.kept).await,
    };
    if outcome.whole.is_some() {
        app.ports.router.drop_output(order.key, order.call_id).await;
    }
    read
}

async fn pieces(app: &App, order: &Order, length: u64) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let piece = app
            .ports
            .router
            .output(order, bytes.len() as u64)
            .await
            .map_err(|reason| unreached(&reason))?;
        if piece.is_empty() {
            return Err(ApiError::unavailable("the executor lost a part of it; try again"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn unreached(reason: &str) -> ApiError {
    ApiError::conflict(format!("the session's folder is not reached: {reason}")).code("executor_offline")
}
