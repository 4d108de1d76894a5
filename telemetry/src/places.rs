//! Where sessions are in their traces just now, for whoever works for one in this process and was not told: the model gateway,
//! which a harness asks without knowing of traces, and the router.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use perennial_schema::{SessionId, TraceParent};

/// Sessions driven in this process; as many as it has slots.
static HERE: Mutex<BTreeMap<SessionId, TraceParent>> = Mutex::new(BTreeMap::new());

fn everywhere() -> MutexGuard<'static, BTreeMap<SessionId, TraceParent>> {
    HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a session is until this is dropped; then it is where it was before.
#[derive(Debug)]
pub struct Place {
    session: SessionId,
    own: TraceParent,
    outer: Option<TraceParent>,
}

/// The session is in this span now, and in the outer one again afterwards.
#[must_use]
pub fn enter(session: SessionId, own: TraceParent, outer: Option<TraceParent>) -> Place {
    everywhere().insert(session, own);
    Place { session, own, outer }
}

impl Place {
    /// Whether this is where the session was said to be.
    #[must_use]
    pub fn is(&self, own: TraceParent) -> bool {
        self.own == own
    }
}

/// The span a session is in, if it is driven here and anybody hears of spans.
#[must_use]
pub fn here(session: SessionId) -> Option<TraceParent> {
    if !crate::enabled() {
        return None;
    }
    everywhere().get(&session).copied()
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut everywhere = everywhere();
        // Whoever drives it next, also in this process, has said where it is then.
        if everywhere.get(&self.session) == Some(&self.own) {
            match self.outer {
                Some(outer) => everywhere.insert(self.session, outer),
                None => everywhere.remove(&self.session),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_where_it_was_last_and_nowhere_in_the_end() {
        let session: SessionId = "sesn_00000000000000000000000000000007".parse().unwrap();
        let turn = TraceParent::derived(session.uuid(), "turn 1");
        let is = |place: Option<TraceParent>| assert_eq!(everywhere().get(&session).copied(), place);
        let run = enter(session, turn, None);
        let step = enter(session, turn.with_span(7), Some(turn));
        is(Some(turn.with_span(7)));
        drop(step);
        is(Some(turn));
        // Another drive has it: the end of this one leaves it alone.
        let next = enter(session, turn.with_span(9), None);
        drop(run);
        is(Some(turn.with_span(9)));
        drop(next);
        is(None);
    }
}
