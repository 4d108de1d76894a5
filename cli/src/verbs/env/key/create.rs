//! `perennial env key create ENVIRONMENT`

use clap::Args;
use serde_json::json;

use super::{Key, path};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Make a key for the workers of a self-hosted environment; its secret is printed once
#[derive(Debug, Args)]
pub struct CreateArgs {
    environment: String,
    /// For people
    name: Option<String>,
}

/// Creates it; the secret alone goes to stdout.
pub async fn run(context: &Context, args: CreateArgs) -> Result<Exit, Error> {
    let mut body = json!({});
    if let Some(name) = args.name {
        body["name"] = json!(name);
    }
    let keys = path(&args.environment);
    let client = context.client()?;
    let made = client.post(&keys, &body).await?;
    if context.json {
        output::line(made.text())?;
        return Ok(Exit::Done);
    }
    let key: Key = made.parse()?;
    let Some(secret) = key.secret else {
        // The first answer was lost on its way, and with it the secret.
        client.delete(&format!("{keys}/{}", key.id)).await?;
        return Err(Error::Failed(
            "the key's secret was lost on its way; the key is revoked, try again".into(),
        ));
    };
    output::note(&format!("key {}; its secret is shown this once:", key.id));
    output::line(&secret)?;
    Ok(Exit::Done)
}
