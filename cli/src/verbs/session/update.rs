//! `perennial session update SESSION`

use clap::Args;
use serde_json::json;

use super::switch::Switch;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Change a session: its title, or while it rests the model, harness and system prompt of its next turns
#[derive(Debug, Args)]
pub struct UpdateArgs {
    session: String,
    /// New title
    #[arg(long)]
    title: Option<String>,
    #[command(flatten)]
    switch: Switch,
}

/// Changes it.
pub async fn run(context: &Context, args: UpdateArgs) -> Result<Exit, Error> {
    let mut body = json!({});
    if let Some(title) = &args.title {
        body["title"] = json!(title);
    }
    let agent = args.switch.members();
    if !agent.is_empty() {
        body["agent"] = json!(agent);
    }
    if body == json!({}) {
        return Err(Error::Usage(
            "nothing to change: use --model, --harness, --system or --title".to_owned(),
        ));
    }
    let path = format!("/v1/sessions/{}", args.session);
    let body = context.client()?.post(&path, &body).await?;
    super::print(context, &body)
}
