//! `perennial session retry SESSION`

use serde_json::json;

use super::SessionArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Lifts the quarantine of a session that was set aside after too many attempts.
pub async fn run(context: &Context, args: SessionArg) -> Result<Exit, Error> {
    let path = format!("/v1/sessions/{}/retry", args.session);
    let body = context.client()?.post(&path, &json!({})).await?;
    super::print(context, &body)
}
