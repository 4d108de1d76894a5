//! Attendance: says every few seconds that the worker is here, and hears what whoever runs the servers wants of it. Nothing
//! depends on it but that: a pool that cannot be asked leaves everything as it is.

use std::sync::Arc;
use std::time::Duration;

use perennial_engine::ports::{Pool, Standing, WorkerCard};
use perennial_schema::OwnerId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// A worker's place in the pool.
pub(crate) struct Attendance {
    pool: Arc<dyn Pool>,
    owner: OwnerId,
    card: WorkerCard,
    told: watch::Sender<Standing>,
}

impl Attendance {
    /// And where to hear what is wanted.
    pub(crate) fn new(pool: Arc<dyn Pool>, owner: OwnerId, card: WorkerCard) -> (Self, watch::Receiver<Standing>) {
        let (told, standing) = watch::channel(Standing::Active);
        let attendance = Self {
            pool,
            owner,
            card,
            told,
        };
        (attendance, standing)
    }

    /// Attends until told to stop, then leaves.
    pub(crate) async fn keep(self, every: Duration, stop: CancellationToken) {
        let mut timer = tokio::time::interval(every);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = timer.tick() => {}
            }
            match self.pool.attend(self.owner, &self.card).await {
                Ok(standing) => {
                    self.told
                        .send_if_modified(|told| std::mem::replace(told, standing) != standing);
                }
                // The lease keeper says so louder: it has more to lose.
                Err(error) => debug!(owner = %self.owner, %error, "could not attend"),
            }
        }
        if let Err(error) = self.pool.leave(self.owner).await {
            warn!(owner = %self.owner, %error, "could not leave the pool; it forgets by itself");
        }
    }
}
