//! `perennial webhook list`

use clap::Args;

use super::Webhook;
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// At most so many are shown; a workspace has fewer.
const ALL: usize = 1000;

/// List receivers of webhooks, and whether they are told anything
#[derive(Debug, Args)]
pub struct ListArgs {}

/// Prints a table.
pub async fn run(context: &Context, _: ListArgs) -> Result<Exit, Error> {
    let items = context.client()?.list("/v1/webhooks", &[], ALL).await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let row = |webhook: Webhook| {
        vec![
            webhook.id,
            webhook.disabled_reason.unwrap_or(webhook.status),
            webhook.failures.to_string(),
            if webhook.events.is_empty() {
                "all".to_owned()
            } else {
                webhook.events.join(",")
            },
            webhook.url,
        ]
    };
    let rows: Vec<Vec<String>> = typed::<Webhook>(&items)?.into_iter().map(row).collect();
    output::table(&["WEBHOOK", "STATUS", "FAILURES", "EVENTS", "URL"], &rows)?;
    Ok(Exit::Done)
}
