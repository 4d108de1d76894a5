//! `/v1/mailboxes/…`: mail in and out. Mail for sessions and agents is handed over by a postman; a queue's is received here.

mod acknowledge;
mod cancel;
mod extend;
mod list;
mod messages;
mod receive;
mod reject;
mod replay;
mod retrieve;
mod send;
mod stream;

pub(crate) use acknowledge::*;
pub(crate) use cancel::*;
pub(crate) use extend::*;
pub(crate) use list::*;
pub(crate) use messages::*;
pub(crate) use receive::*;
pub(crate) use reject::*;
pub(crate) use replay::*;
pub(crate) use retrieve::*;
pub(crate) use send::*;
pub(crate) use stream::*;

use axum::response::Response;
use perennial_engine::ports::{Message, Receipt, Return};
use perennial_mailbox::PostError;

use super::once::Once;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::path::MessageAt;
use crate::respond::json;
use crate::wire::mail::MessageView;

/// A message of the mailbox in the path.
async fn find(app: &App, principal: Principal, at: &MessageAt) -> Result<Message, ApiError> {
    let missing = || ApiError::not_found("message in this mailbox", &at.id);
    let id = at.id.parse().map_err(|_| missing())?;
    let found = app.ports.mail.mail().message(principal.workspace, id).await?;
    found
        .filter(|message| message.letter.to == at.mailbox)
        .ok_or_else(missing)
}

/// The same as it is now, for an answer.
async fn shown(app: &App, principal: Principal, at: &MessageAt) -> Result<Response, ApiError> {
    Ok(json(&MessageView::from(find(app, principal, at).await?)))
}

/// What a receipt's holder says, once.
async fn give_back(
    app: &App,
    principal: Principal,
    at: &MessageAt,
    once: Once,
    receipt: &str,
    what: Return,
) -> Result<Response, ApiError> {
    let receipt: Receipt = receipt.parse().map_err(|error| ApiError::field("receipt", error))?;
    let message = find(app, principal, at).await?;
    if message.letter.id != receipt.message {
        return Err(ApiError::field("receipt", "belongs to another message"));
    }
    if once.earlier.is_none() {
        let given = app.ports.mail.give_back(principal.workspace, receipt, what).await?;
        if given.is_none() {
            return Err(stale());
        }
        once.made(app, at.id.clone()).await?;
    }
    shown(app, principal, at).await
}

fn stale() -> ApiError {
    ApiError::conflict("receipt: it is stale: the message was given back, ended, or is somebody else's by now")
        .code("receipt_stale")
}

impl From<PostError> for ApiError {
    fn from(error: PostError) -> Self {
        use perennial_engine::ports::SendError;
        let message = error.to_string();
        match error {
            PostError::NoSuchAddress(..) => Self::no_route(message).code("no_such_mailbox"),
            PostError::NoSuchMessage(_) => Self::field("in_reply_to", message),
            PostError::TooManyHops(_) => Self::conflict(message).code("too_many_hops"),
            PostError::Send(SendError::Full(..)) => Self::too_many(message).code("mailbox_full"),
            PostError::Send(SendError::IdReused(_)) => Self::conflict(message),
            PostError::Send(SendError::Store(store)) => store.into(),
        }
    }
}
