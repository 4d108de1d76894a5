//! What can happen, and what it does.
//!
//! A step of a worker is split wherever the world may change: deciding, committing, sending, hearing. A *pause* needs no action:
//! a worker that is not scheduled while its lease expires is paused. Owners have no names here, as their order does not
//! matter: workers are kept sorted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stateright::{Model, Property};

use crate::promises;
use crate::session::{Event, MAILS, Outcome, fold};
use crate::worker::Refusal;
use crate::world::{Drive, Executor, Faults, Process, Worker, World, Write};

/// A mechanism that is taken away, to see that its absence is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    Nothing,
    Fence,
    ConditionalRelease,
    Journal,
    NewJournal,
    Dedupe,
    ExecutorFence,
}

/// Races that must have been met, each with how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Race {
    StaleAppendRefused,
    GhostRefused,
    AmbiguousApplied,
    AmbiguousLost,
    ExecutorRefused,
    CallAttached,
    ResultFound,
    NeverStartedSent,
    InDoubt,
    JournalGone,
    HandOffRepeated,
    ReleaseRefused,
    RequestRefused,
    RequestAbandoned,
    SelfEvicted,
}

pub(crate) const RACES: [Race; 15] = [
    Race::StaleAppendRefused,
    Race::GhostRefused,
    Race::AmbiguousApplied,
    Race::AmbiguousLost,
    Race::ExecutorRefused,
    Race::CallAttached,
    Race::ResultFound,
    Race::NeverStartedSent,
    Race::InDoubt,
    Race::JournalGone,
    Race::HandOffRepeated,
    Race::ReleaseRefused,
    Race::RequestRefused,
    Race::RequestAbandoned,
    Race::SelfEvicted,
];

/// How the answer to a commit comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Told,
    AppliedButUnknown,
    LostAndUnknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Claim(usize),
    /// The worker decides, sends or settles: whatever its state says is next.
    Step(usize),
    Commit(usize, Answer),
    /// What the worker waits for came back from the executor.
    Hear(usize),
    /// A renewal that finds the lease gone.
    Renew(usize),
    /// News of a longer log.
    Hint(usize),
    Crash(usize),
    Restart(usize),
    Expire,
    GhostArrives,
    HandOff {
        mail: u8,
        dies_before_marking: bool,
    },
    Act(u8),
    Finish(u8),
    ExecutorCrash,
    ExecutorRebuilt,
}

/// The model: a bound on faults, and what is taken away.
#[derive(Clone)]
pub(crate) struct Story {
    /// Calls the model makes, one a turn.
    pub(crate) calls: u8,
    pub(crate) faults: Faults,
    pub(crate) without: Without,
    pub(crate) met: Arc<[AtomicUsize; RACES.len()]>,
}

impl Story {
    pub(crate) fn new(calls: u8, faults: Faults, without: Without) -> Self {
        Self {
            calls,
            faults,
            without,
            met: Arc::default(),
        }
    }

