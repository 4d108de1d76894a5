//! `perennial webhook replay WEBHOOK DELIVERY`

use clap::Args;
use serde_json::json;

use super::path;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Send a delivery again, under the same event id
#[derive(Debug, Args)]
pub struct ReplayArgs {
    webhook: String,
    delivery: String,
}

/// Makes it due.
pub async fn run(context: &Context, args: ReplayArgs) -> Result<Exit, Error> {
    let replay = format!("{}/deliveries/{}/replay", path(&args.webhook), args.delivery);
    let body = context.client()?.post(&replay, &json!({})).await?;
    if context.json {
        output::line(body.text())?;
    } else {
        output::line(&format!("due again: {}", args.delivery))?;
    }
    Ok(Exit::Done)
}
