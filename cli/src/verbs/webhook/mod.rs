//! `perennial webhook …`: who is told of what happens.

pub mod create;
pub mod delete;
pub mod deliveries;
pub mod list;
pub mod replay;
pub mod turn;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::Context;
use crate::error::Error;
use crate::exit::Exit;

/// Verbs of a webhook.
#[derive(Debug, Subcommand)]
pub enum WebhookVerb {
    Create(create::CreateArgs),
    List(list::ListArgs),
    /// Tell a receiver what happens from now on, and what it was still to be told
    Enable(WebhookArg),
    /// Tell a receiver nothing
    Disable(WebhookArg),
    /// Forget a receiver, and what it was still to be told
    Delete(WebhookArg),
    Deliveries(deliveries::DeliveriesArgs),
    Replay(replay::ReplayArgs),
}

/// Just a webhook.
#[derive(Debug, Args)]
pub struct WebhookArg {
    webhook: String,
}

#[derive(Debug, Deserialize)]
struct Webhook {
    id: String,
    url: String,
    events: Vec<String>,
    status: String,
    disabled_reason: Option<String>,
    failures: u64,
    secret: Option<String>,
}

/// Where one is.
fn path(webhook: &str) -> String {
    format!("/v1/webhooks/{webhook}")
}

/// Runs one of them.
pub async fn run(context: &Context, verb: WebhookVerb) -> Result<Exit, Error> {
    match verb {
        WebhookVerb::Create(args) => create::run(context, args).await,
        WebhookVerb::List(args) => list::run(context, args).await,
        WebhookVerb::Enable(args) => turn::run(context, args, true).await,
        WebhookVerb::Disable(args) => turn::run(context, args, false).await,
        WebhookVerb::Delete(args) => delete::run(context, args).await,
        WebhookVerb::Deliveries(args) => deliveries::run(context, args).await,
        WebhookVerb::Replay(args) => replay::run(context, args).await,
    }
}
