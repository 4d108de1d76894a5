//! The bus of an install with a shared database and no bus between its processes. What happens in this process is heard at
//! once; what happens elsewhere is found by looking: five times a second, in one question about all sessions that somebody
//! listens to, and not at all when nobody does. Previews of other processes are never seen, questions to their executors are
//! never answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use perennial_engine::ports::{
    Bus, BusReach, Delta, Notice, Requests, SessionKey, StoreError, Subscription, Unanswered, WakeUps,
};
use perennial_schema::{ExecutorId, WorkspaceId};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::bus::local::Local;
use crate::limits;

/// Where sessions stand, in one question.
#[async_trait]
pub trait Heads: Send + Sync {
    /// The heads of those of these sessions that exist, in any order.
    async fn heads(&self, keys: &[SessionKey]) -> Result<Vec<(SessionKey, u64)>, StoreError>;
}

/// The bus. Cheap to clone; all clones are one bus, and dropping the last of them ends its subscriptions.
#[derive(Clone)]
pub struct Polled {
    local: Local,
    hot: Arc<Hot>,
    every: Duration,
    _looking: Arc<DropGuard>,
}

impl Polled {
    /// A bus that looks at this store. Must be called within a runtime.
    #[must_use]
    pub fn new(heads: Arc<dyn Heads>) -> Self {
        Self::every(heads, limits::POLL)
    }

    /// With another pause between two looks.
    #[must_use]
    pub fn every(heads: Arc<dyn Heads>, every: Duration) -> Self {
        let (local, hot, stop) = (Local::new(), Arc::<Hot>::default(), CancellationToken::new());
        let looker = Looker {
            local: local.clone(),
            hot: Arc::clone(&hot),
            heads,
            every,
        };
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(looker.look()).await });
        Self {
            local,
            hot,
            every,
            _looking: Arc::new(stop.drop_guard()),
        }
    }
}

/// Sessions that somebody listens to.
#[derive(Debug, Default)]
struct Hot {
    sessions: Mutex<HashMap<SessionKey, Watched>>,
    first: Notify,
}

#[derive(Debug, Default)]
struct Watched {
    listeners: usize,
    /// The newest head that was told.
    told: u64,
}

impl Hot {
    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionKey, Watched>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this head is news to the session's listeners.
    fn is_news(&self, key: SessionKey, head: u64) -> bool {
        let mut sessions = self.sessions();
        let Some(watched) = sessions.get_mut(&key).filter(|watched| watched.told < head) else {
            return false;
        };
        watched.told = head;
        true
    }
}

struct Looker {
    local: Local,
    hot: Arc<Hot>,
    heads: Arc<dyn Heads>,
    every: Duration,
}

impl Looker {
    async fn look(self) {
        let mut failing = false;
        loop {
            let keys: Vec<_> = self.hot.sessions().keys().copied().collect();
            if keys.is_empty() {
                self.hot.first.notified().await;
                continue;
            }
            for some in keys.chunks(limits::POLL_SESSIONS) {
                match self.heads.heads(some).await {
                    Ok(heads) => {
                        failing = false;
                        self.tell(heads);
                    }
                    // Once, not five times a second.
                    Err(error) if !failing => {
                        failing = true;
                        tracing::warn!(%error, "cannot look for news of other processes; trying on");
                    }
                    Err(_) => {}
                }
            }
            sleep(self.every).await;
        }
    }

    fn tell(&self, heads: Vec<(SessionKey, u64)>) {
        for (key, seq) in heads {
            if self.hot.is_news(key, seq) {
                self.local.publish(key, &Notice::Hint { seq });
            }
        }
    }
}

#[async_trait]
impl Bus for Polled {
    fn hint(&self, key: SessionKey, seq: u64) {
        self.hot.is_news(key, seq);
        self.local.hint(key, seq);
    }

    fn delta(&self, key: SessionKey, delta: Delta) {
        self.local.delta(key, delta);
    }

    fn reach(&self) -> BusReach {
        BusReach::Polled
    }

    fn wake(&self) {
        self.local.wake();
    }

    fn subscribe(&self, key: SessionKey) -> Box<dyn Subscription> {
        let inner = self.local.subscribe(key);
        let mut sessions = self.hot.sessions();
        // The first look tells where the session stands, so what happened before that look is not missed.
        sessions.entry(key).or_default().listeners += 1;
        self.hot.first.notify_one();
        drop(sessions);
        Box::new(Listener {
            inner,
            key,
            hot: Arc::clone(&self.hot),
        })
    }

    fn wake_ups(&self) -> Box<dyn WakeUps> {
        Box::new(Ticking {
            inner: self.local.wake_ups(),
            every: self.every,
        })
    }

    fn changed(&self, workspace: WorkspaceId) {
        self.local.changed(workspace);
    }

    fn changes(&self, workspace: WorkspaceId) -> Box<dyn WakeUps> {
        Box::new(Ticking {
            inner: self.local.changes(workspace),
            every: self.every,
        })
    }

    fn nudge(&self, about: ExecutorId) {
        self.local.nudge(about);
    }

    fn nudges(&self, about: ExecutorId) -> Box<dyn WakeUps> {
        Box::new(Ticking {
            inner: self.local.nudges(about),
            every: self.every,
        })
    }

    async fn request(&self, to: ExecutorId, body: Bytes) -> Result<Bytes, Unanswered> {
        self.local.request(to, body).await
    }

    fn requests(&self, at: ExecutorId) -> Box<dyn Requests> {
        self.local.requests(at)
    }
}

struct Listener {
    inner: Box<dyn Subscription>,
    key: SessionKey,
    hot: Arc<Hot>,
}

#[async_trait]
impl Subscription for Listener {
    async fn next(&mut self) -> Option<Notice> {
        self.inner.next().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut sessions = self.hot.sessions();
        if let Some(watched) = sessions.get_mut(&self.key) {
            watched.listeners -= 1;
            if watched.listeners == 0 {
                sessions.remove(&self.key);
            }
        }
    }
}

/// Ticks by itself, as often as it is asked; sooner when something happens in this process.
struct Ticking {
    inner: Box<dyn WakeUps>,
    every: Duration,
}

#[async_trait]
impl WakeUps for Ticking {
    async fn next(&mut self) {
        tokio::select! {
            () = self.inner.next() => {}
            () = sleep(self.every) => {}
        }
    }
}
