//! Sessions that were yielded to newer versions of this program: passed by for a while, so that those find them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use perennial_engine::ports::SessionKey;
use tokio::time::Instant;

use crate::limits;

/// What is passed by, and since when. A session that nobody took within the patience is looked at again.
pub(crate) struct Yielded {
    /// None where nobody else could take it.
    patience: Option<Duration>,
    since: Mutex<HashMap<SessionKey, Instant>>,
}

impl Yielded {
    /// None yet; each is passed by for so long.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience: Some(patience),
            since: Mutex::default(),
        }
    }

    /// For the only worker its store can have.
    pub(crate) fn to_nobody() -> Self {
        Self {
            patience: None,
            since: Mutex::default(),
        }
    }

    /// From now on it is passed by: said before it is given back, so that its own worker does not claim it at once.
    pub(crate) fn put(&self, key: SessionKey) {
        self.since().insert(key, Instant::now());
    }

    /// Those to pass by now. What did not come back here for as long again was taken elsewhere, and is forgotten.
    pub(crate) fn passed_by(&self) -> Vec<SessionKey> {
        let Some(patience) = self.patience else {
            return Vec::new();
        };
        let mut since = self.since();
        since.retain(|_, since| since.elapsed() < patience * 2);
        let passed = since.iter().filter(|(_, since)| since.elapsed() < patience);
        passed.map(|(key, _)| *key).collect()
    }

    /// Whether there is no use in yielding it: nobody took it for as long as one waits, or nobody could.
    pub(crate) fn in_vain(&self, key: SessionKey) -> bool {
        let over = |patience| self.since().get(&key).is_some_and(|since| since.elapsed() >= patience);
        self.patience.is_none_or(over)
    }

    /// Whether one more could not be kept in mind: this version is too old for what there is to do.
    pub(crate) fn is_full(&self) -> bool {
        let since = self.since();
        let waits = |since: &&Instant| self.patience.is_some_and(|patience| since.elapsed() < patience);
        since.len() >= limits::YIELDED_SESSIONS && since.values().filter(waits).count() >= limits::YIELDED_SESSIONS
    }

    fn since(&self) -> MutexGuard<'_, HashMap<SessionKey, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use perennial_schema::{SessionId, WorkspaceId};
    use uuid::Uuid;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn key() -> SessionKey {
        SessionKey {
            workspace: WorkspaceId::from_uuid(Uuid::nil()),
            session: SessionId::from_uuid(Uuid::now_v7()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_passed_by_for_a_while_then_looked_at_then_forgotten() {
        let (yielded, session) = (Yielded::new(PATIENCE), key());
        yielded.put(session);
        assert_eq!(yielded.passed_by(), [session]);
        assert!(!yielded.in_vain(session));
        tokio::time::advance(PATIENCE).await;
        assert!(yielded.passed_by().is_empty() && yielded.in_vain(session));
        // Yielded once more: somebody of another version was there, and has the time again.
        yielded.put(session);
        assert_eq!(yielded.passed_by(), [session]);
        tokio::time::advance(PATIENCE * 2).await;
        assert!(yielded.passed_by().is_empty() && !yielded.in_vain(session));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_kept_in_mind_than_that() {
        let yielded = Yielded::new(PATIENCE);
        for _ in 1..limits::YIELDED_SESSIONS {
            yielded.put(key());
        }
        assert!(!yielded.is_full());
        yielded.put(key());
        assert!(yielded.is_full());
        tokio::time::advance(PATIENCE).await;
        assert!(!yielded.is_full(), "the first may be looked at again");
    }

    #[test]
    fn a_worker_that_is_alone_yields_to_nobody() {
        let yielded = Yielded::to_nobody();
        assert!(yielded.in_vain(key()) && yielded.passed_by().is_empty());
    }
}
