//! `POST /v1/mailboxes/queue/{name}/receive`: fetches mail, and waits for some.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{Message, Receipt};
use perennial_schema::mail::{Address, MailState};

use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::MailboxAt;
use crate::respond::json;
use crate::wire::mail::{MessageView, Receive, Received};

#[utoipa::path(post, path = "/v1/mailboxes/{kind}/{name}/receive", tag = "mail",
    params(("kind" = String, Path, description = "`queue`"), ("name" = String, Path)), request_body = doc::MailReceive,
    responses((status = 200, description = "Messages with their receipts, oldest first; none when nothing came in time",
        body = doc::MailReceived),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn receive_mail(
    State(app): State<App>,
    principal: Principal,
    MailboxAt(queue): MailboxAt,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    if !matches!(queue, Address::Queue(_)) {
        return Err(ApiError::bad_request(
            "mail of sessions and agents is handed over to them; only a queue's is received",
        ));
    }
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    let input = body.parse::<Receive>()?.read()?;
    let messages = match &once.earlier {
        Some(receipts) => held(&app, principal, receipts).await?,
        None => {
            let (limit, hidden, wait) = (input.limit, input.hidden_millis, input.wait);
            let office = &app.ports.mail;
            let received = office.receive(principal.workspace, &queue, limit, hidden, wait).await?;
            let receipts: Vec<String> = received.iter().map(|message| receipt(message).to_string()).collect();
            once.made(&app, receipts.join(" ")).await?;
            received
        }
    };
    let data = messages
        .into_iter()
        .map(|message| MessageView::with_receipt(receipt(&message), message))
        .collect();
    Ok(json(&Received { data }))
}

const fn receipt(message: &Message) -> Receipt {
    Receipt {
        message: message.letter.id,
        round: message.round,
    }
}

/// What a repeated request received the first time, as far as it still has it.
async fn held(app: &App, principal: Principal, receipts: &str) -> Result<Vec<Message>, ApiError> {
    let mut held = Vec::new();
    for text in receipts.split_whitespace() {
        let receipt: Receipt = text.parse().map_err(|_| ApiError::bug())?;
        let message = app
            .ports
            .mail
            .mail()
            .message(principal.workspace, receipt.message)
            .await?;
        held.extend(message.filter(|message| message.state == MailState::Leased && message.round == receipt.round));
    }
    Ok(held)
}
