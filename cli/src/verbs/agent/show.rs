//! `perennial agent show AGENT`

use clap::Args;

use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Show one agent
#[derive(Debug, Args)]
pub struct ShowArgs {
    agent: String,
    /// An earlier version
    #[arg(long, value_name = "VERSION")]
    at: Option<u64>,
}

/// Prints it.
pub async fn run(context: &Context, args: ShowArgs) -> Result<Exit, Error> {
    let query: Vec<_> = args
        .at
        .map(|version| ("version", version.to_string()))
        .into_iter()
        .collect();
    let body = context
        .client()?
        .get(&format!("/v1/agents/{}", args.agent), &query)
        .await?;
    super::print(context, &body)
}
