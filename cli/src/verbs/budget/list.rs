//! `perennial budget list`

use clap::Args;

use super::Budget;
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// List budgets and what is used of them
#[derive(Debug, Args)]
pub struct ListArgs {
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Prints a table.
pub async fn run(context: &Context, args: ListArgs) -> Result<Exit, Error> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let items = context.client()?.list("/v1/budgets", &[], limit).await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let row = |budget: Budget| {
        vec![
            budget.id.clone(),
            budget.metric.clone(),
            budget.period.clone(),
            budget.amount(budget.used),
            budget.amount(budget.reserved),
            budget.amount(budget.limit),
            budget.scope(),
        ]
    };
    let rows: Vec<Vec<String>> = typed::<Budget>(&items)?.into_iter().map(row).collect();
    output::table(
        &["BUDGET", "COUNTS", "PERIOD", "USED", "RESERVED", "LIMIT", "FOR"],
        &rows,
    )?;
    Ok(Exit::Done)
}
