//! `perennial session archive SESSION`

use serde_json::json;

use super::SessionArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Archives.
pub async fn run(context: &Context, args: SessionArg) -> Result<Exit, Error> {
    let path = format!("/v1/sessions/{}/archive", args.session);
    let body = context.client()?.post(&path, &json!({})).await?;
    super::print(context, &body)
}
