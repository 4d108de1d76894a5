//! `perennial executor remove EXECUTOR`

use super::{ExecutorArg, id_of};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Removes it.
pub async fn run(context: &Context, args: ExecutorArg) -> Result<Exit, Error> {
    let client = context.client()?;
    let id = id_of(&client, &args.executor).await?;
    let body = client.delete(&format!("/v1/executors/{id}")).await?;
    if context.json {
        output::line(body.text())?;
    } else {
        output::line(&format!("removed {id}"))?;
    }
    Ok(Exit::Done)
}
