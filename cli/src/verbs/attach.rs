//! `perennial attach SESSION`

use std::collections::BTreeSet;

use clap::Args;

use super::Context;
use crate::error::Error;
use crate::exit::Exit;
use crate::follow::{CtrlC, OnCtrlC, Options, follow};
use crate::output;

/// Show a session from its beginning until it rests
///
/// Asks like `run` when a tool wants confirmation. Ctrl-C leaves; the session goes on.
#[derive(Debug, Args)]
pub struct AttachArgs {
    session: String,
    /// Only events after this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// Stay when the session rests
    #[arg(long)]
    stay: bool,
    /// Extension events too (with --json)
    #[arg(long)]
    extensions: bool,
    /// Allow every tool that asks
    #[arg(long)]
    auto_approve: bool,
}

/// Follows.
pub async fn run(context: &Context, args: AttachArgs) -> Result<Exit, Error> {
    if args.extensions && !context.json {
        return Err(Error::Usage("--extensions needs --json".to_owned()));
    }
    let client = context.client()?.patient();
    let ctrl_c = CtrlC::listen()?;
    // A session that never worked has no event that could say it rests.
    if !args.stay && client.session(&args.session).await?.head() == 0 {
        output::note("this session has no events yet");
        return Ok(Exit::Done);
    }
    let options = Options {
        after: args.after,
        own: BTreeSet::new(),
        on_ctrl_c: OnCtrlC::Detach,
        json: context.json,
        style: context.style,
        auto_approve: args.auto_approve,
        stay: args.stay,
        extensions: args.extensions,
    };
    follow(&client, &args.session, ctrl_c, options).await
}
