//! A writer: one connection, and whoever waits for it. A caller that finds it free leads, with no hop in between; what has
//! come in the meantime then travels together, one entry per session, in one statement. Nothing waits for a timer.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perennial_engine::ports::{AppendError, SessionKey, StoreError};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::attempt::{self, Done, Job};
use super::link::Link;
use super::rows::Known;
use super::site::Site;
use super::{batch, failure};
use crate::limits;

/// A job that waits, and who waits for it.
pub(super) struct Waiting {
    pub(super) job: Job,
    pub(super) until: Instant,
    pub(super) answer: oneshot::Sender<Result<Done, AppendError>>,
}

/// A writer. Each session belongs to one of a process' writers, so that its appends follow one another.
pub(super) struct Lane {
    state: Mutex<State>,
    room: Semaphore,
    runtime: Handle,
}

struct State {
    /// At rest when nobody leads.
    link: Option<Link>,
    /// Rows that were read since somebody led last, for whoever leads next; and whether by a claim.
    seen: HashMap<SessionKey, (Known, bool)>,
    waiting: VecDeque<Waiting>,
    closed: bool,
}

impl Lane {
    pub(super) fn new(site: Arc<Site>, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                link: Some(Link::new(site)),
                seen: HashMap::new(),
                waiting: VecDeque::new(),
                closed: false,
            }),
            room: Semaphore::new(limits::WRITER_QUEUE),
            runtime,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a session's row that was just read: an append that follows needs no look of its own.
    pub(super) fn saw(&self, key: SessionKey, known: Known) {
        self.state().see(key, known, false);
    }

    /// The same of a row as a claim of this process left it.
    pub(super) fn claimed(&self, key: SessionKey, known: Known) {
        self.state().see(key, known, true);
    }

    /// Does a job. Dropping this future leaves nothing half-done: a leader's connection is dropped with it, and the others
    /// are led on.
    pub(super) async fn ask(self: &Arc<Self>, job: Job) -> Result<Done, AppendError> {
        let until = Instant::now() + limits::RESOLVE_WAIT;
        let room = tokio::time::timeout(limits::QUEUE_WAIT, self.room.acquire()).await;
        let Ok(Ok(_room)) = room else {
            return Err(failure::unavailable("too many appends are waiting: try again").into());
        };
        match self.join(job, until)? {
            Joined::Leads(mut lead, job) => {
                let done = attempt::run(&mut lead.link, &job, false, until).await;
                lead.finish();
                done
            }
            Joined::Waits(told) => told.await.unwrap_or_else(|_| {
                let message = String::from("the writer failed");
                Err(StoreError::Unknown { message }.into())
            }),
        }
    }

    fn join(self: &Arc<Self>, job: Job, until: Instant) -> Result<Joined, AppendError> {
        let mut state = self.state();
        if state.closed {
            return Err(failure::unavailable("the store is shut down").into());
        }
        if let Some(mut link) = state.link.take() {
            state.teach(&mut link);
            return Ok(Joined::Leads(Box::new(Lead::new(self, link)), job));
        }
        let (answer, told) = oneshot::channel();
        state.waiting.push_back(Waiting { job, until, answer });
        Ok(Joined::Waits(told))
    }

    /// Refuses whatever comes from now on, and ends the connection once nobody leads.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.link = None;
    }

    /// The leader is done: the next one leads what waits.
    fn hand_over(self: &Arc<Self>, link: Link) {
        let mut state = self.state();
        if state.waiting.is_empty() {
            state.link = Some(link).filter(|_| !state.closed);
            return;
        }
        drop(state);
        let lead = Lead::new(self, link);
        self.runtime.spawn(drain(lead));
    }

    /// What travels next: in order of arrival, at most one entry per session.
    fn next_batch(&self, link: &mut Link) -> Vec<Waiting> {
        let mut state = self.state();
        state.teach(link);
        let mut sessions = HashSet::new();
        let (mut batch, mut left, mut bytes) = (Vec::new(), VecDeque::new(), 0);
        while let Some(waiting) = state.waiting.pop_front() {
            if waiting.answer.is_closed() {
                continue;
            }
            let size = waiting.job.bytes();
            let full = batch.len() >= limits::BATCH || (bytes + size > limits::BATCH_BYTES && !batch.is_empty());
            if full || !sessions.insert(waiting.job.key()) {
                left.push_back(waiting);
                if full {
                    left.append(&mut state.waiting);
                }
                continue;
            }
            bytes += size;
            batch.push(waiting);
        }
        state.waiting = left;
        batch
    }

    /// Nobody is left to lead: who waits hears it.
    fn give_up(&self, link: Link) {
        let mut state = self.state();
        state.link = Some(link).filter(|_| !state.closed);
        // Dropping their senders tells them.
        state.waiting.clear();
    }
}

impl State {
    fn see(&mut self, key: SessionKey, known: Known, claimed: bool) {
        if self.seen.len() >= limits::KNOWN_SESSIONS {
            self.seen.clear();
        }
        let was_claimed = self.seen.get(&key).is_some_and(|(_, claimed)| *claimed);
        self.seen.insert(key, (known, claimed || was_claimed));
    }

    fn teach(&mut self, link: &mut Link) {
        for (key, (known, claimed)) in self.seen.drain() {
            link.saw(key, known);
            if claimed {
                link.begins(key);
            }
        }
    }
}

enum Joined {
    Leads(Box<Lead>, Job),
    Waits(oneshot::Receiver<Result<Done, AppendError>>),
}

/// Whoever has the connection. Dropped without `finish`, its work was cut short.
struct Lead {
    lane: Arc<Lane>,
    link: Link,
    finished: bool,
    drains: bool,
}

impl Lead {
    fn new(lane: &Arc<Lane>, link: Link) -> Self {
        Self {
            lane: Arc::clone(lane),
            link,
            finished: false,
            drains: false,
        }
    }

    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let site = Arc::clone(&self.link.site);
        let mut link = std::mem::replace(&mut self.link, Link::new(site));
        if self.finished {
            self.lane.hand_over(link);
            return;
        }
        link.abandon();
        if self.drains {
            // The runtime is going down, or a bug: spawning again might end the same way.
            self.lane.give_up(link);
        } else {
            self.lane.hand_over(link);
        }
    }
}

/// Leads until nothing waits.
async fn drain(mut lead: Lead) {
    lead.drains = true;
    loop {
        let lane = Arc::clone(&lead.lane);
        let batch = lane.next_batch(&mut lead.link);
        if batch.is_empty() {
            break;
        }
        batch::together(&mut lead.link, batch).await;
        // Who was just answered may have more to say: let it join the next batch, or the two halves of a crowd take turns.
        tokio::task::yield_now().await;
    }
    lead.finish();
}
