//! `perennial mail send TO TEXT`

use std::io::Read as _;

use clap::Args;
use perennial_schema::mail::Address;
use serde_json::json;

use super::messages;
use crate::error::Error;
use crate::exit::Exit;
use crate::verbs::Context;

/// Most of a text that is read from standard input, in bytes; the server takes less.
const TEXT_BYTES: u64 = 1024 * 1024;

/// Send a message; it is durable when this returns
#[derive(Debug, Args)]
pub struct SendArgs {
    /// agent/NAME, session/ID or queue/NAME
    to: Address,
    /// What it says; `-` reads standard input
    text: String,
    /// One line
    #[arg(long, short)]
    subject: Option<String>,
    /// The conversation it belongs to
    #[arg(long)]
    thread: Option<String>,
    /// The message it answers
    #[arg(long, value_name = "MESSAGE")]
    in_reply_to: Option<String>,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    deliver_at: Option<String>,
    /// Dead from this time on (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// The queue in which answers are received
    #[arg(long, value_name = "QUEUE", value_parser = super::queue)]
    reply_to: Option<Address>,
}

/// Sends it.
pub async fn run(context: &Context, args: SendArgs) -> Result<Exit, Error> {
    let text = if args.text == "-" { stdin()? } else { args.text };
    let mut body = json!({"content": text});
    let given = [
        ("subject", args.subject),
        ("thread", args.thread),
        ("in_reply_to", args.in_reply_to),
        ("deliver_at", args.deliver_at),
        ("expires_at", args.expires_at),
        ("reply_to", args.reply_to.map(|queue| queue.to_string())),
    ];
    for (member, value) in given {
        if let Some(value) = value {
            body[member] = json!(value);
        }
    }
    let sent = context.client()?.post(&messages(&args.to), &body).await?;
    super::print(context, &sent)
}

fn stdin() -> Result<String, Error> {
    let mut text = String::new();
    std::io::stdin()
        .take(TEXT_BYTES)
        .read_to_string(&mut text)
        .map_err(Error::io("cannot read standard input"))?;
    Ok(text)
}
