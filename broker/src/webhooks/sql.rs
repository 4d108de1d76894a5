//! Webhooks in SQL tables, on either database.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{Attempt, Delivery, DeliveryListing, StoreError, Watch, Webhook, Webhooks};
use perennial_schema::{DeliveryId, SessionId, WebhookId, WorkspaceId};

use super::words;
use crate::executors::{Postgres, Sqlite};
use crate::log::{postgres, sqlite};
use crate::sql::{Columns as _, Desk};

/// Webhooks in the embedded database, beside the sessions of this store.
#[must_use]
pub fn embedded(store: sqlite::Sqlite) -> Arc<dyn Webhooks> {
    Arc::new(Sql {
        desk: Sqlite::new(store),
    })
}

/// Webhooks in the shared database, beside the sessions of this store.
#[must_use]
pub fn shared(store: &postgres::Postgres) -> Arc<dyn Webhooks> {
    Arc::new(Sql {
        desk: Postgres::new(store),
    })
}

struct Sql<D> {
    desk: D,
}

#[async_trait]
impl<D: Desk> Webhooks for Sql<D> {
    async fn add(&self, webhook: &Webhook, most: u32) -> Result<bool, StoreError> {
        // First: a receiver in a workspace that nobody watches would never be told anything.
        self.desk.asked(words::watch(webhook.workspace)).await?;
        let rows = self.desk.asked(words::add(webhook, most)?).await?;
        Ok(!rows.is_empty())
    }

    async fn webhook(&self, workspace: WorkspaceId, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        let rows = self.desk.asked(words::webhook(workspace, id)).await?;
        rows.first().map(words::webhook_of).transpose()
    }

    async fn webhooks(&self, workspace: WorkspaceId) -> Result<Vec<Webhook>, StoreError> {
        let rows = self.desk.asked(words::webhooks(workspace)).await?;
        rows.iter().map(words::webhook_of).collect()
    }

    async fn swap(&self, seen: u64, webhook: &Webhook) -> Result<bool, StoreError> {
        let rows = self.desk.asked(words::swap(seen, webhook)?).await?;
        Ok(!rows.is_empty())
    }

    async fn remove(&self, workspace: WorkspaceId, id: WebhookId) -> Result<bool, StoreError> {
        let rows = self.desk.asked(words::remove(workspace, id)).await?;
        self.desk.asked(words::remove_deliveries(workspace, id)).await?;
        Ok(!rows.is_empty())
    }

    async fn take_watch(&self, lease_millis: u64, not: &[WorkspaceId]) -> Result<Option<Watch>, StoreError> {
        // Asked all the time, and mostly in vain: a look costs no write.
        if self.desk.asked(words::free_watch(not)).await?.is_empty() {
            return Ok(None);
        }
        let rows = self.desk.asked(words::take_watch(lease_millis, not)).await?;
        rows.first().map(words::watch_of).transpose()
    }

    async fn put_watch(&self, watch: &Watch) -> Result<(), StoreError> {
        self.desk.asked(words::put_watch(watch)).await.map(|_| ())
    }

    async fn seen(&self, workspace: WorkspaceId, session: SessionId) -> Result<Option<u64>, StoreError> {
        let rows = self.desk.asked(words::seen(workspace, session)).await?;
        rows.first().map(|row| row.amount("seq")).transpose()
    }

    async fn saw(&self, workspace: WorkspaceId, session: SessionId, seq: u64) -> Result<(), StoreError> {
        self.desk.asked(words::saw(workspace, session, seq)).await.map(|_| ())
    }

    async fn enqueue(&self, delivery: &Delivery, most: u32) -> Result<bool, StoreError> {
        let rows = self.desk.asked(words::enqueue(delivery, most)).await?;
        Ok(!rows.is_empty())
    }

    async fn take(&self, limit: u32, lease_millis: u64) -> Result<Vec<Delivery>, StoreError> {
        if self.desk.asked(words::any_due()).await?.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.desk.asked(words::take(limit, lease_millis)).await?;
        rows.iter().map(words::delivery_of).collect()
    }

    async fn settle(&self, taken: &Delivery, attempt: &Attempt) -> Result<bool, StoreError> {
        let rows = self.desk.asked(words::settle(taken, attempt)).await?;
        Ok(!rows.is_empty())
    }

    async fn deliveries(&self, listing: &DeliveryListing) -> Result<Vec<Delivery>, StoreError> {
        let rows = self.desk.asked(words::deliveries(listing)).await?;
        rows.iter().map(words::delivery_of).collect()
    }

    async fn delivery(&self, workspace: WorkspaceId, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let rows = self.desk.asked(words::delivery(workspace, id)).await?;
        rows.first().map(words::delivery_of).transpose()
    }

    async fn replay(&self, workspace: WorkspaceId, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let rows = self.desk.asked(words::replay(workspace, id)).await?;
        rows.first().map(words::delivery_of).transpose()
    }

    async fn forget(&self, kept_millis: u64) -> Result<(), StoreError> {
        self.desk.asked(words::forget(kept_millis)).await.map(|_| ())
    }
}
