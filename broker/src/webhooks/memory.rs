//! Webhooks without a disk: the same rules over maps behind a mutex.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use perennial_engine::ports::{
    Attempt, ChangeCursor, Clock, Delivery, DeliveryListing, DeliveryState, StoreError, Watch, Webhook, Webhooks,
};
use perennial_schema::{DeliveryId, SessionId, Timestamp, WebhookId, WorkspaceId};

/// Webhooks in this process.
pub struct Memory {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    webhooks: BTreeMap<WebhookId, Webhook>,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    watches: BTreeMap<WorkspaceId, (Option<ChangeCursor>, Timestamp)>,
    heads: BTreeMap<(WorkspaceId, SessionId), u64>,
}

impl Memory {
    /// Nobody is told anything.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn is_told(&self, webhook: WebhookId) -> bool {
        self.webhooks
            .get(&webhook)
            .is_some_and(|webhook| webhook.disabled.is_none())
    }

    fn of(&self, workspace: WorkspaceId) -> Vec<Webhook> {
        let all = self.webhooks.values();
        let mut found: Vec<Webhook> = all.filter(|webhook| webhook.workspace == workspace).cloned().collect();
        found.sort_by_key(|webhook| std::cmp::Reverse((webhook.created_at, webhook.id)));
        found
    }
}

#[async_trait]
impl Webhooks for Memory {
    async fn add(&self, webhook: &Webhook, most: u32) -> Result<bool, StoreError> {
        let mut kept = self.kept();
        if kept.webhooks.contains_key(&webhook.id) || kept.of(webhook.workspace).len() >= most as usize {
            return Ok(false);
        }
        kept.webhooks.insert(webhook.id, webhook.clone());
        let never = Timestamp::from_micros(0);
        kept.watches.entry(webhook.workspace).or_insert((None, never));
        Ok(true)
    }

    async fn webhook(&self, workspace: WorkspaceId, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        let found = self.kept().webhooks.get(&id).cloned();
        Ok(found.filter(|webhook| webhook.workspace == workspace))
    }

    async fn webhooks(&self, workspace: WorkspaceId) -> Result<Vec<Webhook>, StoreError> {
        Ok(self.kept().of(workspace))
    }

    async fn swap(&self, seen: u64, webhook: &Webhook) -> Result<bool, StoreError> {
        let mut kept = self.kept();
        let stored = kept.webhooks.get_mut(&webhook.id);
        let Some(stored) = stored.filter(|stored| stored.workspace == webhook.workspace && stored.revision == seen)
        else {
            return Ok(false);
        };
        *stored = Webhook {
            revision: seen + 1,
            ..webhook.clone()
        };
        Ok(true)
    }

    async fn remove(&self, workspace: WorkspaceId, id: WebhookId) -> Result<bool, StoreError> {
        let mut kept = self.kept();
        if kept
            .webhooks
            .get(&id)
            .is_none_or(|webhook| webhook.workspace != workspace)
        {
            return Ok(false);
        }
        kept.webhooks.remove(&id);
        kept.deliveries.retain(|_, delivery| delivery.webhook != id);
        Ok(true)
    }

