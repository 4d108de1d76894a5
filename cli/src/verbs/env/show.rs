//! `perennial env show ENVIRONMENT`

use super::EnvArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Prints it.
pub async fn run(context: &Context, args: EnvArg) -> Result<Exit, Error> {
    let body = context
        .client()?
        .get(&format!("/v1/environments/{}", args.environment), &[])
        .await?;
    super::print(context, &body)
}
