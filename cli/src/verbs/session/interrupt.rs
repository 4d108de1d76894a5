//! `perennial session interrupt SESSION`

use serde_json::json;

use super::SessionArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Sends `user.interrupt`.
pub async fn run(context: &Context, args: SessionArg) -> Result<Exit, Error> {
    let body = json!({"events": [{"type": "user.interrupt"}]});
    let path = format!("/v1/sessions/{}/events", args.session);
    let sent = context.client()?.post(&path, &body).await?;
    if context.json {
        output::line(sent.text())?;
    } else {
        output::note("interrupting");
    }
    Ok(Exit::Done)
}
