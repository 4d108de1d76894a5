//! `perennial session show SESSION`

use super::SessionArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Prints it.
pub async fn run(context: &Context, args: SessionArg) -> Result<Exit, Error> {
    let query = [("include", "extensions".to_owned())];
    let body = context
        .client()?
        .get(&format!("/v1/sessions/{}", args.session), &query)
        .await?;
    super::print(context, &body)
}
