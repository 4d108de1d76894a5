//! Walks the changes of workspaces and adds what their receivers are to be told. What was added before a crash is added again
//! after it, which changes nothing; how far it came is noted only behind what was added.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::select_all;
use perennial_engine::ports::{
    Bus, Delivery, DeliveryState, EventFilter, Log, SessionRow, Sessions, StoreError, WakeUps, Watch, Webhook, Webhooks,
};
use perennial_schema::{Timestamp, WorkspaceId};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::event::{self, Event, SOURCES};
use crate::limits;

/// Looks for what is to be told.
pub struct Watcher {
    /// Where receivers and deliveries are.
    pub webhooks: Arc<dyn Webhooks>,
    /// What changed.
    pub sessions: Arc<dyn Sessions>,
    /// What happened.
    pub log: Arc<dyn Log>,
    /// Says that something changed.
    pub bus: Arc<dyn Bus>,
    /// Rung when there is something to send.
    pub bell: Arc<Notify>,
}

impl Watcher {
    /// Looks until it is told to stop; what is in hand then is finished.
    pub async fn run(self, stop: CancellationToken) {
        let mut hints: Vec<(WorkspaceId, Box<dyn WakeUps>)> = Vec::new();
        while !stop.is_cancelled() {
            let watched = match self.round().await {
                Ok(watched) => watched,
                Err(error) => {
                    tracing::warn!(%error, "webhooks wait: the store does not answer");
                    Vec::new()
                }
            };
            let strange = watched
                .iter()
                .filter(|seen| hints.iter().all(|(known, _)| known != *seen));
            let strange: Vec<WorkspaceId> = strange.copied().collect();
            for workspace in strange.into_iter().take(limits::HEARD.saturating_sub(hints.len())) {
                hints.push((workspace, self.bus.changes(workspace)));
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = heard(&mut hints) => sleep(limits::LOOK_AGAIN).await,
                () = sleep(jittered(limits::SWEEP)) => {}
            }
        }
    }

    /// Looks through every workspace once; those it looked through.
    async fn round(&self) -> Result<Vec<WorkspaceId>, StoreError> {
        let mut done = Vec::new();
        while let Some(mut watch) = self.webhooks.take_watch(limits::WATCH_MILLIS, &done).await? {
            let looked = self.look(&mut watch).await;
            self.webhooks.put_watch(&watch).await?;
            looked?;
            done.push(watch.workspace);
        }
        Ok(done)
    }

    /// Goes on where the last look ended, and notes in `watch` how far it came.
    async fn look(&self, watch: &mut Watch) -> Result<(), StoreError> {
        let all = self.webhooks.webhooks(watch.workspace).await?;
        let told: Vec<Webhook> = all.into_iter().filter(|webhook| webhook.disabled.is_none()).collect();
        let Some(since) = told.iter().map(|webhook| webhook.since).min() else {
            return Ok(());
        };
        for _ in 0..limits::PAGES {
            let changes = self
                .sessions
                .changes(watch.workspace, watch.place, limits::PAGE)
                .await?;
            for (place, row) in &changes {
                self.tell(&told, since, row).await?;
                watch.place = Some(*place);
            }
            if changes.len() < limits::PAGE as usize {
                break;
            }
        }
        Ok(())
    }

    /// Adds what happened to a session since it was looked at last.
    async fn tell(&self, told: &[Webhook], since: Timestamp, row: &SessionRow) -> Result<(), StoreError> {
        if row.updated_at < since {
            return Ok(());
        }
        let (workspace, session) = (row.key.workspace, row.key.session);
        let seen = self.webhooks.seen(workspace, session).await?;
        if seen.is_none() {
            self.add(told, &event::created(row)).await?;
        }
        let mut after = seen.unwrap_or(0);
        loop {
            let filter = EventFilter {
                types: SOURCES.map(str::to_owned).to_vec(),
                include_extensions: true,
                cursor: Some(after),
                limit: limits::EVENTS,
                ..EventFilter::default()
            };
            let records = self.log.list(row.key, filter).await?;
            for record in &records {
                // What a fork or an import brought along happened to another session.
                if record.created_at >= row.created_at {
                    for event in event::of(row, record) {
                        self.add(told, &event).await?;
                    }
                }
                after = record.seq;
            }
            fail::fail_point!("webhooks.added");
            if seen != Some(after) {
                self.webhooks.saw(workspace, session, after).await?;
            }
            if records.len() < limits::EVENTS as usize {
                return Ok(());
            }
        }
    }

    async fn add(&self, told: &[Webhook], event: &Event) -> Result<(), StoreError> {
        for webhook in told.iter().filter(|one| one.wants(event.kind) && event.at >= one.since) {
            let delivery = Delivery {
                id: event::delivery_id(webhook.id, &event.id),
                workspace: webhook.workspace,
                webhook: webhook.id,
                event: event.id.clone(),
                kind: event.kind.to_owned(),
                body: event.body.clone(),
                state: DeliveryState::Pending,
                attempts: 0,
                due_at: event.at,
                status: None,
                outcome: None,
                created_at: event.at,
                ended_at: None,
            };
            if self.webhooks.enqueue(&delivery, limits::WAITING).await? {
                self.bell.notify_one();
            } else {
                self.refused(webhook, &delivery, event.at).await?;
            }
        }
        Ok(())
    }

    /// It is there already, or too many wait: then its receiver is told nothing more, visibly, rather than a part.
    async fn refused(&self, webhook: &Webhook, delivery: &Delivery, now: Timestamp) -> Result<(), StoreError> {
        if self.webhooks.delivery(delivery.workspace, delivery.id).await?.is_some() {
            return Ok(());
        }
        let Some(mut stored) = self.webhooks.webhook(webhook.workspace, webhook.id).await? else {
            return Ok(());
        };
        let seen = stored.revision;
        stored.disable(&format!("more than {} deliveries wait", limits::WAITING), now);
        self.webhooks.swap(seen, &stored).await.map(|_| ())
    }
}

/// The next hint of any workspace; never without one.
async fn heard(hints: &mut [(WorkspaceId, Box<dyn WakeUps>)]) {
    if hints.is_empty() {
        return std::future::pending().await;
    }
    select_all(hints.iter_mut().map(|(_, hints)| hints.next().boxed())).await;
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.9 + 0.2 * rand::random::<f64>())
}
