//! `perennial approve SESSION [TOOL_USE_ID]`; `deny` shares the work.

use clap::Args;
use serde_json::json;

use super::Context;
use crate::client::Client;
use crate::client::pending::PendingUse;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::{sanitize, summary};

/// Allow a tool call that waits for confirmation
#[derive(Debug, Args)]
pub struct ApproveArgs {
    session: String,
    /// Event id of the tool use; without it, all that wait
    tool_use_id: Option<String>,
}

/// Allows.
pub async fn run(context: &Context, args: ApproveArgs) -> Result<Exit, Error> {
    answer(context, &args.session, args.tool_use_id, true, None).await
}

/// Answers one call, or all that wait, and prints which.
pub(super) async fn answer(
    context: &Context,
    session: &str,
    tool_use_id: Option<String>,
    allow: bool,
    message: Option<String>,
) -> Result<Exit, Error> {
    let client = context.client()?;
    let mut waiting = match client.rest(session).await? {
        Some(rest) => client.unanswered(session, &rest).await?,
        None => Vec::new(),
    };
    waiting.retain(PendingUse::wants_confirmation);
    let ids: Vec<String> = match tool_use_id {
        Some(id) => vec![id],
        None => waiting.iter().map(|used| used.id.clone()).collect(),
    };
    if ids.is_empty() {
        return Err(Error::Failed(format!("nothing in {session} waits for confirmation")));
    }
    let result = if allow { "allow" } else { "deny" };
    for id in ids {
        confirm(&client, session, &id, allow, message.clone()).await?;
        if context.json {
            output::line(&json!({"tool_use_id": id, "result": result}).to_string())?;
        } else {
            let what = waiting.iter().find(|used| used.id == id);
            let what = what.map(|used| format!("  {} {}", sanitize(&used.name), summary(&used.name, &used.input)));
            output::line(&format!("{result}  {id}{}", what.unwrap_or_default()))?;
        }
    }
    Ok(Exit::Done)
}

/// Sends one `user.tool_confirmation`.
pub async fn confirm(
    client: &Client,
    session: &str,
    tool_use_id: &str,
    allow: bool,
    message: Option<String>,
) -> Result<(), Error> {
    let mut event = json!({
        "type": "user.tool_confirmation",
        "tool_use_id": tool_use_id,
        "result": if allow { "allow" } else { "deny" },
    });
    if let Some(message) = message {
        event["deny_message"] = json!(message);
    }
    let body = json!({"events": [event]});
    client
        .post(&format!("/v1/sessions/{session}/events"), &body)
        .await
        .map(drop)
}