    async fn take_watch(&self, lease_millis: u64, not: &[WorkspaceId]) -> Result<Option<Watch>, StoreError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let told: Vec<WorkspaceId> = kept
            .webhooks
            .values()
            .filter(|webhook| webhook.disabled.is_none())
            .map(|webhook| webhook.workspace)
            .collect();
        let free = kept
            .watches
            .iter_mut()
            .filter(|(workspace, (_, until))| *until <= now && told.contains(workspace) && !not.contains(workspace));
        let Some((workspace, (place, until))) = free.min_by_key(|(_, (_, until))| *until) else {
            return Ok(None);
        };
        *until = now.plus_millis(lease_millis);
        Ok(Some(Watch {
            workspace: *workspace,
            place: *place,
        }))
    }

    async fn put_watch(&self, watch: &Watch) -> Result<(), StoreError> {
        let now = self.clock.now();
        if let Some(kept) = self.kept().watches.get_mut(&watch.workspace) {
            *kept = (kept.0.max(watch.place), now);
        }
        Ok(())
    }

    async fn seen(&self, workspace: WorkspaceId, session: SessionId) -> Result<Option<u64>, StoreError> {
        Ok(self.kept().heads.get(&(workspace, session)).copied())
    }

    async fn saw(&self, workspace: WorkspaceId, session: SessionId, seq: u64) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let head = kept.heads.entry((workspace, session)).or_default();
        *head = seq.max(*head);
        Ok(())
    }

    async fn enqueue(&self, delivery: &Delivery, most: u32) -> Result<bool, StoreError> {
        let mut kept = self.kept();
        let waits = |other: &&Delivery| other.webhook == delivery.webhook && other.state == DeliveryState::Pending;
        if kept.deliveries.contains_key(&delivery.id)
            || !kept.webhooks.contains_key(&delivery.webhook)
            || kept.deliveries.values().filter(waits).count() >= most as usize
        {
            return Ok(false);
        }
        kept.deliveries.insert(delivery.id, delivery.clone());
        Ok(true)
    }

    async fn take(&self, limit: u32, lease_millis: u64) -> Result<Vec<Delivery>, StoreError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let mut due: Vec<(Timestamp, DeliveryId)> = kept
            .deliveries
            .values()
            .filter(|delivery| delivery.state == DeliveryState::Pending && delivery.due_at <= now)
            .filter(|delivery| kept.is_told(delivery.webhook))
            .map(|delivery| (delivery.due_at, delivery.id))
            .collect();
        due.sort_unstable();
        let mut taken = Vec::new();
        for (_, id) in due.into_iter().take(limit as usize) {
            if let Some(delivery) = kept.deliveries.get_mut(&id) {
                delivery.attempts += 1;
                delivery.due_at = now.plus_millis(lease_millis);
                taken.push(delivery.clone());
            }
        }
        Ok(taken)
    }

    async fn settle(&self, taken: &Delivery, attempt: &Attempt) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let stored = kept.deliveries.get_mut(&taken.id);
        let held = |stored: &&mut Delivery| {
            stored.state == DeliveryState::Pending && stored.attempts == taken.attempts && stored.due_at == taken.due_at
        };
        let Some(stored) = stored.filter(held) else {
            return Ok(false);
        };
        stored.state = attempt.state;
        stored.due_at = now.plus_millis(attempt.again_in_millis);
        stored.status = attempt.status;
        stored.outcome = Some(attempt.outcome.clone());
        stored.ended_at = (attempt.state != DeliveryState::Pending).then_some(now);
        Ok(true)
    }

    async fn deliveries(&self, listing: &DeliveryListing) -> Result<Vec<Delivery>, StoreError> {
        let kept = self.kept();
        let wanted = |delivery: &&Delivery| {
            delivery.workspace == listing.workspace
                && delivery.webhook == listing.webhook
                && listing.state.is_none_or(|state| state == delivery.state)
                && listing
                    .before
                    .is_none_or(|before| (delivery.created_at, delivery.id) < before)
        };
        let mut found: Vec<Delivery> = kept.deliveries.values().filter(wanted).cloned().collect();
        found.sort_by_key(|delivery| std::cmp::Reverse((delivery.created_at, delivery.id)));
        found.truncate(listing.limit as usize);
        Ok(found)
    }

    async fn delivery(&self, workspace: WorkspaceId, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let found = self.kept().deliveries.get(&id).cloned();
        Ok(found.filter(|delivery| delivery.workspace == workspace))
    }

    async fn replay(&self, workspace: WorkspaceId, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let stored = kept.deliveries.get_mut(&id);
        Ok(stored.filter(|stored| stored.workspace == workspace).map(|stored| {
            stored.state = DeliveryState::Pending;
            stored.attempts = 0;
            stored.due_at = now;
            stored.ended_at = None;
            stored.clone()
        }))
    }

    async fn forget(&self, kept_millis: u64) -> Result<(), StoreError> {
        let now = self.clock.now();
        let lasts = |delivery: &Delivery| delivery.ended_at.is_none_or(|at| at.plus_millis(kept_millis) > now);
        self.kept().deliveries.retain(|_, delivery| lasts(delivery));
        Ok(())
    }
}
