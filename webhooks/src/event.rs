//! What is told, and in which words: the adopted API's (`session.status_idled`, …), thin; a receiver asks for the rest.

use perennial_engine::ports::{SessionRow, WEBHOOK_EVENTS};
use perennial_schema::event::{Body, Record};
use perennial_schema::session::StopReason;
use perennial_schema::{DeliveryId, Timestamp, WebhookId};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Types of a log's events from which there is something to tell.
pub(crate) const SOURCES: [&str; 8] = [
    "session.status_running",
    "session.status_idle",
    "session.status_rescheduled",
    "session.status_terminated",
    "session.deleted",
    "session.error",
    "budget.warning",
    "mail.received",
];

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The same whoever is told and however often.
    pub id: String,
    /// One of [`WEBHOOK_EVENTS`].
    pub kind: &'static str,
    /// When it happened.
    pub at: Timestamp,
    /// What is sent.
    pub body: String,
}

/// A session was made.
#[must_use]
pub fn created(row: &SessionRow) -> Event {
    told(row, "session.created", "", row.created_at, Map::new())
}

/// What an event of a session's log comes to: nothing for most.
#[must_use]
pub fn of(row: &SessionRow, record: &Record) -> Vec<Event> {
    let id = record.id.to_string();
    let about = Map::from_iter([("session_event_id".to_owned(), Value::from(id.clone()))]);
    let told = |kind, more: Map<String, Value>| {
        let mut about = about.clone();
        about.extend(more);
        told(row, kind, &id, record.created_at, about)
    };
    let Ok(event) = record.decode() else { return Vec::new() };
    match event.body {
        Body::SessionStatusRunning(_) => vec![told("session.status_run_started", Map::new())],
        Body::SessionStatusIdle(idle) => rested(&idle.stop_reason, told),
        Body::SessionStatusRescheduled(_) => vec![told("session.status_rescheduled", Map::new())],
        Body::SessionStatusTerminated(_) => vec![told("session.status_terminated", Map::new())],
        Body::SessionDeleted(_) => vec![told("session.deleted", Map::new())],
        Body::SessionError(_) => vec![told("session.error", Map::new())],
        Body::BudgetWarning(_) => vec![told("budget.warning", Map::new())],
        Body::MailReceived(mail) => vec![told("mail.received", letter(&mail.message_id))],
        _ => Vec::new(),
    }
}

fn letter(id: &impl ToString) -> Map<String, Value> {
    Map::from_iter([("message_id".to_owned(), Value::from(id.to_string()))])
}

/// Each rest is one, and some want more than to be known.
fn rested(reason: &StopReason, told: impl Fn(&'static str, Map<String, Value>) -> Event) -> Vec<Event> {
    let mut events = vec![told("session.status_idled", Map::new())];
    match reason {
        StopReason::RequiresAction { event_ids } => {
            let ids: Vec<String> = event_ids.iter().map(ToString::to_string).collect();
            let awaited = Map::from_iter([("event_ids".to_owned(), Value::from(ids))]);
            events.push(told("session.requires_action", awaited));
        }
        StopReason::BudgetReached => events.push(told("session.budget_reached", Map::new())),
        _ => {}
    }
    events
}

fn told(row: &SessionRow, kind: &'static str, of: &str, at: Timestamp, about: Map<String, Value>) -> Event {
    debug_assert!(WEBHOOK_EVENTS.contains(&kind));
    let workspace = row.key.workspace.to_string();
    let id = format!(
        "event_{}",
        named(&format!("{workspace} {} {of} {kind}", row.key.session)).simple()
    );
    let mut data = json!({
        "type": kind,
        "id": row.key.session,
        // There is nothing above a workspace here.
        "organization_id": workspace,
        "workspace_id": workspace,
    });
    if let Some(fields) = data.as_object_mut() {
        fields.extend(about);
    }
    let body = json!({ "type": "event", "id": id, "created_at": at, "data": data });
    Event {
        body: body.to_string(),
        id,
        kind,
        at,
    }
}

/// The delivery of an event to a receiver: made twice it is the same.
#[must_use]
pub fn delivery_id(webhook: WebhookId, event: &str) -> DeliveryId {
    DeliveryId::from_uuid(named(&format!("{webhook} {event}")))
}

fn named(text: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes
        .iter_mut()
        .zip(Sha256::digest(text))
        .for_each(|(byte, hashed)| *byte = hashed);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
