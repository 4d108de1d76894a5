//! `perennial deny SESSION [TOOL_USE_ID]`

use clap::Args;

use super::{Context, approve};
use crate::error::Error;
use crate::exit::Exit;

/// Refuse a tool call that waits for confirmation
#[derive(Debug, Args)]
pub struct DenyArgs {
    session: String,
    /// Event id of the tool use; without it, all that wait
    tool_use_id: Option<String>,
    /// What the model is told
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
}

/// Refuses.
pub async fn run(context: &Context, args: DenyArgs) -> Result<Exit, Error> {
    approve::answer(context, &args.session, args.tool_use_id, false, args.message).await
}
