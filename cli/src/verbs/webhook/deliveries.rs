//! `perennial webhook deliveries WEBHOOK`

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::path;
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// List what a receiver was told, is to be told, and what came of it, newest first
#[derive(Debug, Args)]
pub struct DeliveriesArgs {
    webhook: String,
    /// Only those
    #[arg(long, value_name = "STATUS")]
    status: Option<Status>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Status {
    Pending,
    Delivered,
    Failed,
}

#[derive(Debug, Deserialize)]
struct Delivery {
    id: String,
    event_type: String,
    status: String,
    attempts: u32,
    outcome: Option<String>,
    next_attempt_at: Option<String>,
    created_at: String,
}

/// Prints a table.
pub async fn run(context: &Context, args: DeliveriesArgs) -> Result<Exit, Error> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let status = args.status.map(|status| match status {
        Status::Pending => "pending",
        Status::Delivered => "delivered",
        Status::Failed => "failed",
    });
    let query: Vec<_> = status.map(|status| ("status", status.to_owned())).into_iter().collect();
    let deliveries = format!("{}/deliveries", path(&args.webhook));
    let items = context.client()?.list(&deliveries, &query, limit).await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let row = |delivery: Delivery| {
        vec![
            delivery.id,
            delivery.event_type,
            delivery.status,
            delivery.attempts.to_string(),
            delivery.next_attempt_at.unwrap_or_default(),
            delivery.created_at,
            delivery.outcome.unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = typed::<Delivery>(&items)?.into_iter().map(row).collect();
    output::table(
        &["DELIVERY", "EVENT", "STATUS", "ATTEMPTS", "NEXT", "HAPPENED", "OUTCOME"],
        &rows,
    )?;
    Ok(Exit::Done)
}
