//! Commit, then hint: a store whose successful changes are told to the bus. The hint comes after the commit, so whoever
//! hears it finds the events; a hint that is lost costs latency only.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use perennial_engine::ports::{
    Append, AppendError, Appended, Authority, Bus, ChangeCursor, Claimed, EventFilter, ForkFrom, Held, Leases, Log,
    NewSession, Past, Projection, Reach, ReadFrom, Ready, ReadyCount, RenewError, SessionFilter, SessionKey,
    SessionPatch, SessionRow, Sessions, StoreError,
};
use perennial_schema::event::Record;
use perennial_schema::{EventId, OwnerId, WorkspaceId};

/// A store `L` that tells a bus.
#[derive(Clone)]
pub struct Hinted<L> {
    store: L,
    bus: Arc<dyn Bus>,
}

impl<L> Hinted<L> {
    /// Joins a store and a bus.
    pub fn new(store: L, bus: Arc<dyn Bus>) -> Self {
        Self { store, bus }
    }

    /// The store beneath.
    pub const fn store(&self) -> &L {
        &self.store
    }
}

/// Whether a session may have become claimable.
fn wakes(authority: &Authority, ready: Ready) -> bool {
    let released = matches!(authority, Authority::Holder { release: true, .. });
    match ready {
        Ready::Now | Ready::UnlessParked | Ready::At(_) => true,
        // Given back without a word about readiness: it may still be ready.
        Ready::Keep => released,
        Ready::Never => false,
    }
}

/// Whether a list of sessions may look different after. It is cheap to be wrong here: who is told looks at the store.
fn is_news(projection: &Projection) -> bool {
    projection.status.is_some()
        || projection.quarantined.is_some()
        || projection.ready != Ready::Keep
        || projection.patch != SessionPatch::default()
}

#[async_trait]
impl<L: Log> Log for Hinted<L> {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let key = append.key;
        let wakes = wakes(&append.authority, append.projection.ready);
        let says = !append.events.is_empty();
        let news = is_news(&append.projection);
        let begun = Instant::now();
        let appended = self.store.append(append).await?;
        metrics::histogram!("perennial_log_append_seconds").record(begun.elapsed());
        if says {
            self.bus.hint(key, appended.last_seq);
        }
        if wakes {
            self.bus.wake();
        }
        if news {
            self.bus.changed(key.workspace);
        }
        Ok(appended)
    }

    async fn read(&self, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
        self.store.read(key, from).await
    }

    async fn event(&self, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
        self.store.event(key, id).await
    }

    async fn list(&self, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
        self.store.list(key, filter).await
    }
}

#[async_trait]
impl<L: Sessions> Sessions for Hinted<L> {
    async fn create(&self, new: NewSession, fork: Option<ForkFrom>) -> Result<Appended, AppendError> {
        let key = new.key;
        let ready = new.projection.ready;
        let appended = self.store.create(new, fork).await?;
        let key = SessionKey {
            session: appended.session,
            ..key
        };
        self.bus.hint(key, appended.last_seq);
        self.bus.changed(key.workspace);
        if matches!(ready, Ready::Now | Ready::At(_)) {
            self.bus.wake();
        }
        Ok(appended)
    }

    async fn import(&self, new: NewSession, past: Vec<Past>) -> Result<Appended, AppendError> {
        let key = new.key;
        let appended = self.store.import(new, past).await?;
        let key = SessionKey {
            session: appended.session,
            ..key
        };
        self.bus.hint(key, appended.last_seq);
        self.bus.changed(key.workspace);
        Ok(appended)
    }

    async fn get(&self, key: SessionKey) -> Result<Option<SessionRow>, StoreError> {
        self.store.get(key).await
    }

    async fn find(&self, workspace: WorkspaceId, filter: SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        self.store.find(workspace, filter).await
    }

    async fn changes(
        &self,
        workspace: WorkspaceId,
        after: Option<ChangeCursor>,
        limit: u32,
    ) -> Result<Vec<(ChangeCursor, SessionRow)>, StoreError> {
        self.store.changes(workspace, after, limit).await
    }
}

#[async_trait]
impl<L: Leases> Leases for Hinted<L> {
    async fn register(&self, owner: OwnerId, ttl_millis: u64, reach: &Reach) -> Result<(), StoreError> {
        self.store.register(owner, ttl_millis, reach).await
    }

    async fn claim(&self, owner: OwnerId, limit: u32, pass_by: &[SessionKey]) -> Result<Vec<Claimed>, StoreError> {
        self.store.claim(owner, limit, pass_by).await
    }

    async fn renew(&self, owner: OwnerId, ttl_millis: u64) -> Result<Vec<Held>, RenewError> {
        self.store.renew(owner, ttl_millis).await
    }

    /// Always wakes: an input that came while the session was held woke workers that could not claim it then.
    async fn release(&self, key: SessionKey, epoch: u64, ready: Ready, only_at_head: u64) -> Result<(), StoreError> {
        self.store.release(key, epoch, ready, only_at_head).await?;
        self.bus.wake();
        self.bus.changed(key.workspace);
        Ok(())
    }

    async fn unregister(&self, owner: OwnerId) -> Result<(), StoreError> {
        self.store.unregister(owner).await?;
        self.bus.wake();
        Ok(())
    }

    async fn ready(&self) -> Result<ReadyCount, StoreError> {
        self.store.ready().await
    }
}
