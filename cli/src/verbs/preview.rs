//! `perennial preview EXECUTOR PORT`

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::executor;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Print an address that opens a port of a connected machine in a browser
///
/// It is a site of its own, below localhost or the server's --preview-url, and opens once, within half a minute; the browser that
/// opened it stays in for twelve hours. What listens there sees requests as if they were made at its machine.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// The executor's id, or its name if no other has it
    executor: String,
    /// What listens there on the machine's loopback address is shown
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

#[derive(Deserialize)]
struct Made {
    url: String,
}

/// Asks for an address.
pub async fn run(context: &Context, args: PreviewArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let id = executor::id_of(&client, &args.executor).await?;
    let path = format!("/v1/executors/{id}/previews");
    let made = client.post(&path, &json!({"port": args.port})).await?;
    if context.json {
        output::line(made.text())?;
    } else {
        output::line(&made.parse::<Made>()?.url)?;
    }
    Ok(Exit::Done)
}
