//! `perennial mail receive QUEUE`

use clap::Args;
use perennial_schema::mail::Address;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Duration, Instant};

use super::{Mail, show};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// So long one request waits at the server; longer waits are several.
const WAIT_ONCE: u64 = 20;

/// Receive messages of a queue; each is hidden from others until it is acknowledged or its time is up
///
/// Exits with 1 when nothing came in time.
#[derive(Debug, Args)]
pub struct ReceiveArgs {
    /// NAME or queue/NAME
    #[arg(value_parser = super::queue)]
    queue: Address,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    limit: u32,
    /// Wait so many seconds for one
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// Hide them from others for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    visibility_timeout: u64,
    /// Acknowledge them at once: what fails from here on is lost
    #[arg(long)]
    ack: bool,
}

#[derive(Debug, Deserialize)]
struct Received {
    data: Vec<Box<RawValue>>,
}

/// Prints them.
pub async fn run(context: &Context, args: ReceiveArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let path = format!("/v1/mailboxes/{}/receive", args.queue);
    let until = Instant::now() + Duration::from_secs(args.wait);
    let received = loop {
        let left = until.saturating_duration_since(Instant::now()).as_secs();
        let body = json!({
            "limit": args.limit,
            "visibility_timeout": args.visibility_timeout,
            "wait": left.min(WAIT_ONCE),
        });
        let received: Received = client.post(&path, &body).await?.parse()?;
        if !received.data.is_empty() || left == 0 {
            break received.data;
        }
    };
    for item in &received {
        let mail: Mail = serde_json::from_str(item.get()).map_err(|error| Error::Answer {
            what: "receive".to_owned(),
            detail: error.to_string(),
        })?;
        if context.json {
            output::line(item.get())?;
        } else {
            show(&mail)?;
        }
        if args.ack
            && let Some(receipt) = &mail.receipt
        {
            let path = format!("{}/{}/acknowledge", super::messages(&args.queue), mail.id);
            client.post(&path, &json!({"receipt": receipt})).await?;
        }
    }
    Ok(if received.is_empty() { Exit::Failed } else { Exit::Done })
}
