//! `delegate_task`: mail to an agent, whose session does the rest.

use serde::Deserialize;
use serde_json::json;

use super::{Done, send_message};
use crate::mcp::caller::Caller;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    to: String,
    prompt: String,
}

pub(super) async fn run(caller: &Caller, input: Input) -> Result<Done, String> {
    if !input.to.starts_with("agent/") {
        return Err("to: expected agent/NAME, as `list_agents` shows it".into());
    }
    let path = send_message::path(&input.to)?;
    let sent = caller
        .post(&path, &json!({"content": input.prompt, "subject": "task"}))
        .await?;
    Ok(json!({"to": input.to, "message_id": sent["id"]}))
}
