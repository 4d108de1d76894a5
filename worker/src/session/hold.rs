//! Resting for a budget: the refused request is closed, the session says which budget has no room, and the lease goes back. It
//! goes on with what it owes when the budget begins anew, is raised or has room again; new input tries at once.

use perennial_engine::kernel::Command;
use perennial_engine::ports::{BudgetHold, BudgetRefusal, ModelError, Ready};
use perennial_schema::event::RetryStatus;
use perennial_schema::model::Usage;
use perennial_schema::session::StopReason;
use tracing::info;

use super::append::Terms;
use super::think::told;
use super::{Flow, Session, Stop};

impl Session {
    /// Parks the session until a budget has room. Span, error, idle and release are one commit.
    pub(super) async fn hold(
        &mut self,
        refusal: BudgetRefusal,
        error: &ModelError,
        usage: Usage,
    ) -> Result<Flow, Stop> {
        info!(budget = %refusal.budget, need = refusal.need, "a session rests for a budget");
        self.own_request = None;
        self.close_harness().await;
        let terms = Terms {
            only_at_head: true,
            release: true,
            ready: Some(refusal.resets_at.map_or(Ready::Never, Ready::At)),
            hold: Some(BudgetHold {
                budget: refusal.budget,
                need: refusal.need,
            }),
        };
        loop {
            let mut drafts = self.abandoned(usage, Some(told(error, RetryStatus::Exhausted)))?;
            // Whoever interrupts does not want it to go on.
            if self.state.interrupt.is_some() {
                self.append(drafts).await?;
                return Ok(Flow::Continue);
            }
            drafts.extend(self.decide(Command::Rest(Some(StopReason::BudgetReached)))?);
            fail::fail_point!("worker.hold.before");
            if self.append_on(drafts, terms).await? {
                fail::fail_point!("worker.hold.after");
                return Ok(Flow::Released);
            }
            self.catch_up().await?;
        }
    }
}
