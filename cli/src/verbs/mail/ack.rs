//! `perennial mail ack QUEUE RECEIPT`

use serde_json::json;

use super::ReceiptArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Says so.
pub async fn run(context: &Context, args: ReceiptArg) -> Result<Exit, Error> {
    let body = json!({"receipt": args.receipt});
    super::print(
        context,
        &context.client()?.post(&args.path("acknowledge"), &body).await?,
    )
}
