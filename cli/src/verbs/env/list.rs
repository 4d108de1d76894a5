//! `perennial env list`

use clap::Args;

use crate::client::pages::typed;
use crate::client::resources::Environment;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// List environments
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
    let items = context.client()?.list("/v1/environments", &query, limit).await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let row = |environment: Environment| {
        vec![
            environment.id,
            environment.config.kind,
            environment.name,
            environment.config.dir.unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = typed::<Environment>(&items)?.into_iter().map(row).collect();
    output::table(&["ENVIRONMENT", "TYPE", "NAME", "FOLDER"], &rows)?;
    Ok(Exit::Done)
}
