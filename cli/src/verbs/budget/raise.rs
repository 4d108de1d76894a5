//! `perennial budget raise BUDGET LIMIT`

use clap::Args;
use serde_json::json;

use super::Budget;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Set another limit; sessions that rest for this budget go on
#[derive(Debug, Args)]
pub struct RaiseArgs {
    budget: String,
    /// The new limit, not what is added to the old one: a whole number, dollars for money
    limit: String,
}

/// Changes it.
pub async fn run(context: &Context, args: RaiseArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let path = format!("/v1/budgets/{}", args.budget);
    let budget: Budget = client.get(&path, &[]).await?.parse()?;
    let limit = super::limit(&args.limit, budget.metric == "money")?;
    let changed = client.post(&path, &json!({ "limit": limit })).await?;
    super::print(context, &changed)
}
