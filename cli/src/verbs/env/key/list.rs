//! `perennial env key list ENVIRONMENT`

use clap::Args;

use super::{Key, path};
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// At most so many are shown; an environment has fewer.
const ALL: usize = 1000;

/// List the keys of a self-hosted environment's workers
#[derive(Debug, Args)]
pub struct ListArgs {
    environment: String,
}

/// Prints a table.
pub async fn run(context: &Context, args: ListArgs) -> Result<Exit, Error> {
    let items = context.client()?.list(&path(&args.environment), &[], ALL).await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let keys = typed::<Key>(&items)?;
    let rows: Vec<Vec<String>> = keys
        .into_iter()
        .map(|key| vec![key.id, key.name, key.created_at])
        .collect();
    output::table(&["KEY", "NAME", "CREATED"], &rows)?;
    Ok(Exit::Done)
}
