//! `perennial agent create NAME`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Definition, mcp_config};
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
    /// MCP servers as in a `.mcp.json`, whose tools it has too; `${NAME}` is taken from the environment of this command
    #[arg(long, value_name = "FILE")]
    mcp_config: Option<PathBuf>,
}

/// Creates it.
pub async fn run(context: &Context, args: CreateArgs) -> Result<Exit, Error> {
    let mut body = args.definition.body(Some(&args.name))?;
    if args.definition.file.is_none() {
        body["tools"] = json!([{"type": "agent_toolset_20260401"}]);
    }
    if let Some(file) = &args.mcp_config {
        mcp_config::read(file)?.add_to(&mut body);
    }
    let client = context.client()?;
    if body["model"].is_null() {
        body["model"] = json!(model_of_server(&client).await?);
    }
    let agent = client.post("/v1/agents", &body).await?;
    super::print(context, &agent)
}
