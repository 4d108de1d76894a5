//! The bus: hints, deltas and wake-ups. Nothing durable: losing every message costs latency, never data (DESIGN §6).

use async_trait::async_trait;
use bytes::Bytes;
use perennial_schema::{EventId, ExecutorId, WorkspaceId};

use super::SessionKey;

/// What a subscriber of a session hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The log reached at least this seq.
    Hint {
        /// Head after a commit.
        seq: u64,
    },
    /// A piece of an event that is not finished yet.
    Delta(Delta),
    /// Messages were dropped for this subscriber: look at the log.
    Lagged,
}

/// A preview of an unfinished event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The id the finished event will have, or for a tool's result one of the preview alone; new with every attempt.
    pub event_id: EventId,
    /// The event's type: `agent.message`, `agent.thinking` or `agent.tool_result`.
    pub kind: &'static str,
    /// 0 is the start; then 1, 2, … Who misses one gets no more of this event.
    pub n: u64,
    /// The public JSON (`event_start` or `event_delta`), encoded once.
    pub payload: Bytes,
}

/// Hears a session's notices, in order per publisher; bounded, a slow one gets [`Notice::Lagged`].
#[async_trait]
pub trait Subscription: Send {
    /// The next notice; `None` when the bus is shut down.
    async fn next(&mut self) -> Option<Notice>;
}

/// Hears that sessions became ready.
#[async_trait]
pub trait WakeUps: Send {
    /// Waits for the next wake-up (several may collapse into one). Never returns when the bus loses everything: callers
    /// sweep as well.
    async fn next(&mut self);
}

/// A question to whoever has an executor, and where its answer goes.
pub struct Request {
    /// Executor frames, encoded; the bus does not look inside.
    pub body: Bytes,
    /// Where the answer goes.
    pub reply: Box<dyn FnOnce(Bytes) + Send>,
}

/// Hears the questions to one executor.
#[async_trait]
pub trait Requests: Send {
    /// The next question; `None` when the bus is shut down.
    async fn next(&mut self) -> Option<Request>;
}

/// Nobody answered in time, or nobody listens: it may have been done or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody answered")]
pub struct Unanswered;

/// How a bus reaches the other processes of an install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusReach {
    /// There are none.
    Alone,
    /// By messages.
    Connected,
    /// By messages, which cannot be sent now: they look at the store instead.
    Disconnected,
    /// They look at the store.
    Polled,
}

impl BusReach {
    /// As it is told.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Polled => "polled",
        }
    }
}

/// Publish and subscribe. Publishing never blocks and never fails.
#[async_trait]
pub trait Bus: Send + Sync {
    /// How it reaches other processes, now.
    fn reach(&self) -> BusReach {
        BusReach::Alone
    }

    /// A commit happened.
    fn hint(&self, key: SessionKey, seq: u64);

    /// A piece of an unfinished event.
    fn delta(&self, key: SessionKey, delta: Delta);

    /// A session may be ready.
    fn wake(&self);

    /// Subscribes before it returns: whatever is published afterwards is heard, or reported as lagged.
    fn subscribe(&self, key: SessionKey) -> Box<dyn Subscription>;

    /// Wake-ups for a worker with free slots. Dropping it makes way for other workers.
    fn wake_ups(&self) -> Box<dyn WakeUps>;

    /// A session's summary changed; see [`Sessions::changes`](super::Sessions::changes).
    fn changed(&self, workspace: WorkspaceId);

    /// Hears of such changes.
    fn changes(&self, workspace: WorkspaceId) -> Box<dyn WakeUps>;

    /// Has whoever minds an executor, or waits for one, look at what the store knows of it.
    fn nudge(&self, about: ExecutorId);

    /// Hears such nudges, in every process that listens.
    fn nudges(&self, about: ExecutorId) -> Box<dyn WakeUps>;

    /// Asks whoever has an executor; waits a bounded time.
    async fn request(&self, to: ExecutorId, body: Bytes) -> Result<Bytes, Unanswered>;

    /// Hears what is asked of an executor. Several processes may listen; each question goes to one of them.
    fn requests(&self, at: ExecutorId) -> Box<dyn Requests>;
}
