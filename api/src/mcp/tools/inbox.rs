//! `inbox`: receives from a queue and acknowledges what it shows. A call whose answer is lost loses what it would have shown only
//! from here: it can be read at `/v1/mailboxes/queue/NAME/messages` all the same.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Done;
use crate::mcp::caller::{Caller, part};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    queue: String,
    limit: Option<u32>,
    wait: Option<u64>,
}

pub(super) async fn run(caller: &Caller, input: Input) -> Result<Done, String> {
    let queue = input.queue.strip_prefix("queue/").unwrap_or(&input.queue);
    let queue = format!("/v1/mailboxes/queue/{}", part(queue)?);
    let asked = json!({"limit": input.limit.unwrap_or(10), "wait": input.wait.unwrap_or(0)});
    let received = caller.post(&format!("{queue}/receive"), &asked).await?;
    let mut shown = Vec::new();
    for message in received["data"].as_array().into_iter().flatten() {
        let id = message["id"].as_str().unwrap_or_default();
        let taken = json!({"receipt": message["receipt"]});
        caller
            .post(&format!("{queue}/messages/{id}/acknowledge"), &taken)
            .await?;
        let mut message = message.clone();
        if let Some(message) = message.as_object_mut() {
            message.remove("receipt");
        }
        shown.push(message);
    }
    Ok(json!({"messages": Value::Array(shown)}))
}
