//! `perennial mcp approve TOOL`

use clap::Args;
use serde_json::json;

use super::{Card, PATH, Tool};
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::sanitize;
use crate::verbs::Context;

/// Tools of a workspace that are looked through.
const MOST: usize = 10_000;

/// Let a tool in as its MCP server describes it now: shows what changed, and approves it with --yes
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// Its id, or its name if no other has it
    tool: String,
    /// Approve what is shown
    #[arg(long, short)]
    yes: bool,
}

/// Shows the change; approves exactly that when told to.
pub(super) async fn run(context: &Context, args: &ApproveArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let items = client.list(PATH, &[], MOST).await?;
    let mut meant: Vec<Tool> = typed::<Tool>(&items)?
        .into_iter()
        .filter(|tool| tool.id == args.tool || tool.name == args.tool)
        .collect();
    let (Some(tool), true) = (meant.pop(), meant.is_empty()) else {
        return Err(Error::Usage(format!(
            "there is no tool {}, or more than one: give its id (`perennial mcp tools`)",
            args.tool
        )));
    };
    let Some(changed) = &tool.changed else {
        return Err(Error::Failed(format!("{} is what was approved", tool.name)));
    };
    if !context.json {
        show("was", &tool.approved)?;
        show("is", changed)?;
    }
    if !args.yes {
        let how = format!("nothing is approved yet: perennial mcp approve {} --yes", tool.id);
        return Err(Error::Usage(how));
    }
    let path = format!("{PATH}/{}", tool.id);
    let approved = client.patch(&path, &json!({"approved_hash": changed.hash})).await?;
    match context.json {
        true => output::line(approved.text().trim_end())?,
        false => output::line(&format!(
            "approved  {} of {}",
            sanitize(&tool.name),
            sanitize(&tool.url)
        ))?,
    }
    Ok(Exit::Done)
}

fn show(when: &str, card: &Card) -> Result<(), Error> {
    output::line(&format!("{when:>4}  {}", sanitize(card.description.trim())))?;
    output::line(&format!("      {}", sanitize(&card.input_schema.to_string())))?;
    match &card.annotations {
        Some(hints) => output::line(&format!("      {}", sanitize(&hints.to_string()))),
        None => Ok(()),
    }
}
