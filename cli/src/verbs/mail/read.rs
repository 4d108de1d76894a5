//! `perennial mail read MAILBOX MESSAGE`

use super::MessageArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Prints it.
pub async fn run(context: &Context, args: MessageArg) -> Result<Exit, Error> {
    super::print(context, &context.client()?.get(&args.path(), &[]).await?)
}
