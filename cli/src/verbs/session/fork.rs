//! `perennial session fork SESSION`

use clap::Args;
use serde_json::json;

use crate::client::resources::Session;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Copy a session, also one that works, and print the copy's id
///
/// The copy's workspace folder is the folder as it is now.
#[derive(Debug, Args)]
pub struct ForkArgs {
    session: String,
    /// Copy only the first SEQ events [default: all]
    #[arg(long, value_name = "SEQ")]
    at: Option<u64>,
}

/// Forks.
pub async fn run(context: &Context, args: ForkArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let at = match args.at {
        Some(at) => at,
        None => client.session(&args.session).await?.head(),
    };
    let path = format!("/v1/sessions/{}/fork", args.session);
    let body = client.post(&path, &json!({"at_seq": at})).await?;
    if context.json {
        output::line(body.text())?;
    } else {
        output::line(&body.parse::<Session>()?.id)?;
    }
    Ok(Exit::Done)
}
