//! `perennial executor rename EXECUTOR NAME`

use clap::Args;
use serde_json::json;

use super::{id_of, show};
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Give an executor another name
#[derive(Debug, Args)]
pub struct RenameArgs {
    /// Its id, or its name if no other has it
    executor: String,
    name: String,
}

/// Renames it.
pub async fn run(context: &Context, args: RenameArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let id = id_of(&client, &args.executor).await?;
    let body = json!({"name": args.name});
    show::print(context, &client.patch(&format!("/v1/executors/{id}"), &body).await?)
}
