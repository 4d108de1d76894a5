//! What there is: the store, two workers, an append that outlived its writer, the executor and the mailbox.

use crate::session::{AppendId, CALLS, Event, MAILS, Outcome, Say, Step, fold};

/// How many faults of each kind a story may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Faults {
    /// Of all kinds together.
    pub(crate) total: u8,
    pub(crate) crashes: u8,
    pub(crate) early_expiries: u8,
    pub(crate) ambiguous: u8,
    pub(crate) executor_crashes: u8,
    pub(crate) executor_rebuilds: u8,
    pub(crate) hand_off_crashes: u8,
}

/// What an append says, before it is known whether it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Write {
    Start,
    Abandon,
    Use { call: u8, journal: u8 },
    Result { call: u8, outcome: Outcome },
    FinalAndRest,
    Final,
    Rest,
}

/// An append on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Append {
    pub(crate) id: AppendId,
    pub(crate) epoch: u8,
    pub(crate) write: Write,
    /// Conditional appends carry the head they were decided on.
    pub(crate) at_head: Option<u8>,
    /// An earlier try had an unknown outcome.
    pub(crate) doubt: bool,
}

impl Append {
    pub(crate) const fn releases(&self) -> bool {
        matches!(self.write, Write::FinalAndRest | Write::Rest)
    }

    pub(crate) fn says(&self) -> &'static [Say] {
        match self.write {
            Write::Start => &[Say::Start],
            Write::Abandon => &[Say::Abandon],
            Write::FinalAndRest => &[Say::Final, Say::Idle],
            Write::Final => &[Say::Final],
            Write::Rest => &[Say::Idle],
            Write::Use { .. } | Write::Result { .. } => &[],
        }
    }
}

/// A worker's memory of the session it drives: nothing here outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Drive {
    pub(crate) epoch: u8,
    pub(crate) folded: u8,
    pub(crate) appends: u8,
    pub(crate) append: Option<Append>,
    pub(crate) own_request: Option<u8>,
    /// Dispatched by this drive (or found never started) and not sent yet.
    pub(crate) fresh: bool,
    pub(crate) waiting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Worker {
    Down,
    Free,
    Drives(Drive),
}

/// What the journal says of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Entry {
    #[default]
    Never,
    Started,
    Done,
}

/// A call's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Process {
    #[default]
    None,
    Begun,
    Acted,
}

/// The executor. `running` is memory; journal and high-water mark are on disk; `effects` is the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Executor {
    pub(crate) journal_id: u8,
    pub(crate) journal: [Entry; CALLS as usize],
    pub(crate) highest: u8,
    pub(crate) running: [Process; CALLS as usize],
    pub(crate) effects: [u8; CALLS as usize],
    /// What the oracle heard: never forgotten, and whether an older command was ever accepted under the same journal.
    pub(crate) heard: u8,
    pub(crate) accepted_stale: bool,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) log: Vec<Event>,
    pub(crate) head: u8,
    pub(crate) epoch: u8,
    pub(crate) held: bool,
    /// The holder's row has not expired.
    pub(crate) alive: bool,
    pub(crate) ready: bool,
    pub(crate) workers: [Worker; 2],
    /// An append of a dead worker that is still under way.
    pub(crate) ghost: Option<Append>,
    pub(crate) executor: Executor,
    /// Mail handed over and marked so.
    pub(crate) marked: [bool; MAILS as usize],
    pub(crate) left: Faults,
}

impl Drive {
    pub(crate) const fn new(epoch: u8, folded: u8) -> Self {
        Self {
            epoch,
            folded,
            appends: 0,
            append: None,
            own_request: None,
            fresh: false,
            waiting: false,
        }
    }

    pub(crate) const fn begin(&mut self, write: Write, at_head: Option<u8>) {
        let (epoch, n) = (self.epoch, self.appends);
        self.appends += 1;
        self.append = Some(Append {
            id: AppendId::Lease { epoch, n },
            epoch,
            write,
            at_head,
            doubt: false,
        });
    }
}

impl Executor {
    pub(crate) fn is_busy(&self) -> bool {
        self.running.iter().any(|process| *process != Process::None)
    }
}

impl World {
    pub(crate) fn knows(&self, id: AppendId) -> bool {
        self.log.iter().any(|event| event.by == id)
    }

    pub(crate) fn store(&mut self, by: AppendId, says: &[Say]) {
        for say in says {
            self.head += 1;
            let seq = self.head;
            self.log.push(Event { seq, by, say: *say });
        }
    }

    pub(crate) fn has_holder(&self) -> bool {
        let holds = |worker: &Worker| matches!(worker, Worker::Drives(drive) if drive.epoch == self.epoch);
        self.workers.iter().any(holds)
    }

    /// What a waiting worker hears: the result, or that the link broke before there was one.
    pub(crate) fn answer_for(&self, drive: &Drive) -> Option<(u8, Outcome)> {
        let open = fold(&self.log[..usize::from(drive.folded)]).open?;
        let call = usize::from(open.call);
        if open.journal != self.executor.journal_id {
            return Some((open.call, Outcome::InDoubt));
        }
        match (self.executor.running[call], self.executor.journal[call]) {
            (Process::None, Entry::Done) => Some((open.call, Outcome::Done)),
            (Process::None, _) => Some((open.call, Outcome::InDoubt)),
            _ => None,
        }
    }

    /// Everything is handed over, answered and given back.
    pub(crate) fn rests(&self) -> bool {
        self.marked.iter().all(|marked| *marked)
            && fold(&self.log).next() == Step::Rest(false)
            && !self.held
            && !self.ready
            && self.workers.iter().all(|worker| *worker == Worker::Free)
    }
}
