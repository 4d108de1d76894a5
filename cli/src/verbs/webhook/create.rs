//! `perennial webhook create URL`

use clap::Args;
use serde_json::json;

use super::{Webhook, path};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Have a receiver told what happens; the secret its deliveries are signed with is printed once
#[derive(Debug, Args)]
pub struct CreateArgs {
    #[arg(value_name = "URL")]
    receiver: String,
    /// Only this type, for example session.status_idled (may be repeated)
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// For people
    #[arg(long)]
    description: Option<String>,
}

/// Creates it; the secret alone goes to stdout.
pub async fn run(context: &Context, args: CreateArgs) -> Result<Exit, Error> {
    let mut body = json!({ "url": args.receiver, "events": args.events });
    if let Some(description) = args.description {
        body["description"] = json!(description);
    }
    let client = context.client()?;
    let made = client.post("/v1/webhooks", &body).await?;
    if context.json {
        output::line(made.text())?;
        return Ok(Exit::Done);
    }
    let webhook: Webhook = made.parse()?;
    let Some(secret) = webhook.secret else {
        // The first answer was lost on its way, and with it the secret.
        client.delete(&path(&webhook.id)).await?;
        return Err(Error::Failed(
            "the signing secret was lost on its way; the webhook is deleted, try again".into(),
        ));
    };
    output::note(&format!(
        "webhook {}; its signing secret is shown this once:",
        webhook.id
    ));
    output::line(&secret)?;
    Ok(Exit::Done)
}
