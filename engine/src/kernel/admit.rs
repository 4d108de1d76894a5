//! What a client's inputs do to the readiness of a session.

use perennial_schema::event::{Body, Draft};

use crate::ports::{Projection, Ready};

/// The columns a client append changes. Any input makes the session ready, but a message that arrives while somebody's
/// answer is awaited only queues: the session stays idle until every id is answered or an interrupt arrives (DESIGN §5).
/// Whether it is awaited is judged inside the commit, not on a row that may have moved since it was read.
#[must_use]
pub fn admit(drafts: &[Draft]) -> Projection {
    let message = |draft: &Draft| {
        matches!(
            draft.body,
            Body::UserMessage(_) | Body::SystemMessage(_) | Body::UserDefineOutcome(_) | Body::MailReceived(_)
        )
    };
    let ready = if drafts.iter().all(message) {
        Ready::UnlessParked
    } else {
        Ready::Now
    };
    Projection {
        ready,
        ..Projection::default()
    }
}
