//! What a worker does, and what the store says to it. Mirrors `worker/src/session` and `broker/src/log/rules.rs`.

use crate::executor::Reply;
use crate::session::{AppendId, Open, Outcome, Say, Step, fold};
use crate::story::{Answer, Race, Story, Without};
use crate::world::{Append, Drive, Worker, World, Write};

/// Why an append was refused.
pub(crate) enum Refusal {
    Fenced,
    Moved,
}

impl Story {
    pub(crate) fn hand_off(&self, world: &mut World, mail: u8) {
        let id = AppendId::Mail(mail);
        if self.without != Without::Dedupe && world.knows(id) {
            return self.meets(Race::HandOffRepeated);
        }
        world.store(id, &[Say::Mail(mail)]);
        world.ready = true;
    }

    /// The store's side of an append; the rules are those of `broker/src/log/rules.rs`.
    pub(crate) fn arrives(&self, world: &mut World, append: &Append) -> Result<bool, Refusal> {
        if self.without != Without::Dedupe && world.knows(append.id) {
            return Ok(true);
        }
        let stale = !world.held || world.epoch != append.epoch;
        if stale && self.without != Without::Fence {
            return Err(Refusal::Fenced);
        }
        let unconditional = append.releases() && self.without == Without::ConditionalRelease;
        if append.at_head.is_some_and(|head| head != world.head) && !unconditional {
            return Err(Refusal::Moved);
        }
        match append.write {
            Write::Use { call, journal } => world.store(append.id, &[Say::Use { call, journal }]),
            // The next request begins in the same commit.
            Write::Result { call, outcome } => {
                world.store(append.id, &[Say::Result { call, outcome }, Say::Start]);
            }
            _ => world.store(append.id, append.says()),
        }
        if append.releases() {
            world.held = false;
            world.ready = false;
        }
        Ok(false)
    }

    pub(crate) fn commit(&self, world: &mut World, w: usize, answer: Answer) {
        let Worker::Drives(mut drive) = world.workers[w] else {
            return;
        };
        let Some(mut append) = drive.append else { return };
        if answer != Answer::Told {
            if answer == Answer::AppliedButUnknown {
                // A refusal that nobody heard is found again by the retry.
                let _refused = self.arrives(world, &append);
            }
            append.doubt = true;
            drive.append = Some(append);
            world.workers[w] = Worker::Drives(drive);
            return;
        }
        let outcome = self.arrives(world, &append);
        if append.doubt {
            match outcome {
                Ok(true) => self.meets(Race::AmbiguousApplied),
                Ok(false) => self.meets(Race::AmbiguousLost),
                Err(_) => {}
            }
        }
        drive.append = None;
        world.workers[w] = match outcome {
            Err(Refusal::Fenced) => {
                self.meets(Race::StaleAppendRefused);
                Worker::Free
            }
            Err(Refusal::Moved) => {
                drive.folded = world.head;
                match append.write {
                    Write::FinalAndRest => {
                        self.meets(Race::ReleaseRefused);
                        drive.begin(Write::Final, None);
                    }
                    Write::Rest => self.meets(Race::ReleaseRefused),
                    Write::Result { call, .. } => {
                        self.meets(Race::RequestRefused);
                        if fold(&world.log).open.is_some_and(|open| open.call == call) {
                            drive.begin(append.write, Some(world.head));
                        }
                    }
                    _ => self.meets(Race::RequestRefused),
                }
                Worker::Drives(drive)
            }
            Ok(_) if append.releases() => Worker::Free,
            Ok(_) => {
                drive.folded = world.head;
                if matches!(append.write, Write::Start | Write::Result { .. }) {
                    drive.own_request = fold(&world.log).request;
                }
                drive.fresh = matches!(append.write, Write::Use { .. });
                Worker::Drives(drive)
            }
        };
    }

    pub(crate) fn step(&self, world: &mut World, w: usize) {
        let Worker::Drives(mut drive) = world.workers[w] else {
            return;
        };
        let state = fold(&world.log[..usize::from(drive.folded)]);
        let head = Some(drive.folded);
        match state.next() {
            Step::CloseRequest(start) if drive.own_request == Some(start) => {
                if state.calls < self.calls && !state.called {
                    let (call, journal) = (state.calls, world.executor.journal_id);
                    drive.begin(Write::Use { call, journal }, None);
                } else if state.queued {
                    drive.begin(Write::Final, None);
                } else {
                    drive.begin(Write::FinalAndRest, head);
                }
                drive.own_request = None;
            }
            Step::CloseRequest(_) => {
                self.meets(Race::RequestAbandoned);
                drive.begin(Write::Abandon, None);
            }
            Step::Think => drive.begin(Write::Start, head),
            Step::Rest(true) => drive.begin(Write::Rest, head),
            Step::Rest(false) => {
                // A release without an event: a stale epoch changes nothing, a moved head leaves the session ready.
                if world.held && world.epoch == drive.epoch {
                    world.held = false;
                    world.ready = world.head != drive.folded;
                }
                world.workers[w] = Worker::Free;
                return;
            }
            Step::Call(open) if drive.fresh => {
                drive.fresh = false;
                match self.executor_call(&mut world.executor, drive.epoch, open) {
                    Reply::Fenced => {
                        world.workers[w] = Worker::Free;
                        return;
                    }
                    Reply::InDoubt => self.in_doubt(&mut drive, open),
                    Reply::Wait | Reply::NeverStarted => drive.waiting = true,
                }
            }
            Step::Call(open) => match self.executor_settle(&mut world.executor, drive.epoch, open) {
                Reply::Fenced => {
                    world.workers[w] = Worker::Free;
                    return;
                }
                Reply::InDoubt => self.in_doubt(&mut drive, open),
                Reply::NeverStarted => {
                    self.meets(Race::NeverStartedSent);
                    drive.fresh = true;
                }
                Reply::Wait => drive.waiting = true,
            },
        }
        world.workers[w] = Worker::Drives(drive);
    }

    fn in_doubt(&self, drive: &mut Drive, open: Open) {
        self.meets(Race::InDoubt);
        let outcome = Outcome::InDoubt;
        drive.begin(
            Write::Result {
                call: open.call,
                outcome,
            },
            Some(drive.folded),
        );
    }
}
