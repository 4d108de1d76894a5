//! `perennial agent create NAME`

use clap::Args;
use serde_json::json;

use super::Definition;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;
use crate::verbs::run::model_of_server;

/// Create an agent
///
/// Without --file it has the built-in tools and the server's default model.
#[derive(Debug, Args)]
pub struct CreateArgs {
    name: String,
    #[command(flatten)]
    definition: Definition,
}

/// Creates it.
pub async fn run(context: &Context, args: CreateArgs) -> Result<Exit, Error> {
    let mut body = args.definition.body(Some(&args.name))?;
    if args.definition.file.is_none() {
        body["tools"] = json!([{"type": "agent_toolset_20260401"}]);
    }
    let client = context.client()?;
    if body["model"].is_null() {
        body["model"] = json!(model_of_server(&client).await?);
    }
    let agent = client.post("/v1/agents", &body).await?;
    super::print(context, &agent)
}
