//! `GET /v1/mailboxes/{kind}/{name}/stream`: the messages of a mailbox as they change their state.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::feed::{BEGINNING, Place, Watcher};
use crate::openapi as doc;
use crate::path::MailboxAt;
use crate::query::Query;
use crate::server::Shutdown;
use crate::sse;

#[utoipa::path(get, path = "/v1/mailboxes/{kind}/{name}/stream", tag = "mail",
    params(("kind" = String, Path), ("name" = String, Path), doc::MailFeedParams),
    responses((status = 200, description = "`mail` events: a message, again whenever its state changes; `live` once, when all that \
        was behind the cursor has been told. Without a cursor from now on. No change is skipped; one may come twice", body = String,
        content_type = "text/event-stream"),
    (status = 409, description = "The cursor is not of this server's past, or of a past that is forgotten", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn follow_mail(
    State(app): State<App>,
    principal: Principal,
    MailboxAt(mailbox): MailboxAt,
    query: Query,
    headers: HeaderMap,
    shutdown: Option<Extension<Shutdown>>,
) -> Result<Response, ApiError> {
    let after: Option<Place> = sse::resume(&query, &headers, "an id of this stream")?;
    let workspace = principal.workspace;
    if let Some(place) = after.filter(|Place(cursor)| *cursor != BEGINNING) {
        // As with the feed of all sessions: who waited behind a place that is not there would wait for ever.
        let mail = app.ports.mail.mail();
        let there = mail.changes(workspace, &mailbox, place.before(), 1).await?;
        if there.is_empty() {
            return Err(ApiError::conflict(
                "after: this cursor is ahead of all changes of this mailbox, or of messages that are forgotten; connect again \
                 without one, or with 0-0 for all that is kept",
            ));
        }
    }
    let after = after.map(|Place(cursor)| cursor);
    let (limits, closing) = (app.config.limits, sse::closing(shutdown));
    let watcher = Watcher::new(app.ports.mail.clone(), (workspace, mailbox), after, limits, closing).await?;
    Ok(sse::answer(stream::unfold(watcher, |mut watcher| async move {
        let frame = watcher.next().await?;
        Some((frame, watcher))
    })))
}
