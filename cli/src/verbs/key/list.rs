//! `perennial key list`

use clap::Args;

use super::Key;
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// List virtual keys, without those of single turns
#[derive(Debug, Args)]
pub struct ListArgs {
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Prints a table.
pub async fn run(context: &Context, args: ListArgs) -> Result<Exit, Error> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let items = context.client()?.list("/v1/gateway_keys", &[], limit).await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let row = |key: Key| {
        let only = |names: Option<Vec<String>>| names.map_or_else(|| "all".to_owned(), |names| names.join(","));
        vec![
            key.id,
            key.kind,
            key.name,
            match (key.revoked_at, key.expires_at) {
                (Some(_), _) => "revoked".to_owned(),
                (None, Some(at)) => at,
                (None, None) => "never".to_owned(),
            },
            only(key.models),
            only(key.providers),
            key.session_id.unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = typed::<Key>(&items)?.into_iter().map(row).collect();
    output::table(
        &["KEY", "KIND", "NAME", "EXPIRES", "MODELS", "PROVIDERS", "SESSION"],
        &rows,
    )?;
    Ok(Exit::Done)
}
