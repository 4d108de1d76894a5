//! `perennial env archive ENVIRONMENT`

use serde_json::json;

use super::EnvArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Archives it.
pub async fn run(context: &Context, args: EnvArg) -> Result<Exit, Error> {
    let path = format!("/v1/environments/{}/archive", args.environment);
    let body = context.client()?.post(&path, &json!({})).await?;
    super::print(context, &body)
}
