//! `perennial mail replay MAILBOX MESSAGE`

use serde_json::json;

use super::MessageArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Asks for it.
pub async fn run(context: &Context, args: MessageArg) -> Result<Exit, Error> {
    let path = format!("{}/replay", args.path());
    super::print(context, &context.client()?.post(&path, &json!({})).await?)
}
