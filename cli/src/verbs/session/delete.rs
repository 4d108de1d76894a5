//! `perennial session delete SESSION`

use super::SessionArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Deletes.
pub async fn run(context: &Context, args: SessionArg) -> Result<Exit, Error> {
    let body = context
        .client()?
        .delete(&format!("/v1/sessions/{}", args.session))
        .await?;
    if context.json {
        output::line(body.text())?;
    } else {
        output::line(&format!("deleted {}", args.session))?;
    }
    Ok(Exit::Done)
}
