//! What a set of events changes on the session row: the same for every backend.

use perennial_schema::event::{Body, Draft};
use perennial_schema::session::{Status, StopReason};

use crate::ports::{Projection, Ready};

impl Projection {
    /// The columns that follow from events alone. Readiness by client input is `decide::admit`'s business, the turn the
    /// holder's.
    #[must_use]
    pub fn of(events: &[Draft]) -> Self {
        let mut columns = Self::default();
        for event in events {
            columns.progress |= event.body.is_progress();
            match &event.body {
                Body::SessionStatusRunning(_) => {
                    columns.status = Some(Status::Running);
                    columns.stop_reason = Some(None);
                }
                Body::SessionStatusIdle(idle) => {
                    columns.status = Some(Status::Idle);
                    columns.stop_reason = Some(Some(idle.stop_reason.clone()));
                    columns.ready = Ready::Never;
                }
                Body::SessionStatusRescheduled(_) => columns.status = Some(Status::Rescheduling),
                Body::SessionStatusTerminated(_) => {
                    columns.status = Some(Status::Terminated);
                    columns.ready = Ready::Never;
                }
                Body::SpanModelRequestEnd(end) => columns.usage.add(end.model_usage),
                Body::ToolDispatched(dispatched) => columns.place = Some(dispatched.executor_id),
                Body::InputProcessed(named) => columns.processed.extend(&named.event_ids),
                _ => {}
            }
        }
        columns
    }

    /// Whether the session ends up waiting for somebody's answer.
    #[must_use]
    pub fn requires_action(&self) -> bool {
        matches!(self.stop_reason, Some(Some(StopReason::RequiresAction { .. })))
    }
}
