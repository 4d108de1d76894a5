//! `perennial key revoke KEY`

use super::KeyArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Revokes it.
pub async fn run(context: &Context, args: KeyArg) -> Result<Exit, Error> {
    let body = context
        .client()?
        .delete(&format!("/v1/gateway_keys/{}", args.key))
        .await?;
    if context.json {
        output::line(body.text())?;
    } else {
        output::line(&format!("revoked {}", args.key))?;
    }
    Ok(Exit::Done)
}
