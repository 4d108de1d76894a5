//! Resting: the idle event, "not ready" and the release of the lease are one commit, conditional on the head (I10). When the
//! head moved, nothing was written: fold the tail and go on.

use perennial_engine::kernel::Command;
use perennial_engine::ports::Ready;
use perennial_schema::EventId;
use perennial_schema::session::StopReason;
use tracing::warn;

use super::append::Terms;
use super::{Flow, Session, Stop};

impl Session {
    /// Ends the turn, or gives back a session that had nothing to do.
    pub(super) async fn rest(&mut self, stop: Option<StopReason>) -> Result<Flow, Stop> {
        let more = self.state.has_input_beyond_rest();
        let drafts = self.decide(Command::Rest(stop))?;
        if drafts.is_empty() && !more {
            return self.release(Ready::Never).await;
        }
        fail::fail_point!("worker.rest.before");
        let ready = if more { Ready::Keep } else { Ready::Never };
        let terms = Terms {
            only_at_head: true,
            release: !more,
            ready: Some(ready),
            hold: None,
        };
        if !self.append_on(drafts, terms).await? {
            self.catch_up().await?;
            return Ok(Flow::Continue);
        }
        fail::fail_point!("worker.rest.after");
        Ok(if more { Flow::Continue } else { Flow::Released })
    }

    /// Parks until somebody answers: the harness ends, the lease goes back, the session costs nothing.
    pub(super) async fn park(&mut self, event_ids: Vec<EventId>, announce: bool) -> Result<Flow, Stop> {
        self.close_harness().await;
        let stop = announce.then_some(StopReason::RequiresAction { event_ids });
        let drafts = self.decide(Command::Rest(stop))?;
        if drafts.is_empty() {
            return self.release(Ready::Never).await;
        }
        let terms = Terms {
            only_at_head: true,
            release: true,
            ready: Some(Ready::Never),
            hold: None,
        };
        if self.append_on(drafts, terms).await? {
            return Ok(Flow::Released);
        }
        self.catch_up().await?;
        Ok(Flow::Continue)
    }

    async fn release(&mut self, ready: Ready) -> Result<Flow, Stop> {
        let released = self
            .ports
            .leases
            .release(self.key, self.epoch, ready, self.state.seq)
            .await;
        if let Err(error) = released {
            // The lease is kept alive by our renewals, so a session must not be left behind: try again.
            warn!(%error, "could not release a session; trying again");
            self.pause(crate::limits::STORE_PAUSE.1).await?;
            return Ok(Flow::Continue);
        }
        Ok(Flow::Released)
    }

    /// Drain: the session stays ready for whoever comes next. Best effort; the lease expires otherwise.
    pub(super) async fn give_back(&mut self) {
        if let Err(error) = self
            .ports
            .leases
            .release(self.key, self.epoch, Ready::Now, self.state.seq)
            .await
        {
            warn!(%error, "could not give a session back; its lease will expire");
        }
    }
}
