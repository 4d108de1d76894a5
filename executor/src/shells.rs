//! How many shells live, over all sessions: the one that has been idle longest makes room. When all are busy, who needs another
//! one waits in line; the first in it gets the first that is free.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use perennial_schema::SessionId;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Seat {
    quit: CancellationToken,
    /// Order of last use; `None` while a command runs.
    idle_since: Option<u64>,
}

#[derive(Debug, Default)]
struct Table {
    uses: u64,
    seats: HashMap<SessionId, Seat>,
    /// Each is told when it is its turn; one that has gone is passed over. At most as many as there are slots for calls.
    line: VecDeque<oneshot::Sender<()>>,
}

/// The table of live shells.
#[derive(Debug)]
pub(crate) struct Shells {
    most: usize,
    table: Mutex<Table>,
}

impl Shells {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            table: Mutex::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A busy seat for a new shell of the session, taken from the longest idle one if need be; `false` when all are busy, or
    /// others wait and it is not this one's turn.
    pub(crate) fn take(&self, session: SessionId, quit: CancellationToken, turn: bool) -> bool {
        let mut table = self.table();
        table.line.retain(|waits| !waits.is_closed());
        let known = table.seats.contains_key(&session);
        if !known && !turn && !table.line.is_empty() {
            return false;
        }
        if !known && table.seats.len() >= self.most {
            let Some(longest) = table.longest_idle() else {
                return false;
            };
            if let Some(seat) = table.seats.remove(&longest) {
                seat.quit.cancel();
            }
        }
        table.seats.insert(session, Seat { quit, idle_since: None });
        true
    }

    /// Waits for its turn; at the head of the line if it had it and was too late.
    pub(crate) fn line_up(&self, turn: bool) -> oneshot::Receiver<()> {
        let (told, waits) = oneshot::channel();
        let mut table = self.table();
        if turn {
            table.line.push_front(told);
        } else {
            table.line.push_back(told);
        }
        waits
    }

    /// Tells the first in line, if there is a seat to be had. Whoever was told says so again once it has made use of it or not.
    pub(crate) fn stir(&self) {
        self.table().stir(self.most);
    }

    /// A command begins; `false` when the shell has just lost its seat.
    pub(crate) fn busy(&self, session: SessionId) -> bool {
        self.table()
            .seats
            .get_mut(&session)
            .map(|seat| seat.idle_since = None)
            .is_some()
    }

    /// A command ended.
    pub(crate) fn idle(&self, session: SessionId) {
        let mut table = self.table();
        table.uses += 1;
        let now = table.uses;
        if let Some(seat) = table.seats.get_mut(&session) {
            seat.idle_since = Some(now);
        }
        table.stir(self.most);
    }

    /// The shell is gone.
    pub(crate) fn leave(&self, session: SessionId) {
        let mut table = self.table();
        table.seats.remove(&session);
        table.stir(self.most);
    }
}

impl Table {
    fn longest_idle(&self) -> Option<SessionId> {
        let idle = self.seats.iter().filter_map(|(id, seat)| Some((seat.idle_since?, *id)));
        idle.min().map(|(_, longest)| longest)
    }

    fn stir(&mut self, most: usize) {
        if self.seats.len() >= most && self.longest_idle().is_none() {
            return;
        }
        while let Some(first) = self.line.pop_front() {
            if first.send(()).is_ok() {
                return;
            }
        }
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
        assert!(shells.take(session(0), quits[0].clone(), false));
        assert!(shells.take(session(1), quits[1].clone(), false));
        assert!(!shells.take(session(2), quits[2].clone(), false), "both are busy");
        shells.idle(session(1));
        shells.idle(session(0));
        assert!(shells.take(session(2), quits[2].clone(), false));
        assert!(quits[1].is_cancelled() && !quits[0].is_cancelled());
        assert!(!shells.busy(session(1)), "it lost its seat");
        assert!(shells.busy(session(0)));
        assert!(!shells.take(session(3), quits[3].clone(), false));
        shells.leave(session(2));
        assert!(shells.take(session(3), quits[3].clone(), false));
    }

    #[test]
    fn who_waits_is_told_in_order_and_nobody_jumps_the_line() {
        let shells = Shells::new(1);
        let quit = CancellationToken::new;
        assert!(shells.take(session(0), quit(), false));
        let (mut first, gone, mut third) = (shells.line_up(false), shells.line_up(false), shells.line_up(false));
        drop(gone);
        shells.stir();
        assert!(first.try_recv().is_err(), "there is no seat");
        shells.leave(session(0));
        assert!(first.try_recv().is_ok());
        assert!(!shells.take(session(9), quit(), false), "others wait");
        assert!(shells.take(session(1), quit(), true));
        shells.idle(session(1));
        assert!(third.try_recv().is_ok());
        // Its seat was used again meanwhile: back to the head of the line.
        assert!(shells.busy(session(1)));
        assert!(!shells.take(session(3), quit(), true));
        let (mut last, mut third) = (shells.line_up(false), shells.line_up(true));
        shells.idle(session(1));
        assert!(third.try_recv().is_ok() && last.try_recv().is_err());
        assert!(shells.take(session(3), quit(), true));
        shells.leave(session(3));
        assert!(last.try_recv().is_ok());
    }
}
