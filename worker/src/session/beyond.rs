//! A log that a later version of this program wrote to: while servers are replaced one after the other, old and new ones work
//! side by side. An old one does not guess what an event means whose type it does not know (I8): it gives the session back,
//! unharmed, for a new one to drive, and passes it by for a while. Where nobody else is there to take it, it is set aside, and
//! the reason says what to do.

use perennial_engine::kernel::UnknownEvent;
use perennial_engine::ports::{Pool, Standing};
use perennial_schema::event::{Body, Event};
use tracing::info;

use super::Session;

/// Version of this program.
pub(crate) fn version() -> &'static str {
    fail::fail_point!("worker.older", |_| "0.0.0");
    env!("CARGO_PKG_VERSION")
}

/// The event as this version knows it.
pub(super) fn known(event: Event, kind: &str) -> Event {
    if is_forgotten(kind) {
        let body = Body::Unknown(kind.to_owned());
        return Event { body, ..event };
    }
    event
}

/// A build of the fault rigs can be told to know less than it does, which is what an older one is: types divided by `|`.
fn is_forgotten(kind: &str) -> bool {
    fail::fail_point!("worker.older", |types| types
        .is_some_and(|types| types.split('|').any(|forgotten| forgotten == kind)));
    let _ = kind;
    false
}

/// Whether a worker of another version claims sessions. One that cannot be asked is hoped for.
async fn is_another_version_here(pool: &dyn Pool) -> bool {
    let Ok(workers) = pool.workers().await else {
        return true;
    };
    workers
        .iter()
        .any(|worker| worker.standing == Standing::Active && worker.card.version != version())
}

impl Session {
    /// Yields the session, or sets it aside when there is nobody to yield it to.
    pub(super) async fn stand_aside(&mut self, event: UnknownEvent) {
        let what = format!("{} at seq {}", event.kind, event.seq);
        if self.yielded.in_vain(self.key) && !is_another_version_here(self.ports.pool.as_ref()).await {
            let reason = format!("this version does not know the event {what}; upgrade, then retry");
            self.set_aside(reason).await;
            return;
        }
        info!(session.id = %self.key.session, %what, "yielding a session: this version does not know one of its events");
        self.yielded.put(self.key);
        self.give_back().await;
    }
}
