//! `perennial approvals`: what waits for somebody, across sessions.

use clap::Args;
use serde::Deserialize;

use super::Context;
use crate::client::pages::typed;
use crate::client::pending::PendingUse;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::{sanitize, summary};

/// List the tool calls of all sessions that wait for an answer
#[derive(Debug, Args)]
pub struct ApprovalsArgs {
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Deserialize)]
struct Approval {
    session_id: String,
    agent_name: String,
    tool_use: PendingUse,
}

/// Prints a table.
pub async fn run(context: &Context, args: ApprovalsArgs) -> Result<Exit, Error> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let items = context.client()?.list("/v1/approvals", &[], limit).await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let approvals: Vec<Approval> = typed(&items)?;
    let row = |approval: Approval| {
        let wanted = if approval.tool_use.wants_confirmation() {
            "yes or no"
        } else {
            "a result"
        };
        let (name, input) = (&approval.tool_use.name, &approval.tool_use.input);
        let call = format!("{} {}", sanitize(name), summary(name, input)).replace('\n', " ");
        vec![
            approval.session_id,
            approval.tool_use.id,
            approval.agent_name,
            wanted.to_owned(),
            call,
        ]
    };
    let rows: Vec<Vec<String>> = approvals.into_iter().map(row).collect();
    output::table(&["SESSION", "TOOL USE", "AGENT", "WANTS", "CALL"], &rows)?;
    Ok(Exit::Done)
}
