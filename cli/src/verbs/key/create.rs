//! `perennial key create`

use clap::Args;
use serde_json::json;

use super::Key;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Make a virtual key for the model gateway; its secret is printed once
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// For people
    name: Option<String>,
    /// Count what it is used for on this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only this model (may be repeated)
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Only this provider (may be repeated)
    #[arg(long = "provider", value_name = "NAME")]
    providers: Vec<String>,
    /// How long it is good
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
}

/// Creates it; the secret alone goes to stdout.
pub async fn run(context: &Context, args: CreateArgs) -> Result<Exit, Error> {
    let mut body = json!({});
    if let Some(name) = args.name {
        body["name"] = json!(name);
    }
    if let Some(session) = args.session {
        body["session_id"] = json!(session);
    }
    if !args.models.is_empty() {
        body["models"] = json!(args.models);
    }
    if !args.providers.is_empty() {
        body["providers"] = json!(args.providers);
    }
    if let Some(days) = args.days {
        body["expires_in_seconds"] = json!(u64::from(days) * 24 * 3600);
    }
    let client = context.client()?;
    let made = client.post("/v1/gateway_keys", &body).await?;
    if context.json {
        output::line(made.text())?;
        return Ok(Exit::Done);
    }
    let key: Key = made.parse()?;
    let Some(secret) = key.secret else {
        // The first answer was lost on its way, and with it the secret.
        client.delete(&format!("/v1/gateway_keys/{}", key.id)).await?;
        return Err(Error::Failed(
            "the key's secret was lost on its way; the key is revoked, try again".into(),
        ));
    };
    output::note(&format!("key {}; its secret is shown this once:", key.id));
    output::line(&secret)?;
    Ok(Exit::Done)
}
