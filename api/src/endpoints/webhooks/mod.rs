//! `/v1/webhooks…`: who is told of what happens, and what they were told. Ours, beside the adopted API: there they are made in a
//! console.

mod create;
mod delete;
mod deliveries;
mod list;
mod replay;
mod retrieve;
mod update;

pub(crate) use create::*;
pub(crate) use delete::*;
pub(crate) use deliveries::*;
pub(crate) use list::*;
pub(crate) use replay::*;
pub(crate) use retrieve::*;
pub(crate) use update::*;

use perennial_egress::{Allowed, Target};
use perennial_engine::ports::{WEBHOOK_EVENTS, Webhook};

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::{WEBHOOK_URL_BYTES, WEBHOOKS};
use crate::wire::{count, length};

/// The receiver in the path.
async fn find(app: &App, principal: Principal, id: &str) -> Result<Webhook, ApiError> {
    let missing = || ApiError::not_found("webhook", id);
    let found = app
        .ports
        .webhooks
        .webhook(principal.workspace, id.parse().map_err(|_| missing())?)
        .await?;
    found.ok_or_else(missing)
}

/// An address that something can be posted to. Names are resolved, and vetted again, whenever something is.
fn check_url(app: &App, url: &str) -> Result<(), ApiError> {
    length("url", url, 1, WEBHOOK_URL_BYTES)?;
    let target: Target = url.parse().map_err(|error| ApiError::field("url", error))?;
    match &app.config.egress {
        Some(guard) => guard
            .look(&target, &Allowed::All)
            .map_err(|error| ApiError::field("url", error)),
        None => Ok(()),
    }
}

fn check_events(events: &[String]) -> Result<(), ApiError> {
    count("events", events.len(), WEBHOOK_EVENTS.len())?;
    for (at, event) in events.iter().enumerate() {
        if !WEBHOOK_EVENTS.contains(&event.as_str()) {
            let event: String = event.chars().take(60).collect();
            return Err(ApiError::field(
                format!("events[{at}]"),
                format!("{event:?} is not known; expected one of {}", WEBHOOK_EVENTS.join(", ")),
            ));
        }
    }
    Ok(())
}

fn too_many() -> ApiError {
    ApiError::conflict(format!(
        "a workspace has at most {WEBHOOKS} webhooks; delete one that is not needed"
    ))
}
