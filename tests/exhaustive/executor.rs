//! The executor's side: epochs, journal, processes. Mirrors `executor/src/session` and `router/src/dispatch.rs`.

use crate::session::{CALLS, Open};
use crate::story::{Action, Race, Story, Without};
use crate::world::{Entry, Executor, Process, World};

/// What a worker is told.
pub(crate) enum Reply {
    /// It runs, or its result is there: either is heard.
    Wait,
    NeverStarted,
    InDoubt,
    Fenced,
}

impl Story {
    /// The high-water mark: raised before anything is done in an epoch's name (I4).
    fn admit(&self, executor: &mut Executor, epoch: u8) -> bool {
        if epoch < executor.highest && self.without != Without::ExecutorFence {
            self.meets(Race::ExecutorRefused);
            return false;
        }
        executor.accepted_stale |= epoch < executor.heard;
        executor.highest = executor.highest.max(epoch);
        executor.heard = executor.heard.max(epoch);
        true
    }

    fn known(&self, executor: &Executor, call: u8) -> Entry {
        match self.without {
            Without::Journal => Entry::Never,
            _ => executor.journal[usize::from(call)],
        }
    }

    pub(crate) fn executor_call(&self, executor: &mut Executor, epoch: u8, open: Open) -> Reply {
        let call = usize::from(open.call);
        if open.journal != executor.journal_id {
            self.meets(Race::JournalGone);
            return Reply::InDoubt;
        }
        if !self.admit(executor, epoch) {
            return Reply::Fenced;
        }
        if executor.running[call] != Process::None && self.without != Without::Journal {
            self.meets(Race::CallAttached);
            return Reply::Wait;
        }
        match self.known(executor, open.call) {
            Entry::Done => Reply::Wait,
            Entry::Started => Reply::InDoubt,
            Entry::Never => {
                executor.journal[call] = Entry::Started;
                executor.running[call] = Process::Begun;
                Reply::Wait
            }
        }
    }

    pub(crate) fn executor_settle(&self, executor: &mut Executor, epoch: u8, open: Open) -> Reply {
        if open.journal != executor.journal_id {
            self.meets(Race::JournalGone);
            return Reply::InDoubt;
        }
        if !self.admit(executor, epoch) {
            return Reply::Fenced;
        }
        if executor.running[usize::from(open.call)] != Process::None && self.without != Without::Journal {
            self.meets(Race::CallAttached);
            return Reply::Wait;
        }
        match self.known(executor, open.call) {
            Entry::Done => {
                self.meets(Race::ResultFound);
                Reply::Wait
            }
            Entry::Started => Reply::InDoubt,
            Entry::Never => Reply::NeverStarted,
        }
    }

    pub(crate) fn executor_acts(&self, world: &mut World, action: Action) {
        let executor = &mut world.executor;
        match action {
            Action::Act(call) => {
                executor.running[usize::from(call)] = Process::Acted;
                executor.effects[usize::from(call)] += 1;
            }
            Action::Finish(call) => {
                executor.running[usize::from(call)] = Process::None;
                executor.journal[usize::from(call)] = Entry::Done;
            }
            Action::ExecutorCrash => {
                executor.running = [Process::None; CALLS as usize];
                world.left.executor_crashes -= 1;
                world.left.total -= 1;
            }
            Action::ExecutorRebuilt => {
                executor.running = [Process::None; CALLS as usize];
                executor.journal = [Entry::Never; CALLS as usize];
                if self.without != Without::NewJournal {
                    executor.journal_id += 1;
                }
                (executor.highest, executor.heard) = (0, 0);
                world.left.executor_rebuilds -= 1;
                world.left.total -= 1;
            }
            _ => {}
        }
    }
}
