//! Receivers of webhooks, and what they are told.

use perennial_engine::ports::{Delivery, DeliveryState, Webhook};
use perennial_schema::event::Raw;
use perennial_schema::{DeliveryId, Timestamp, WebhookId};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// `POST /v1/webhooks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    pub url: String,
    #[serde(default)]
    pub events: Option<Vec<String>>,
    #[serde(default)]
    pub description: Option<String>,
}

/// `POST /v1/webhooks/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub events: Option<Vec<String>>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// A receiver.
#[derive(Serialize)]
pub(crate) struct WebhookView {
    #[serde(rename = "type")]
    kind: &'static str,
    id: WebhookId,
    url: String,
    description: String,
    events: Vec<String>,
    status: &'static str,
    disabled_reason: Option<String>,
    failures: u64,
    failing_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl WebhookView {
    /// With its secret, for the answer that made it.
    pub(crate) fn of(webhook: &Webhook, secret: Option<String>) -> Self {
        Self {
            kind: "webhook",
            id: webhook.id,
            url: webhook.url.clone(),
            description: webhook.description.clone(),
            events: webhook.events.clone(),
            status: if webhook.disabled.is_some() {
                "disabled"
            } else {
                "enabled"
            },
            disabled_reason: webhook.disabled.clone(),
            failures: webhook.failures,
            failing_since: webhook.failing_since,
            secret,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

/// One event for one receiver.
#[derive(Serialize)]
pub(crate) struct DeliveryView {
    #[serde(rename = "type")]
    kind: &'static str,
    id: DeliveryId,
    webhook_id: WebhookId,
    event_id: String,
    event_type: String,
    status: &'static str,
    attempts: u32,
    next_attempt_at: Option<Timestamp>,
    response_status: Option<u16>,
    outcome: Option<String>,
    body: Raw,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl DeliveryView {
    /// As it is now.
    ///
    /// # Errors
    /// When what is to be sent is no JSON.
    pub(crate) fn of(delivery: &Delivery) -> Result<Self, ApiError> {
        Ok(Self {
            kind: "webhook_delivery",
            id: delivery.id,
            webhook_id: delivery.webhook,
            event_id: delivery.event.clone(),
            event_type: delivery.kind.clone(),
            status: delivery.state.as_str(),
            attempts: delivery.attempts,
            next_attempt_at: (delivery.state == DeliveryState::Pending).then_some(delivery.due_at),
            response_status: delivery.status,
            outcome: delivery.outcome.clone(),
            body: serde_json::from_str(&delivery.body).map_err(|_| ApiError::bug())?,
            created_at: delivery.created_at,
            ended_at: delivery.ended_at,
        })
    }
}
