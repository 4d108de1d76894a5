//! `perennial mcp tools`

use clap::Args;

use super::{PATH, Tool};
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::sanitize;
use crate::verbs::Context;

/// List the tools that agents' MCP servers have shown, and whether they are still what was approved
#[derive(Debug, Args)]
pub struct ToolsArgs {
    /// Only those that changed and wait for somebody
    #[arg(long)]
    changed: bool,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Prints a table.
pub(super) async fn run(context: &Context, args: ToolsArgs) -> Result<Exit, Error> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let items = context
        .client()?
        .list(PATH, &[("changed", args.changed.to_string())], limit)
        .await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let row = |tool: Tool| vec![tool.id, sanitize(&tool.name), tool.state, sanitize(&tool.url)];
    let rows: Vec<Vec<String>> = typed::<Tool>(&items)?.into_iter().map(row).collect();
    output::table(&["TOOL", "NAME", "STATE", "SERVER"], &rows)?;
    Ok(Exit::Done)
}
