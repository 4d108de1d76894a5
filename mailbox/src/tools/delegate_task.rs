//! `delegate_task`: a message whose receiver's turn is awaited. Nobody holds a worker for it: the answer is mail, and wakes.

use perennial_engine::ports::{Order, SessionMetadata};
use perennial_schema::MessageId;
use perennial_schema::content::text_content;
use perennial_schema::mail::{Address, Sender};
use serde::Deserialize;

use super::send_message::{content, sent};
use crate::limits;
use crate::office::{Office, Outgoing};
use crate::tasks::Terms;

#[derive(Deserialize)]
struct Input {
    to: String,
    prompt: String,
    max_turns: Option<u32>,
    timeout: Option<u64>,
}

pub(super) async fn run(office: &Office, order: &Order) -> Result<String, String> {
    let input: Input = super::input(&order.input)?;
    let to: Address = input.to.parse().map_err(|error| format!("to: {error}"))?;
    content("prompt", &input.prompt)?;
    if input.max_turns == Some(0) {
        return Err("max_turns: must be at least 1".into());
    }
    let seconds = input.timeout.unwrap_or(limits::TASK_SECONDS);
    if !(1..=limits::TASK_SECONDS_MOST).contains(&seconds) {
        let most = limits::TASK_SECONDS_MOST;
        return Err(format!("timeout: must be 1 to {most} seconds"));
    }
    let id = MessageId::from_uuid(order.call_id.uuid());
    let terms = Terms {
        max_turns: input.max_turns,
        seconds,
    };
    let task = office.terms(order.key, id, &to, terms).await?;
    let outgoing = Outgoing {
        id,
        from: Sender::At(Address::Session(order.key.session)),
        to,
        subject: Some("task".to_owned()),
        content: text_content(&input.prompt),
        thread: None,
        in_reply_to: None,
        metadata: SessionMetadata::new(),
        deliver_at: None,
        expires_at: None,
        task: Some(task),
    };
    let sent = sent(office, order, &outgoing)
        .await
        .map_err(|error| error.to_string())?;
    Ok(format!(
        "Delegated to {} as task {}. What comes of it is a message of its own and wakes you: end your turn, or go on with \
         something else.",
        sent.message.letter.to, id
    ))
}