    pub(crate) fn meets(&self, race: Race) {
        self.met[race as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What goes on without any fault.
    fn progress(&self, world: &World, actions: &mut Vec<Action>) {
        for (w, worker) in world.workers.iter().enumerate() {
            match worker {
                Worker::Down => actions.push(Action::Restart(w)),
                Worker::Free if world.ready && !(world.held && world.alive) => actions.push(Action::Claim(w)),
                Worker::Free => {}
                Worker::Drives(drive) => {
                    if drive.append.is_some() {
                        actions.push(Action::Commit(w, Answer::Told));
                    } else if drive.waiting {
                        if world.answer_for(drive).is_some() {
                            actions.push(Action::Hear(w));
                        }
                    } else {
                        actions.push(Action::Step(w));
                    }
                    if drive.epoch < world.epoch || !world.alive {
                        actions.push(Action::Renew(w));
                    }
                    if drive.append.is_none() && drive.folded < world.head {
                        actions.push(Action::Hint(w));
                    }
                }
            }
        }
        if world.ghost.is_some() {
            actions.push(Action::GhostArrives);
        }
        if world.held && world.alive && !world.has_holder() {
            actions.push(Action::Expire);
        }
        // Delivery locks the pair of sender and receiver: the second waits for the first to be marked.
        if let Some(mail) = (0..MAILS).find(|mail| !world.marked[*mail as usize]) {
            actions.push(Action::HandOff {
                mail,
                dies_before_marking: false,
            });
        }
        for call in 0..self.calls {
            match world.executor.running[usize::from(call)] {
                Process::None => {}
                Process::Begun => actions.push(Action::Act(call)),
                Process::Acted => actions.push(Action::Finish(call)),
            }
        }
    }

    fn faults(&self, world: &World, actions: &mut Vec<Action>) {
        let left = world.left;
        if left.total == 0 {
            return;
        }
        for (w, worker) in world.workers.iter().enumerate() {
            if left.crashes > 0 && matches!(worker, Worker::Drives(_)) {
                actions.push(Action::Crash(w));
            }
            if left.ambiguous > 0 && matches!(worker, Worker::Drives(drive) if drive.append.is_some()) {
                actions.push(Action::Commit(w, Answer::AppliedButUnknown));
                actions.push(Action::Commit(w, Answer::LostAndUnknown));
            }
        }
        if left.early_expiries > 0 && world.held && world.alive && world.has_holder() {
            actions.push(Action::Expire);
        }
        if left.hand_off_crashes > 0
            && let Some(mail) = (0..MAILS).find(|mail| !world.marked[*mail as usize])
        {
            actions.push(Action::HandOff {
                mail,
                dies_before_marking: true,
            });
        }
        if left.executor_crashes > 0 && world.executor.is_busy() {
            actions.push(Action::ExecutorCrash);
        }
        if left.executor_rebuilds > 0 && world.executor.highest > 0 {
            actions.push(Action::ExecutorRebuilt);
        }
    }

    fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Claim(w) => {
                world.epoch += 1;
                (world.held, world.alive) = (true, true);
                world.workers[w] = Worker::Drives(Drive::new(world.epoch, world.head));
            }
            Action::Step(w) => self.step(world, w),
            Action::Commit(w, answer) => {
                if answer != Answer::Told {
                    world.left.ambiguous -= 1;
                    world.left.total -= 1;
                }
                self.commit(world, w, answer);
            }
            Action::Hear(w) => {
                if let Worker::Drives(mut drive) = world.workers[w]
                    && let Some((call, outcome)) = world.answer_for(&drive)
                {
                    if outcome == Outcome::InDoubt {
                        self.meets(Race::InDoubt);
                    }
                    drive.waiting = false;
                    drive.begin(Write::Result { call, outcome }, Some(drive.folded));
                    world.workers[w] = Worker::Drives(drive);
                }
            }
            Action::Renew(w) => {
                self.meets(Race::SelfEvicted);
                world.workers[w] = Worker::Free;
            }
            Action::Hint(w) => {
                if let Worker::Drives(drive) = &mut world.workers[w] {
                    let open = |log: &[Event]| fold(log).open.map(|open| open.call);
                    drive.waiting &= open(&world.log) == open(&world.log[..usize::from(drive.folded)]);
                    drive.folded = world.head;
                }
            }
            Action::Crash(w) => {
                world.left.crashes -= 1;
                world.left.total -= 1;
                if let Worker::Drives(drive) = world.workers[w] {
                    world.ghost = world.ghost.or(drive.append);
                }
                world.workers[w] = Worker::Down;
            }
            Action::Restart(w) => world.workers[w] = Worker::Free,
            Action::Expire => {
                if world.has_holder() {
                    world.left.early_expiries -= 1;
                    world.left.total -= 1;
                }
                world.alive = false;
            }
            Action::GhostArrives => {
                if let Some(ghost) = world.ghost.take()
                    && let Err(Refusal::Fenced) = self.arrives(world, &ghost)
                {
                    self.meets(Race::GhostRefused);
                }
            }
            Action::HandOff {
                mail,
                dies_before_marking,
            } => {
                self.hand_off(world, mail);
                if dies_before_marking {
                    world.left.hand_off_crashes -= 1;
                    world.left.total -= 1;
                } else {
                    world.marked[usize::from(mail)] = true;
                }
            }
            Action::Act(_) | Action::Finish(_) | Action::ExecutorCrash | Action::ExecutorRebuilt => {
                self.executor_acts(world, action);
            }
        }
    }
}

impl Model for Story {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            log: Vec::new(),
            head: 0,
            epoch: 0,
            held: false,
            alive: false,
            ready: false,
            workers: [Worker::Free; 2],
            ghost: None,
            executor: Executor::default(),
            marked: [false; MAILS as usize],
            left: self.faults,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.progress(world, actions);
        self.faults(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        self.act(&mut next, action);
        next.workers.sort_unstable();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1: gap-free, and each append once", |_, world| {
                promises::numbered_once(world)
            }),
            Property::always("I3: epochs never go back", |_, world| promises::epochs_grow(world)),
            Property::always("I4: no old command is accepted", |_, world: &World| {
                !world.executor.accepted_stale
            }),
            Property::always("I5: effects at most once, one result a call", |story: &Self, world| {
                (0..story.calls).all(|call| promises::call_is_right(world, call))
            }),
            Property::always("I9: mail exactly once, in order", |_, world| promises::mail_once(world)),
            Property::always("I10: no deadlock", |story: &Self, world| {
                let mut actions = Vec::new();
                story.progress(world, &mut actions);
                !actions.is_empty() || world.rests()
            }),
        ]
    }
}
