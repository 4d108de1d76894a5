//! Claims as a worker process makes them, through the store's own verbs: sessions that are spoken to, claimed, and rest again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;
use perennial_engine::ports::{Append, Authority, Claimed, Projection, Reach, SessionKey};
use perennial_schema::event::{Body, Draft, Idle};
use perennial_schema::session::StopReason;
use perennial_schema::{AppendId, EventId, OwnerId, SessionId, Timestamp, WorkspaceId};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::stand::{Store, new_session, say};

/// An owner's life, longer than any measurement: nobody renews here.
const LIFE_MILLIS: u64 = 24 * 3600 * 1000;
/// Who makes sessions at once.
const MAKERS: usize = 64;
/// Sessions that a worker with free slots asks for.
pub(crate) const ASKED: u32 = 8;

/// A worker's owner over a store, and one tenant.
#[derive(Clone)]
pub(crate) struct Desk<S> {
    pub(crate) store: S,
    pub(crate) workspace: WorkspaceId,
    owner: OwnerId,
}

impl<S: Store> Desk<S> {
    /// Announces an owner that claims whatever is ready, as the one of an embedded database does.
    pub(crate) async fn open(store: S) -> Result<Self> {
        let desk = Self {
            store,
            workspace: WorkspaceId::from_uuid(Uuid::now_v7()),
            owner: OwnerId::from_uuid(Uuid::now_v7()),
        };
        desk.register(&Reach::default()).await?;
        Ok(desk)
    }

    /// Announces an owner that has the native harness, as those of a cluster do.
    pub(crate) async fn native(store: S) -> Result<Self> {
        let desk = Self::open(store).await?;
        let reach = Reach {
            harnesses: Some(vec!["native".to_owned()]),
            ..Reach::default()
        };
        desk.register(&reach).await?;
        Ok(desk)
    }

    async fn register(&self, reach: &Reach) -> Result<()> {
        Ok(self.store.register(self.owner, LIFE_MILLIS, reach).await?)
    }

    /// Sessions at rest.
    pub(crate) async fn sessions(&self, count: usize) -> Result<Vec<SessionKey>> {
        let workspace = self.workspace;
        let keys = (0..count).map(|_| SessionKey {
            workspace,
            session: SessionId::from_uuid(Uuid::now_v7()),
        });
        let keys: Vec<SessionKey> = keys.collect();
        let store = self.store.clone();
        at_once(keys.clone(), move |key| {
            let store = store.clone();
            async move { Ok(store.create(new_session(key), None).await.map(drop)?) }
        })
        .await?;
        Ok(keys)
    }

    /// Sessions that each had a turn and wait for a person's answer: what a claim has to pass by.
    pub(crate) async fn park(&self, count: usize) -> Result<()> {
        let keys = self.sessions(count).await?;
        let desk = self.clone();
        at_once(keys, move |key| {
            let desk = desk.clone();
            async move { desk.wake(key).await }
        })
        .await?;
        loop {
            let claimed = self.store.claim(self.owner, u32::try_from(MAKERS)?, &[]).await?;
            if claimed.is_empty() {
                return Ok(());
            }
            let desk = self.clone();
            at_once(claimed, move |claimed| {
                let desk = desk.clone();
                async move {
                    let waits = StopReason::RequiresAction {
                        event_ids: vec![EventId::from_uuid(Uuid::now_v7())],
                    };
                    desk.rest_for(&claimed, waits).await
                }
            })
            .await?;
        }
    }

    /// Somebody writes to a session: it is ready.
    pub(crate) async fn wake(&self, key: SessionKey) -> Result<()> {
        self.store.append(say(key, "hello")?).await?;
        Ok(())
    }

    /// One claim, and how long it took, in milliseconds.
    pub(crate) async fn claim(&self) -> Result<(Vec<Claimed>, f64)> {
        let begun = Instant::now();
        let claimed = self.store.claim(self.owner, ASKED, &[]).await?;
        Ok((claimed, begun.elapsed().as_secs_f64() * 1000.0))
    }

    /// Claims until nothing is ready; keeps what it got.
    pub(crate) async fn claim_all(&self) -> Result<Vec<Claimed>> {
        let mut all = Vec::new();
        loop {
            let claimed = self.store.claim(self.owner, u32::try_from(MAKERS)?, &[]).await?;
            if claimed.is_empty() {
                return Ok(all);
            }
            all.extend(claimed);
        }
    }

    /// A session goes on, as with the beginning of a model request.
    pub(crate) async fn go_on(&self, claimed: &Claimed) -> Result<()> {
        let events = vec![draft(Body::SessionStatusRunning(perennial_schema::event::Empty {}))];
        self.holds(claimed, events, false).await
    }

    /// The end of a turn: idle, and given back, in one commit.
    pub(crate) async fn rest(&self, claimed: &Claimed) -> Result<()> {
        self.rest_for(claimed, StopReason::EndTurn).await
    }

    async fn rest_for(&self, claimed: &Claimed, stop_reason: StopReason) -> Result<()> {
        let events = vec![draft(Body::SessionStatusIdle(Idle { stop_reason }))];
        self.holds(claimed, events, true).await
    }

    async fn holds(&self, claimed: &Claimed, events: Vec<Draft>, release: bool) -> Result<()> {
        let append = held(claimed.row.key, claimed.row.epoch, events, release);
        self.store.append(append).await?;
        Ok(())
    }
}

/// An append of a session's holder.
pub(crate) fn held(key: SessionKey, epoch: u64, events: Vec<Draft>, release: bool) -> Append {
    Append {
        key,
        append_id: AppendId::from_uuid(Uuid::now_v7()),
        projection: Projection::of(&events),
        events,
        authority: Authority::Holder {
            epoch,
            only_at_head: None,
            release,
        },
    }
}

/// An event of the engine.
pub(crate) fn draft(body: Body) -> Draft {
    Draft::new(EventId::from_uuid(Uuid::now_v7()), body, Timestamp::from_micros(0))
}

/// Does something with each of many, a bounded number at once.
pub(crate) async fn at_once<T, F>(many: Vec<T>, act: impl Fn(T) -> F + Send + Sync + 'static) -> Result<()>
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (many, act, next) = (Arc::new(many), Arc::new(act), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..MAKERS.min(many.len()) {
        let (many, act, next) = (many.clone(), act.clone(), next.clone());
        tasks.spawn(async move {
            while let Some(one) = many.get(next.fetch_add(1, Ordering::Relaxed)) {
                act(one.clone()).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
