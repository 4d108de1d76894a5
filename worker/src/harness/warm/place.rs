//! One session's place in the pool.

use std::fmt;

use perennial_schema::SessionId;

use super::{Pool, Ticket, Waiter, Waits};

/// Where one harness of one session keeps its process while it waits. Dropped, it gives up what waits.
pub(in crate::harness) struct Place<T: Waiter> {
    pool: Pool<T>,
    kept: Option<(SessionId, Ticket)>,
}

impl<T: Waiter> Place<T> {
    /// An empty place.
    pub(in crate::harness) const fn new(pool: Pool<T>) -> Self {
        Self { pool, kept: None }
    }

    /// The session's process, whichever harness left it there, if it is still of use.
    pub(in crate::harness) async fn take(&mut self, session: SessionId) -> Option<T> {
        self.kept = None;
        self.pool.take(session).await
    }

    /// Leaves it here until it is taken, ended, spoilt or in the way.
    pub(in crate::harness) fn keep(&mut self, session: SessionId, waiter: T, waits: Waits) {
        self.kept = Some((session, self.pool.keep(session, waiter, waits)));
    }

    /// The process that waits for this, if there is one.
    pub(in crate::harness) fn process_id(&self, waits: Waits) -> Option<u32> {
        let (session, _) = self.kept?;
        let (waiting, process) = self.pool.waiting(session)?;
        process.filter(|_| waiting == waits)
    }

    /// The turn is over: what still waits for results has no turn any more, what waits for the next one stays.
    pub(in crate::harness) async fn rest(&mut self) {
        if self.process_id(Waits::ForResults).is_some() {
            self.close().await;
        }
        self.kept = None;
    }

    /// Ends what waits.
    pub(in crate::harness) async fn close(&mut self) {
        if let Some((session, ticket)) = self.kept.take() {
            self.pool.end(session, ticket).await;
        }
    }
}

impl<T: Waiter> Drop for Place<T> {
    /// Nobody ended it, and nobody will bring its results.
    fn drop(&mut self) {
        if let Some((session, ticket)) = self.kept {
            self.pool.abandon(session, ticket);
        }
    }
}

impl<T: Waiter> fmt::Debug for Place<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}
