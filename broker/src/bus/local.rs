//! The bus within one process. Each subscriber has a bounded queue that grows only while it is behind; who overflows it is
//! told that it lagged. Hints that wait collapse into the newest one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use perennial_engine::ports::{Bus, Delta, Notice, Request, Requests, SessionKey, Subscription, Unanswered, WakeUps};
use perennial_schema::{ExecutorId, WorkspaceId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex as Shareable, Notify, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::limits;

/// The bus. Cheap to clone; all clones are one bus, and dropping the last of them ends its subscriptions.
#[derive(Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

struct Shared {
    rooms: Rooms,
    wake: watch::Sender<()>,
    ticks: Mutex<HashMap<Tick, watch::Sender<()>>>,
    asked: Desks,
}

/// What is to be looked at again; that is all there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tick {
    /// The sessions of a workspace.
    Workspace(WorkspaceId),
    /// What is known of an executor.
    Executor(ExecutorId),
}

/// Who answers for which executor; an executor nobody answers for has no entry.
type Desks = Arc<Mutex<HashMap<ExecutorId, Questions>>>;

/// What is asked of one executor; whoever listens takes the next.
struct Questions {
    ask: mpsc::Sender<Request>,
    hear: Arc<Shareable<mpsc::Receiver<Request>>>,
    ears: usize,
}

/// Who listens to which session; a session nobody listens to has no entry.
type Rooms = Arc<Mutex<HashMap<SessionKey, Vec<Arc<Queue>>>>>;

impl Default for Local {
    fn default() -> Self {
        Self::new()
    }
}

impl Local {
    /// A bus without subscribers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                rooms: Rooms::default(),
                wake: watch::Sender::new(()),
                ticks: Mutex::default(),
                asked: Desks::default(),
            }),
        }
    }

    /// Tells every subscriber of a session.
    pub(super) fn publish(&self, key: SessionKey, notice: &Notice) {
        if let Some(room) = lock(&self.shared.rooms).get(&key) {
            for queue in room {
                queue.push(notice.clone());
            }
        }
    }

    /// Has everybody look who listens.
    pub(super) fn tick(&self, tick: Tick) {
        let mut ticks = lock(&self.shared.ticks);
        if let Some(room) = ticks.get(&tick) {
            room.send_replace(());
            // Everybody has left: so does the room.
            if room.is_closed() {
                ticks.remove(&tick);
            }
        }
    }

    fn ticks(&self, tick: Tick) -> Box<dyn WakeUps> {
        let mut ticks = lock(&self.shared.ticks);
        let room = ticks.entry(tick).or_insert_with(|| watch::Sender::new(()));
        Box::new(Alarm(room.subscribe()))
    }

    /// Whether somebody here answers for an executor.
    pub(super) fn answers(&self, to: ExecutorId) -> bool {
        lock(&self.shared.asked).contains_key(&to)
    }

    /// Puts a question to whoever answers here; gives it back when nobody does or too many wait.
    pub(super) fn ask(&self, to: ExecutorId, request: Request) -> Result<(), Request> {
        let asked = lock(&self.shared.asked);
        let Some(questions) = asked.get(&to) else {
            return Err(request);
        };
        questions.ask.try_send(request).map_err(TrySendError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for queue in lock(&self.rooms).values().flatten() {
            queue.close();
        }
        lock(&self.asked).clear();
    }
}

#[async_trait]
impl Bus for Local {
    fn hint(&self, key: SessionKey, seq: u64) {
        self.publish(key, &Notice::Hint { seq });
    }

    fn delta(&self, key: SessionKey, delta: Delta) {
        self.publish(key, &Notice::Delta(delta));
    }

    fn wake(&self) {
        self.shared.wake.send_replace(());
    }

    fn subscribe(&self, key: SessionKey) -> Box<dyn Subscription> {
        let queue = Arc::new(Queue::default());
        lock(&self.shared.rooms)
            .entry(key)
            .or_default()
            .push(Arc::clone(&queue));
        Box::new(Listener {
            key,
            queue,
            rooms: Arc::clone(&self.shared.rooms),
        })
    }

    fn wake_ups(&self) -> Box<dyn WakeUps> {
        Box::new(Alarm(self.shared.wake.subscribe()))
    }

    fn changed(&self, workspace: WorkspaceId) {
        self.tick(Tick::Workspace(workspace));
    }

    fn changes(&self, workspace: WorkspaceId) -> Box<dyn WakeUps> {
        self.ticks(Tick::Workspace(workspace))
    }

