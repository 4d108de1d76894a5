//! `POST /v1/mailboxes/{kind}/{name}/messages`

use axum::extract::State;
use axum::response::Response;
use perennial_mailbox::Outgoing;
use perennial_schema::MessageId;
use perennial_schema::mail::Sender;

use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::endpoints::sessions::stored;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::MailboxAt;
use crate::respond::json;
use crate::traced::Traced;
use crate::wire::mail::{MessageView, Send};

#[utoipa::path(post, path = "/v1/mailboxes/{kind}/{name}/messages", tag = "mail",
    params(("kind" = String, Path, description = "`agent`, `session` or `queue`"), ("name" = String, Path)),
    request_body = doc::MailSend,
    responses((status = 200, description = "The message, durable", body = doc::Mail),
    (status = 404, description = "Nobody is there", body = doc::Error),
    (status = 429, description = "Too much waits there", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn send_mail(
    State(app): State<App>,
    principal: Principal,
    MailboxAt(to): MailboxAt,
    Traced(trace): Traced,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input = body.parse::<Send>()?.read()?;
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    let id = match &once.earlier {
        Some(earlier) => earlier.parse().map_err(|_| ApiError::bug())?,
        None => MessageId::from_uuid(once.id),
    };
    let outgoing = Outgoing {
        id,
        from: input.reply_to.map_or(Sender::Key(principal.key), Sender::At),
        to,
        subject: input.subject,
        content: input.content,
        thread: input.thread,
        in_reply_to: input.in_reply_to,
        metadata: stored(input.metadata),
        deliver_at: input.deliver_at,
        expires_at: input.expires_at,
        task: None,
        trace,
    };
    let sent = app.ports.mail.send(principal.workspace, outgoing).await?;
    if once.earlier.is_none() {
        once.made(&app, id.to_string()).await?;
    }
    Ok(json(&MessageView::from(sent.message)))
}
