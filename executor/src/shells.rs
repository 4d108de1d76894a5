//! How many shells live, over all sessions: the one that has been idle longest makes room.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use perennial_schema::SessionId;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Seat {
    quit: CancellationToken,
    /// Order of last use; `None` while a command runs.
    idle_since: Option<u64>,
}

/// The table of live shells.
#[derive(Debug)]
pub(crate) struct Shells {
    most: usize,
    seats: Mutex<(u64, HashMap<SessionId, Seat>)>,
}

impl Shells {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            seats: Mutex::default(),
        }
    }

    fn seats(&self) -> MutexGuard<'_, (u64, HashMap<SessionId, Seat>)> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A busy seat for a new shell of the session, taken from the longest idle one if need be; `false` when all are busy.
    pub(crate) fn take(&self, session: SessionId, quit: CancellationToken) -> bool {
        let mut seats = self.seats();
        let seats = &mut seats.1;
        if !seats.contains_key(&session) && seats.len() >= self.most {
            let idle = seats.iter().filter_map(|(id, seat)| Some((seat.idle_since?, *id)));
            let Some((_, longest)) = idle.min() else { return false };
            if let Some(seat) = seats.remove(&longest) {
                seat.quit.cancel();
            }
        }
        seats.insert(session, Seat { quit, idle_since: None });
        true
    }

    /// A command begins; `false` when the shell has just lost its seat.
    pub(crate) fn busy(&self, session: SessionId) -> bool {
        self.seats()
            .1
            .get_mut(&session)
            .map(|seat| seat.idle_since = None)
            .is_some()
    }

    /// A command ended.
    pub(crate) fn idle(&self, session: SessionId) {
        let mut seats = self.seats();
        seats.0 += 1;
        let now = seats.0;
        if let Some(seat) = seats.1.get_mut(&session) {
            seat.idle_since = Some(now);
        }
    }

    /// The shell is gone.
    pub(crate) fn leave(&self, session: SessionId) {
        self.seats().1.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(n: u128) -> SessionId {
        SessionId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn the_longest_idle_shell_makes_room_and_a_busy_one_never() {
        let shells = Shells::new(2);
        let quits: Vec<CancellationToken> = (0..4).map(|_| CancellationToken::new()).collect();
        assert!(shells.take(session(0), quits[0].clone()));
        assert!(shells.take(session(1), quits[1].clone()));
        assert!(!shells.take(session(2), quits[2].clone()), "both are busy");
        shells.idle(session(1));
        shells.idle(session(0));
        assert!(shells.take(session(2), quits[2].clone()));
        assert!(quits[1].is_cancelled() && !quits[0].is_cancelled());
        assert!(!shells.busy(session(1)), "it lost its seat");
        assert!(shells.busy(session(0)));
        assert!(!shells.take(session(3), quits[3].clone()));
        shells.leave(session(2));
        assert!(shells.take(session(3), quits[3].clone()));
    }
}
