//! `perennial executor diff EXECUTOR`

use clap::Args;

use super::id_of;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;
use crate::verbs::session::diff::{Wanted, show};

/// Show what has changed in a repository on a machine
///
/// To a terminal with colours, elsewhere as a patch that git applies.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Its id, or its name if no other has it
    executor: String,
    /// Absolute path of a folder there [default: the one that it offers]
    #[arg(long, value_name = "PATH")]
    dir: Option<String>,
    #[command(flatten)]
    wanted: Wanted,
}

/// Shows it.
pub async fn run(context: &Context, args: DiffArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let id = id_of(&client, &args.executor).await?;
    let mut query = args.wanted.query();
    query.extend(args.dir.map(|dir| ("dir", dir)));
    show(context, &client, &format!("/v1/executors/{id}/diff"), &query).await
}
