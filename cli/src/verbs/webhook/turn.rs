//! `perennial webhook enable WEBHOOK`, `perennial webhook disable WEBHOOK`

use serde_json::json;

use super::{WebhookArg, path};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Turns it on or off.
pub async fn run(context: &Context, args: WebhookArg, enabled: bool) -> Result<Exit, Error> {
    let body = json!({ "enabled": enabled });
    let turned = context.client()?.post(&path(&args.webhook), &body).await?;
    if context.json {
        output::line(turned.text())?;
    } else {
        let word = if enabled { "enabled" } else { "disabled" };
        output::line(&format!("{word} {}", args.webhook))?;
    }
    Ok(Exit::Done)
}
