//! `perennial webhook delete WEBHOOK`

use super::{WebhookArg, path};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Deletes it.
pub async fn run(context: &Context, args: WebhookArg) -> Result<Exit, Error> {
    let body = context.client()?.delete(&path(&args.webhook)).await?;
    if context.json {
        output::line(body.text())?;
    } else {
        output::line(&format!("deleted {}", args.webhook))?;
    }
    Ok(Exit::Done)
}
