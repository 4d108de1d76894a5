//! `send_message`

use serde::Deserialize;
use serde_json::{Value, json};

use super::Done;
use crate::mcp::caller::{Caller, part};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    to: String,
    content: String,
    subject: Option<String>,
    in_reply_to: Option<String>,
    reply_to: Option<String>,
}

pub(super) async fn run(caller: &Caller, input: Input) -> Result<Done, String> {
    let mut body = json!({"content": input.content});
    let more = [
        ("subject", input.subject),
        ("in_reply_to", input.in_reply_to),
        ("reply_to", input.reply_to),
    ];
    for (name, given) in more {
        if let (Some(given), Some(body)) = (given, body.as_object_mut()) {
            body.insert(name.to_owned(), Value::String(given));
        }
    }
    let sent = caller.post(&path(&input.to)?, &body).await?;
    Ok(json!({"to": input.to, "message_id": sent["id"], "state": sent["state"]}))
}

/// Where mail for an address is sent to.
pub(super) fn path(to: &str) -> Result<String, String> {
    let (kind, name) = to
        .split_once('/')
        .ok_or("to: expected agent/NAME, session/ID or queue/NAME")?;
    Ok(format!("/v1/mailboxes/{}/{}/messages", part(kind)?, part(name)?))
}
