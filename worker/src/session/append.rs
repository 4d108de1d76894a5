//! Appends under the lease. An append that fails for want of a store is tried again under the same append id, so that an
//! ambiguous commit is resolved rather than repeated (I2); an append that is fenced ends the drive.

use perennial_engine::ports::{Append, AppendError, Appended, Authority, BudgetHold, Projection, Ready, StoreError};
use perennial_schema::event::{Body, Draft};
use tracing::{info, warn};

use super::{Session, Stop, fatal};
use crate::{limits, metrics};

/// What an append is conditional on, and what else it does.
#[derive(Clone, Copy, Default)]
pub(super) struct Terms {
    /// Only while nothing has arrived that is not folded.
    pub(super) only_at_head: bool,
    /// Give the lease back.
    pub(super) release: bool,
    /// When the session may be claimed again, if the events do not say.
    pub(super) ready: Option<Ready>,
    /// The budget the session rests for.
    pub(super) hold: Option<BudgetHold>,
}

impl Session {
    /// Appends and folds.
    pub(super) async fn append(&mut self, drafts: Vec<Draft>) -> Result<(), Stop> {
        match self.append_on(drafts, Terms::default()).await? {
            true => Ok(()),
            false => Err(Stop::Unreadable(
                "an unconditional append was refused as conditional".into(),
            )),
        }
    }

    /// Appends and folds; false when the head moved (nothing was written).
    pub(super) async fn append_on(&mut self, drafts: Vec<Draft>, terms: Terms) -> Result<bool, Stop> {
        let mut projection = Projection::of(&drafts);
        let wakes = drafts
            .iter()
            .any(|draft| matches!(draft.body, Body::SessionStatusRunning(_)));
        let turn = if wakes { self.state.next_turn() } else { self.state.turn };
        projection.turn = Some(turn);
        if let Some(ready) = terms.ready {
            projection.ready = ready;
        }
        projection.hold = terms.hold;
        // A machine that dialled in, and a sandbox, are no host's workspaces: no host has this session to itself.
        let elsewhere = projection.place.is_some_and(|place| !self.ports.router.is_home(place));
        if self.row.environment.executor().is_some() || elsewhere {
            projection.place = None;
        }
        let progress = projection.progress;
        let ending = self.ending(&drafts);
        let authority = Authority::Holder {
            epoch: self.epoch,
            only_at_head: terms.only_at_head.then_some(self.state.seq),
            release: terms.release,
        };
        fail::fail_point!("worker.append.before");
        let appended = match self.commit(&drafts, authority, projection).await {
            Ok(appended) => appended,
            Err(AppendError::Moved { .. }) => return Ok(false),
            Err(error) => return Err(self.given_up(error)),
        };
        fail::fail_point!("worker.append.after");
        metrics::count_append(drafts.len());
        ending.into_iter().for_each(perennial_telemetry::record);
        if progress {
            self.watch.progress.cancel();
        }
        if appended.first_seq == self.state.seq + 1 && !appended.replayed {
            self.fold_drafts(appended.first_seq, turn, &drafts)?;
        } else {
            // Inputs arrived in between, or an ambiguous commit was resolved: the log says in which order.
            self.catch_up().await?;
        }
        Ok(true)
    }

    /// Events that need no fold, before the replay.
    pub(super) async fn announce(&mut self, drafts: Vec<Draft>) -> Result<(), Stop> {
        let projection = Projection::of(&drafts);
        let authority = Authority::Holder {
            epoch: self.epoch,
            only_at_head: None,
            release: false,
        };
        self.commit(&drafts, authority, projection)
            .await
            .map(|_| ())
            .map_err(|error| self.given_up(error))
    }

    /// Error, idle, quarantined flag and release in one commit.
    pub(super) async fn append_quarantine(&mut self, drafts: Vec<Draft>) -> Result<Appended, AppendError> {
        let projection = Projection {
            quarantined: Some(true),
            ..Projection::of(&drafts)
        };
        let authority = Authority::Holder {
            epoch: self.epoch,
            only_at_head: None,
            release: true,
        };
        self.commit(&drafts, authority, projection).await
    }

    async fn commit(
        &mut self,
        drafts: &[Draft],
        authority: Authority,
        projection: Projection,
    ) -> Result<Appended, AppendError> {
        let append_id = self.ports.ids.append();
        let mut pause = limits::STORE_PAUSE.0;
        loop {
            let append = Append {
                key: self.key,
                append_id,
                events: drafts.to_vec(),
                authority: authority.clone(),
                projection: projection.clone(),
            };
            let error = match self.ports.log.append(append).await {
                Err(AppendError::Store(error @ (StoreError::Unavailable { .. } | StoreError::Unknown { .. }))) => error,
                outcome => {
                    if let Err(AppendError::Fenced { current }) = outcome {
                        info!(lease.current = current, "a stale write was refused by the log");
                    }
                    return outcome;
                }
            };
            warn!(%error, "could not append; trying again under the same append id");
            // The lease ends this loop when the store does not come back.
            if self.pause(pause).await.is_err() {
                return Err(AppendError::Store(error));
            }
            pause = (pause * 2).min(limits::STORE_PAUSE.1);
        }
    }

    fn given_up(&self, error: AppendError) -> Stop {
        if matches!(error, AppendError::Fenced { .. }) {
            metrics::count_fenced();
        }
        if self.drain.is_cancelled() {
            return Stop::Draining;
        }
        if self.watch.lost.is_cancelled() {
            return Stop::Evicted;
        }
        fatal(error)
    }
}
