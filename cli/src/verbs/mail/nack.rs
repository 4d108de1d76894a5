//! `perennial mail nack QUEUE RECEIPT`

use clap::Args;
use serde_json::json;

use super::ReceiptArg;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Give a received message back: somebody else may do it
#[derive(Debug, Args)]
pub struct NackArgs {
    #[command(flatten)]
    receipt: ReceiptArg,
    /// Hand it out again after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    delay: u64,
}

/// Says so.
pub async fn run(context: &Context, args: NackArgs) -> Result<Exit, Error> {
    let body = json!({"receipt": args.receipt.receipt, "delay": args.delay});
    super::print(
        context,
        &context.client()?.post(&args.receipt.path("reject"), &body).await?,
    )
}
