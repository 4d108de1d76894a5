//! `perennial budget delete BUDGET`

use super::BudgetArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Deletes it.
pub async fn run(context: &Context, args: BudgetArg) -> Result<Exit, Error> {
    let body = context
        .client()?
        .delete(&format!("/v1/budgets/{}", args.budget))
        .await?;
    if context.json {
        output::line(body.text())?;
    } else {
        output::line(&format!("deleted {}", args.budget))?;
    }
    Ok(Exit::Done)
}
