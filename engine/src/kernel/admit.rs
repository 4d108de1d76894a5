//! What a client's inputs do to the readiness of a session, decided on its head row alone.

use perennial_schema::event::{Body, Draft};
use perennial_schema::session::StopReason;

use crate::ports::{Projection, Ready, SessionRow};

/// The columns a client append changes. Any input makes the session ready, but a message that arrives while somebody's
/// answer is awaited only queues: the session stays idle until every id is answered or an interrupt arrives (DESIGN §5).
#[must_use]
pub fn admit(row: &SessionRow, drafts: &[Draft]) -> Projection {
    let parked = matches!(row.stop_reason, Some(StopReason::RequiresAction { .. }));
    let only_messages = drafts.iter().all(|draft| {
        matches!(
            draft.body,
            Body::UserMessage(_) | Body::SystemMessage(_) | Body::MailReceived(_)
        )
    });
    let ready = if parked && only_messages {
        Ready::Keep
    } else {
        Ready::Now
    };
    Projection {
        ready,
        ..Projection::default()
    }
}
