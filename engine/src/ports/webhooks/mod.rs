//! Webhooks out: who is told of what happens, what they are still to be told, and how far each workspace was looked through.
//!
//! What there is to tell follows from the logs (no event is queued beside its append, so none can be lost between the two): a
//! watch walks a workspace's changes from where the last look ended and adds a delivery per receiver and event. Adding one
//! again changes nothing, because its id follows from both.

mod rules;

use async_trait::async_trait;
use perennial_schema::{DeliveryId, SessionId, Timestamp, WebhookId, WorkspaceId};
pub use rules::{WEBHOOK_ATTEMPTS, WEBHOOK_DISABLED_AFTER_FAILURES, WEBHOOK_DISABLED_AFTER_MILLIS};

use super::{ChangeCursor, StoreError};

/// What a receiver can be told of; named as in the adopted API where it has a name for it.
pub const WEBHOOK_EVENTS: [&str; 11] = [
    "session.created",
    "session.status_run_started",
    "session.status_idled",
    "session.requires_action",
    "session.status_rescheduled",
    "session.status_terminated",
    "session.budget_reached",
    "session.deleted",
    "session.error",
    "budget.warning",
    "mail.received",
];

/// A receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Which.
    pub id: WebhookId,
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Where it is told.
    pub url: String,
    /// For people.
    pub description: String,
    /// Only these types; empty means all.
    pub events: Vec<String>,
    /// What its deliveries are signed with, sealed.
    pub secret: String,
    /// Why it is told nothing; none while it is.
    pub disabled: Option<String>,
    /// It is told what happened from then on.
    pub since: Timestamp,
    /// Failed attempts since the last that did not.
    pub failures: u64,
    /// The first of them.
    pub failing_since: Option<Timestamp>,
    /// Made at.
    pub created_at: Timestamp,
    /// Changed at.
    pub updated_at: Timestamp,
    /// Grows with every change; who changes it names the one it saw.
    pub revision: u64,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is due, or will be.
    Pending,
    /// The receiver has said that it has it.
    Delivered,
    /// It was tried as often as it is.
    Failed,
}

/// One event for one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which; follows from the receiver and the event.
    pub id: DeliveryId,
    /// Tenant.
    pub workspace: WorkspaceId,
    /// The receiver.
    pub webhook: WebhookId,
    /// The event's own id, the same for every receiver and in every attempt: `webhook-id`.
    pub event: String,
    /// The event's type.
    pub kind: String,
    /// What is sent, byte for byte.
    pub body: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: u32,
    /// The next attempt.
    pub due_at: Timestamp,
    /// What the receiver answered last.
    pub status: Option<u16>,
    /// What came of the last attempt, in words.
    pub outcome: Option<String>,
    /// Added at.
    pub created_at: Timestamp,
    /// Delivered or given up at.
    pub ended_at: Option<Timestamp>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where the delivery stands now.
    pub state: DeliveryState,
    /// Milliseconds until the next attempt, while it is pending.
    pub again_in_millis: u64,
    /// What the receiver answered.
    pub status: Option<u16>,
    /// In words.
    pub outcome: String,
}

/// How far a workspace was looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// The last change looked at; none before the first.
    pub place: Option<ChangeCursor>,
}

/// Deliveries of a receiver, newest first.
#[derive(Clone, Debug)]
pub struct DeliveryListing {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Receiver.
    pub webhook: WebhookId,
    /// Only these.
    pub state: Option<DeliveryState>,
    /// Strictly beyond this (creation time, id).
    pub before: Option<(Timestamp, DeliveryId)>,
    /// At most so many.
    pub limit: u32,
}

/// Receivers, deliveries and watches.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Adds a receiver, and begins to watch its workspace. False when the workspace has `most` already; one of this id that is
    /// there stays as it is.
    async fn add(&self, webhook: &Webhook, most: u32) -> Result<bool, StoreError>;

    /// A receiver.
    async fn webhook(&self, workspace: WorkspaceId, id: WebhookId) -> Result<Option<Webhook>, StoreError>;

    /// All of a workspace, newest first.
    async fn webhooks(&self, workspace: WorkspaceId) -> Result<Vec<Webhook>, StoreError>;

    /// Puts a receiver in the place of the one of this revision. False when somebody else changed it first.
    async fn swap(&self, seen: u64, webhook: &Webhook) -> Result<bool, StoreError>;

    /// Forgets a receiver and what it was to be told. False when there is none.
    async fn remove(&self, workspace: WorkspaceId, id: WebhookId) -> Result<bool, StoreError>;

    /// Takes a workspace that somebody wants to be told of and nobody else is looking through; the one not looked through for
    /// longest. Nobody else is given it for `lease_millis`, or until it is put back.
    async fn take_watch(&self, lease_millis: u64, not: &[WorkspaceId]) -> Result<Option<Watch>, StoreError>;

    /// Puts a workspace back, looked through up to here.
    async fn put_watch(&self, watch: &Watch) -> Result<(), StoreError>;

    /// Up to which event a session's log was looked through; none when it was not.
    async fn seen(&self, workspace: WorkspaceId, session: SessionId) -> Result<Option<u64>, StoreError>;

    /// It was looked through up to here. Never goes back.
    async fn saw(&self, workspace: WorkspaceId, session: SessionId, seq: u64) -> Result<(), StoreError>;

    /// Adds a delivery. False when it is there already, or its receiver has `most` that wait.
    async fn enqueue(&self, delivery: &Delivery, most: u32) -> Result<bool, StoreError>;

    /// Takes what is due, of receivers that are told anything: an attempt each, which nobody else makes for `lease_millis`.
    async fn take(&self, limit: u32, lease_millis: u64) -> Result<Vec<Delivery>, StoreError>;

    /// Says what came of an attempt. False when the delivery was taken again since, or is gone.
    async fn settle(&self, taken: &Delivery, attempt: &Attempt) -> Result<bool, StoreError>;

    /// Deliveries.
    async fn deliveries(&self, listing: &DeliveryListing) -> Result<Vec<Delivery>, StoreError>;

    /// One of them.
    async fn delivery(&self, workspace: WorkspaceId, id: DeliveryId) -> Result<Option<Delivery>, StoreError>;

    /// Makes a delivery due as if it had never been tried. None when there is none.
    async fn replay(&self, workspace: WorkspaceId, id: DeliveryId) -> Result<Option<Delivery>, StoreError>;

    /// Forgets deliveries that ended `kept_millis` ago.
    async fn forget(&self, kept_millis: u64) -> Result<(), StoreError>;
}
