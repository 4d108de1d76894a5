//! `perennial mcp …`: this server as an MCP server, and what MCP servers of agents offer here.

mod approve;
mod bridge;
mod tools;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use super::Context;
use crate::error::Error;
use crate::exit::Exit;

/// Offer this server's tools to an MCP client over stdio, or look at the tools of agents' MCP servers
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct McpArgs {
    #[command(flatten)]
    bridge: bridge::BridgeArgs,
    #[command(subcommand)]
    verb: Option<McpVerb>,
}

/// Verbs of MCP servers.
#[derive(Debug, Subcommand)]
enum McpVerb {
    Tools(tools::ToolsArgs),
    Approve(approve::ApproveArgs),
}

#[derive(Debug, Deserialize)]
struct Tool {
    id: String,
    url: String,
    name: String,
    state: String,
    approved: Card,
    changed: Option<Card>,
}

#[derive(Debug, Deserialize)]
struct Card {
    hash: String,
    description: String,
    input_schema: Value,
    annotations: Option<Value>,
}

const PATH: &str = "/v1/mcp_tools";

/// Runs one of them.
pub async fn run(context: &Context, args: McpArgs) -> Result<Exit, Error> {
    match args.verb {
        None => bridge::run(context, args.bridge).await,
        Some(McpVerb::Tools(args)) => tools::run(context, args).await,
        Some(McpVerb::Approve(args)) => approve::run(context, &args).await,
    }
}
