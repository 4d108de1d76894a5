//! The task that watches one waiting process: hands it over when it is called for, ends it otherwise.

use std::sync::Weak;
use std::time::Duration;

use perennial_schema::SessionId;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::debug;

use super::{Shared, Ticket, Waiter, Waits};

/// Watches one waiting process.
pub(super) struct Keeper<T> {
    pub(super) pool: Weak<Shared<T>>,
    pub(super) session: SessionId,
    pub(super) ticket: Ticket,
    pub(super) waits: Waits,
    pub(super) rest: Duration,
}

impl<T: Waiter> Keeper<T> {
    pub(super) async fn watch(self, mut waiter: T, recalled: oneshot::Receiver<()>) -> Option<T> {
        if self.waits == Waits::ForTurn {
            self.weigh(waiter.resident_bytes());
        }
        let too_long = async {
            match self.waits {
                Waits::ForTurn => sleep(self.rest).await,
                Waits::ForResults => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            recalled = recalled => if recalled.is_ok() {
                return Some(waiter);
            },
            why = waiter.spoils() => {
                debug!(session.id = %self.session, %why, "a waiting harness process is of no use any more");
            }
            () = too_long => {}
        }
        self.leave();
        waiter.end().await;
        None
    }

    fn weigh(&self, bytes: u64) {
        let Some(pool) = self.pool.upgrade() else { return };
        let spare = {
            let mut entries = pool.entries();
            entries.weigh(self.session, self.ticket, bytes);
            entries.spare(&pool.limits)
        };
        drop(spare);
    }

    fn leave(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.entries().remove(self.session, Some(self.ticket));
        }
    }
}
