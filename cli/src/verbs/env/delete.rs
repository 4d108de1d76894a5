//! `perennial env delete ENVIRONMENT`

use super::EnvArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Deletes it.
pub async fn run(context: &Context, args: EnvArg) -> Result<Exit, Error> {
    let body = context
        .client()?
        .delete(&format!("/v1/environments/{}", args.environment))
        .await?;
    if context.json {
        output::line(body.text())?;
    } else {
        output::line(&format!("deleted {}", args.environment))?;
    }
    Ok(Exit::Done)
}
