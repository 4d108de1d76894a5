//! `perennial executor list`

use clap::Args;

use super::Executor;
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// List executors
#[derive(Debug, Args)]
pub struct ListArgs {
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Prints a table.
pub async fn run(context: &Context, args: ListArgs) -> Result<Exit, Error> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let items = context.client()?.list("/v1/executors", &[], limit).await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let row = |executor: Executor| {
        let card = executor.card.unwrap_or_default();
        vec![
            executor.id,
            executor.name,
            executor.status,
            format!("{} {}", card.os, card.arch),
            card.cwd.unwrap_or_default(),
            executor.last_seen_at.unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = typed::<Executor>(&items)?.into_iter().map(row).collect();
    output::table(&["EXECUTOR", "NAME", "STATUS", "MACHINE", "FOLDER", "LAST SEEN"], &rows)?;
    Ok(Exit::Done)
}
