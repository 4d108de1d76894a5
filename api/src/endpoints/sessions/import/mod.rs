//! `POST /v1/sessions/import`: a session that began elsewhere: an exported one as it was, or a transcript of Claude Code or Codex
//! as events made of it. What was pending there is closed; it rests, and goes on with the next message.

mod archive;
mod foreign;
mod land;
mod upload;
mod workspace;

use axum::extract::{Request, State};
use axum::response::Response;
use perennial_schema::limits::NAME_CHARS;
use perennial_schema::transcript::Origin;
use tokio::sync::Semaphore;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::limits::IMPORTS_AT_ONCE;
use crate::openapi as doc;
use crate::query::Query;
use crate::wire::length;

/// Each holds a log in memory and a file on disk.
static ROOM: Semaphore = Semaphore::const_new(IMPORTS_AT_ONCE);

#[utoipa::path(post, path = "/v1/sessions/import", tag = "sessions", params(doc::ImportParams),
    request_body(content = Vec<u8>, content_type = "application/octet-stream",
        description = "An exported session, or a transcript (`.jsonl`) of Claude Code or Codex"),
    responses((status = 200, description = "The new session, and in `imported` what it was made of", body = doc::Session),
    (status = 413, description = "The file is too large", body = doc::Error),
    (status = 503, description = "Too many imports at once", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn import_session(
    State(app): State<App>,
    principal: Principal,
    repeatable: Repeatable,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let wishes = Wishes::of(&query)?;
    let _permit = ROOM
        .try_acquire()
        .map_err(|_| ApiError::unavailable("too many sessions are being imported at the moment; try again"))?;
    let file = upload::receive(&app, request, &wishes.text()).await?;
    let idempotency = repeatable.hashed(&file.hash);
    let landing = land::Landing {
        app: &app,
        principal,
        wishes,
        idempotency,
    };
    match file.kind {
        upload::Kind::Archive if landing.wishes.from.is_some() => Err(ApiError::field(
            "from",
            "the file is an exported session, not a transcript; leave it out",
        )),
        upload::Kind::Archive => archive::land(landing, file.content).await,
        upload::Kind::Lines(found) => {
            let origin = landing.wishes.from.or(found).ok_or_else(|| {
                ApiError::bad_request(
                    "the file is neither an exported session nor a transcript of Claude Code or Codex; from=claude-code or \
                     from=codex says what it is",
                )
            })?;
            foreign::land(landing, origin, file.content).await
        }
    }
}

/// What the caller wants of the new session.
pub(super) struct Wishes {
    pub(super) from: Option<Origin>,
    pub(super) agent_id: Option<String>,
    pub(super) environment_id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) harness: Option<perennial_schema::agent::Harness>,
    pub(super) title: Option<String>,
}

impl Wishes {
    fn of(query: &Query) -> Result<Self, ApiError> {
        let one = |name: &str| query.one(name).map(str::to_owned);
        let title = one("title");
        length("title", title.as_deref().unwrap_or_default(), 0, NAME_CHARS)?;
        Ok(Self {
            from: query.parsed("from", "claude-code or codex")?,
            agent_id: one("agent_id"),
            environment_id: one("environment_id"),
            model: one("model"),
            harness: query.parsed("harness", "a harness (native, claude-code, codex or acp:NAME)")?,
            title,
        })
    }

    /// Part of what a repeated request must repeat.
    fn text(&self) -> String {
        format!(
            "{:?}",
            (
                self.from,
                &self.agent_id,
                &self.environment_id,
                &self.model,
                &self.harness,
                &self.title
            )
        )
    }
}
