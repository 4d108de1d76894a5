//! `perennial agent update AGENT`

use clap::Args;
use serde_json::json;

use super::Definition;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Change an agent: makes a new version; running sessions keep theirs
#[derive(Debug, Args)]
pub struct UpdateArgs {
    agent: String,
    /// New name
    #[arg(long)]
    name: Option<String>,
    /// Only if this is still the newest version
    #[arg(long = "if-version", value_name = "VERSION")]
    if_version: Option<u64>,
    #[command(flatten)]
    definition: Definition,
}

/// Updates it.
pub async fn run(context: &Context, args: UpdateArgs) -> Result<Exit, Error> {
    let mut body = args.definition.body(args.name.as_deref())?;
    if let Some(version) = args.if_version {
        body["version"] = json!(version);
    }
    let agent = context
        .client()?
        .post(&format!("/v1/agents/{}", args.agent), &body)
        .await?;
    super::print(context, &agent)
}
