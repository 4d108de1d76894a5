//! `perennial agent archive AGENT`

use serde_json::json;

use super::AgentArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Archives it.
pub async fn run(context: &Context, args: AgentArg) -> Result<Exit, Error> {
    let path = format!("/v1/agents/{}/archive", args.agent);
    let agent = context.client()?.post(&path, &json!({})).await?;
    super::print(context, &agent)
}
