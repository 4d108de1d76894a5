//! `perennial env key revoke ENVIRONMENT KEY`

use clap::Args;

use super::path;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Make such a key useless, at once
#[derive(Debug, Args)]
pub struct RevokeArgs {
    environment: String,
    key: String,
}

/// Revokes it.
pub async fn run(context: &Context, args: RevokeArgs) -> Result<Exit, Error> {
    let path = format!("{}/{}", path(&args.environment), args.key);
    let body = context.client()?.delete(&path).await?;
    if context.json {
        output::line(body.text())?;
    } else {
        output::line(&format!("revoked {}", args.key))?;
    }
    Ok(Exit::Done)
}
