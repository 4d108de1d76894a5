//! `perennial agent list`

use clap::Args;

use crate::client::pages::typed;
use crate::client::resources::Agent;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// List agents
#[derive(Debug, Args)]
pub struct ListArgs {
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Archived ones too
    #[arg(long, short)]
    all: bool,
}

/// Prints a table.
pub async fn run(context: &Context, args: ListArgs) -> Result<Exit, Error> {
    let query: Vec<_> = args
        .all
        .then(|| ("include_archived", "true".to_owned()))
        .into_iter()
        .collect();
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let items = context.client()?.list("/v1/agents", &query, limit).await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let row = |agent: Agent| {
        vec![
            agent.snapshot.id,
            agent.snapshot.version.to_string(),
            agent.snapshot.name,
            agent.snapshot.model.id,
            agent.snapshot.harness.unwrap_or_else(|| "native".to_owned()),
        ]
    };
    let rows: Vec<Vec<String>> = typed::<Agent>(&items)?.into_iter().map(row).collect();
    output::table(&["AGENT", "VERSION", "NAME", "MODEL", "HARNESS"], &rows)?;
    Ok(Exit::Done)
}
