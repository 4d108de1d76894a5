//! `send_message`: the message's id is made of the call's, so that a call that is made again sends nothing twice.

use std::time::Duration;

use perennial_engine::ports::{Order, SendError, Sent, SessionMetadata};
use perennial_schema::MessageId;
use perennial_schema::content::text_content;
use perennial_schema::mail::{Address, Sender};
use serde::Deserialize;

use crate::limits;
use crate::office::{Office, Outgoing, PostError};

#[derive(Deserialize)]
struct Input {
    to: String,
    content: String,
    subject: Option<String>,
    in_reply_to: Option<String>,
}

pub(super) async fn run(office: &Office, order: &Order) -> Result<String, String> {
    let input: Input = super::input(&order.input)?;
    let to: Address = input.to.parse().map_err(|error| format!("to: {error}"))?;
    content("content", &input.content)?;
    let in_reply_to = input.in_reply_to.map(|id| id.parse::<MessageId>()).transpose();
    let outgoing = Outgoing {
        id: MessageId::from_uuid(order.call_id.uuid()),
        from: Sender::At(Address::Session(order.key.session)),
        to,
        subject: input
            .subject
            .map(|subject| subject.chars().take(limits::SUBJECT_CHARS).collect()),
        content: text_content(&input.content),
        thread: None,
        in_reply_to: in_reply_to.map_err(|error| format!("in_reply_to: {error}"))?,
        metadata: SessionMetadata::new(),
        deliver_at: None,
        expires_at: None,
        task: None,
        trace: super::trace(order),
    };
    let sent = sent(office, order, &outgoing)
        .await
        .map_err(|error| error.to_string())?;
    let letter = sent.message.letter;
    Ok(format!(
        "Sent to {} as {}. Go on, or end your turn: an answer comes as a message of its own and wakes you.",
        letter.to, letter.id
    ))
}

/// What a model writes to another.
pub(super) fn content(field: &str, text: &str) -> Result<(), String> {
    let most = limits::TOOL_CONTENT_BYTES;
    if text.is_empty() || text.len() > most {
        return Err(format!("{field}: must have 1 to {most} bytes; put the rest in a file"));
    }
    Ok(())
}

/// A store that cannot say what it did is asked again under the same id: told of a failure the model would write another message.
pub(super) async fn sent(office: &Office, order: &Order, outgoing: &Outgoing) -> Result<Sent, PostError> {
    let mut tries = 1;
    loop {
        match office.send(order.key.workspace, outgoing.clone()).await {
            Err(PostError::Send(SendError::Store(error))) if tries < limits::SEND_TRIES => {
                tracing::warn!(message.id = %outgoing.id, %error, "mail is sent again");
                tokio::time::sleep(Duration::from_millis(limits::RETRY_MILLIS)).await;
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
#[path = "send_message_tests.rs"]
mod tests;