    fn nudge(&self, about: ExecutorId) {
        self.tick(Tick::Executor(about));
    }

    fn nudges(&self, about: ExecutorId) -> Box<dyn WakeUps> {
        self.ticks(Tick::Executor(about))
    }

    async fn request(&self, to: ExecutorId, body: Bytes) -> Result<Bytes, Unanswered> {
        if body.len() > limits::REQUEST_BYTES {
            return Err(Unanswered);
        }
        let (reply, answer) = oneshot::channel();
        let request = Request {
            body,
            reply: Box::new(move |body| {
                // Who asked may have gone.
                let _ = reply.send(body);
            }),
        };
        self.ask(to, request).map_err(|_| Unanswered)?;
        match timeout(limits::REQUEST_WAIT, answer).await {
            Ok(Ok(body)) => Ok(body),
            _ => Err(Unanswered),
        }
    }

    fn requests(&self, at: ExecutorId) -> Box<dyn Requests> {
        let mut asked = lock(&self.shared.asked);
        let questions = asked.entry(at).or_insert_with(|| {
            let (ask, hear) = mpsc::channel(limits::REQUESTS);
            Questions {
                ask,
                hear: Arc::new(Shareable::new(hear)),
                ears: 0,
            }
        });
        questions.ears += 1;
        Box::new(Ear {
            at,
            hear: Arc::clone(&questions.hear),
            desks: Arc::clone(&self.shared.asked),
        })
    }
}

/// Listens for questions; several take turns.
struct Ear {
    at: ExecutorId,
    hear: Arc<Shareable<mpsc::Receiver<Request>>>,
    desks: Desks,
}

#[async_trait]
impl Requests for Ear {
    async fn next(&mut self) -> Option<Request> {
        self.hear.lock().await.recv().await
    }
}

impl Drop for Ear {
    /// With the last listener go the questions that wait: who asked them learns at once that nobody answers.
    fn drop(&mut self) {
        let mut desks = lock(&self.desks);
        if let Some(questions) = desks.get_mut(&self.at) {
            questions.ears -= 1;
            if questions.ears == 0 {
                desks.remove(&self.at);
            }
        }
    }
}

/// What waits for one subscriber.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    notices: VecDeque<Notice>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    fn push(&self, notice: Notice) {
        lock(&self.waiting).push(notice);
        self.news.notify_one();
    }

    fn close(&self) {
        lock(&self.waiting).closed = true;
        self.news.notify_one();
    }
}

impl Waiting {
    fn push(&mut self, notice: Notice) {
        if let (Notice::Hint { seq }, Some(Notice::Hint { seq: last })) = (&notice, self.notices.back_mut()) {
            *last = (*last).max(*seq);
            return;
        }
        if matches!((&notice, self.notices.back()), (Notice::Lagged, Some(Notice::Lagged))) {
            return;
        }
        self.bytes += weight(&notice);
        self.notices.push_back(notice);
        if self.notices.len() > limits::SUBSCRIBER_NOTICES || self.bytes > limits::SUBSCRIBER_BYTES {
            self.notices.clear();
            self.bytes = 0;
            self.notices.push_back(Notice::Lagged);
        }
    }

    fn pop(&mut self) -> Option<Notice> {
        let notice = self.notices.pop_front()?;
        self.bytes -= weight(&notice);
        Some(notice)
    }
}

fn weight(notice: &Notice) -> usize {
    match notice {
        Notice::Delta(delta) => delta.payload.len(),
        Notice::Hint { .. } | Notice::Lagged => 0,
    }
}

struct Listener {
    key: SessionKey,
    queue: Arc<Queue>,
    rooms: Rooms,
}

#[async_trait]
impl Subscription for Listener {
    async fn next(&mut self) -> Option<Notice> {
        loop {
            {
                let mut waiting = lock(&self.queue.waiting);
                if let Some(notice) = waiting.pop() {
                    return Some(notice);
                }
                if waiting.closed {
                    return None;
                }
            }
            // `notify_one` leaves a permit when nobody waits, so nothing pushed in between is missed.
            self.queue.news.notified().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut rooms = lock(&self.rooms);
        if let Some(room) = rooms.get_mut(&self.key) {
            room.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            if room.is_empty() {
                rooms.remove(&self.key);
            }
        }
    }
}

struct Alarm(watch::Receiver<()>);

#[async_trait]
impl WakeUps for Alarm {
    async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The bus is gone; sweeping goes on without it.
            std::future::pending::<()>().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
