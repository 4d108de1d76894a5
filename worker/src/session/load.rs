//! Replay: read the tail behind the folded state, decode it, fold it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use perennial_engine::ports::{ReadFrom, StoreError};
use perennial_schema::event::{Draft, Event, Private};
use tracing::{debug, warn};

use super::{Session, Stop, beyond};
use crate::limits;

impl Session {
    /// Folds the log, as far as it was when the session was claimed at least. What clients said since is told by its hint.
    pub(super) async fn replay(&mut self) -> Result<(), Stop> {
        while self.read_on().await? > 0 {
            if self.state.seq >= self.row.head {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Folds everything the log has beyond the state.
    pub(super) async fn catch_up(&mut self) -> Result<(), Stop> {
        while self.read_on().await? > 0 {}
        Ok(())
    }

    /// Folds what one read answers; says how many events that were.
    async fn read_on(&mut self) -> Result<usize, Stop> {
        let from = ReadFrom {
            after: self.state.seq,
            limit: limits::REPLAY_PAGE,
        };
        let records = loop {
            match self.ports.log.read(self.key, from).await {
                Ok(records) => break records,
                Err(error @ StoreError::Inconsistent { .. }) => return Err(Stop::Unreadable(error.to_string())),
                Err(error) => {
                    warn!(%error, "could not read the log; trying again");
                    self.pause(limits::STORE_PAUSE.1).await?;
                }
            }
        };
        if let Some(last) = records.last().map(|record| record.seq) {
            for record in &records {
                let unreadable = |error| Stop::Unreadable(format!("the log is damaged: {error}"));
                let event = record.decode().map_err(unreadable)?;
                self.fold(&beyond::known(event, &record.kind))?;
            }
            debug!(events = records.len(), seq = last, "replayed");
            debug_assert_eq!(last, self.state.seq);
        }
        Ok(records.len())
    }

    /// Folds what was just appended, without reading it back.
    pub(super) fn fold_drafts(&mut self, first_seq: u64, turn: u64, drafts: &[Draft]) -> Result<(), Stop> {
        for (seq, draft) in (first_seq..).zip(drafts) {
            let private: Private = draft
                .private
                .as_deref()
                .map(serde_json::from_str)
                .transpose()
                .map_err(|error| Stop::Unreadable(format!("replay data of our own event does not parse: {error}")))?
                .unwrap_or_default();
            self.fold(&Event {
                seq,
                id: draft.id,
                turn,
                body: draft.body.clone(),
                private,
            })?;
        }
        Ok(())
    }

    /// One event, fenced: a fold that panics sets this session aside and leaves its neighbours alone (I15).
    fn fold(&mut self, event: &Event) -> Result<(), Stop> {
        catch_unwind(AssertUnwindSafe(|| self.state.apply(event)))
            .map_err(|_| Stop::Unreadable(format!("folding the event at seq {} panicked", event.seq)))
    }

    /// Waits, unless the lease or the process ends.
    pub(super) async fn pause(&mut self, pause: std::time::Duration) -> Result<(), Stop> {
        tokio::select! {
            biased;
            () = self.watch.lost.cancelled() => Err(Stop::Evicted),
            () = self.drain.cancelled() => Err(Stop::Draining),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }
}
