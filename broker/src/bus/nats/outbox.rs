//! What waits to be sent. Putting something in never waits; what does not fit is dropped and counted. Wake-ups and changes
//! collapse, hints collapse while they are next to each other, so that a session's hints and previews keep their order.
//!
//! While the server is away previews are worth nothing and are dropped at once; of hints the newest per session is kept and
//! sent on return, since then it is what tells the others where to look.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::{Client, Subject};
use bytes::Bytes;
use perennial_engine::ports::{Delta, SessionKey};
use tokio::sync::{Notify, watch};

use super::subjects::Subjects;
use super::{Counter, Line, wire};
use crate::bus::local::Tick;
use crate::limits;

#[derive(Debug)]
enum Item {
    Hint(SessionKey, u64),
    Piece(SessionKey, Bytes),
    Answer(Subject, Bytes),
}

#[derive(Debug, Default)]
struct Waiting {
    wake: bool,
    ticks: HashSet<Tick>,
    missed: HashMap<SessionKey, u64>,
    queue: VecDeque<Item>,
    bytes: usize,
}

/// Messages on their way out.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    news: Notify,
    line: watch::Receiver<Line>,
    dropped: Counter,
}

impl Outbox {
    pub(super) fn new(line: watch::Receiver<Line>, dropped: Counter) -> Self {
        Self {
            waiting: Mutex::default(),
            news: Notify::new(),
            line,
            dropped,
        }
    }

    pub(super) fn wake(&self) {
        self.waiting().wake = true;
        self.news.notify_one();
    }

    pub(super) fn tick(&self, tick: Tick) {
        let mut waiting = self.waiting();
        if waiting.ticks.len() < limits::OUTBOX_MESSAGES {
            waiting.ticks.insert(tick);
        } else {
            self.dropped.add();
        }
        self.news.notify_one();
    }

    pub(super) fn hint(&self, key: SessionKey, seq: u64) {
        let up = self.is_up();
        let mut waiting = self.waiting();
        if up {
            if let Some(Item::Hint(last, newest)) = waiting.queue.back_mut()
                && *last == key
            {
                *newest = seq.max(*newest);
                return;
            }
            self.put(&mut waiting, Item::Hint(key, seq), 0);
        } else if let Some(newest) = waiting.missed.get_mut(&key) {
            *newest = seq.max(*newest);
        } else if waiting.missed.len() < limits::OUTBOX_MESSAGES {
            waiting.missed.insert(key, seq);
        } else {
            self.dropped.add();
        }
        self.news.notify_one();
    }

    pub(super) fn delta(&self, key: SessionKey, delta: &Delta) {
        match wire::delta(delta).filter(|_| self.is_up()) {
            Some(piece) => {
                let bytes = piece.len();
                self.put(&mut self.waiting(), Item::Piece(key, piece), bytes);
                self.news.notify_one();
            }
            None => self.dropped.add(),
        }
    }

    pub(super) fn answer(&self, to: Subject, body: Bytes) {
        if body.len() > limits::REQUEST_BYTES {
            return self.dropped.add();
        }
        let bytes = body.len();
        self.put(&mut self.waiting(), Item::Answer(to, body), bytes);
        self.news.notify_one();
    }

    fn put(&self, waiting: &mut Waiting, item: Item, bytes: usize) {
        if waiting.queue.len() >= limits::OUTBOX_MESSAGES || waiting.bytes + bytes > limits::OUTBOX_BYTES {
            return self.dropped.add();
        }
        waiting.bytes += bytes;
        waiting.queue.push_back(item);
    }

    fn is_up(&self) -> bool {
        self.line.borrow().up
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits, whenever the server is there.
    pub(super) async fn pump(&self, client: &Client, subjects: &Subjects) {
        let mut line = self.line.clone();
        loop {
            if line.wait_for(|line| line.up).await.is_err() {
                return;
            }
            if !self.send(client, subjects).await {
                tokio::select! {
                    () = self.news.notified() => {}
                    changed = line.changed() => if changed.is_err() { return },
                }
            }
        }
    }

    /// Sends everything that waits now; `false` when nothing did.
    pub(super) async fn send(&self, client: &Client, subjects: &Subjects) -> bool {
        let waiting = std::mem::take(&mut *self.waiting());
        let Waiting {
            wake,
            ticks,
            missed,
            queue,
            ..
        } = waiting;
        let any = wake || !(ticks.is_empty() && missed.is_empty() && queue.is_empty());
        for (key, seq) in missed {
            self.publish(client, subjects.session(key), wire::hint(seq)).await;
        }
        // A wake-up first: it is what somebody waits for.
        if wake {
            self.publish(client, subjects.wakes(), wire::tick()).await;
        }
        for tick in ticks {
            self.publish(client, subjects.ticks(tick), wire::tick()).await;
        }
        for item in queue {
            match item {
                Item::Hint(key, seq) => self.publish(client, subjects.session(key), wire::hint(seq)).await,
                Item::Piece(key, piece) => self.publish(client, subjects.session(key), piece).await,
                Item::Answer(to, body) => self.publish(client, to, body).await,
            }
        }
        any
    }

    async fn publish(&self, client: &Client, subject: impl async_nats::subject::ToSubject, payload: Bytes) {
        // Waits for room in the client's buffer; meanwhile the outbox fills up and drops.
        if client.publish(subject, payload).await.is_err() {
            self.dropped.add();
        }
    }
}

#[cfg(test)]
mod tests {
    use perennial_schema::{EventId, SessionId, WorkspaceId};
    use uuid::Uuid;

    use super::*;

    fn key(n: u128) -> SessionKey {
        SessionKey {
            workspace: WorkspaceId::from_uuid(Uuid::from_u128(1)),
            session: SessionId::from_uuid(Uuid::from_u128(n)),
        }
    }

    fn piece(bytes: usize) -> Delta {
        Delta {
            event_id: EventId::from_uuid(Uuid::from_u128(3)),
            kind: "agent.message",
            n: 0,
            payload: vec![b'x'; bytes].into(),
        }
    }

    fn outbox(up: bool) -> (Outbox, watch::Sender<Line>) {
        let line = watch::Sender::new(Line { up, times: 0 });
        (Outbox::new(line.subscribe(), Counter::named("perennial_dropped")), line)
    }

    #[test]
    fn neighbouring_hints_collapse_and_order_is_kept() {
        let (outbox, _line) = outbox(true);
        for seq in [1, 3, 2] {
            outbox.hint(key(1), seq);
        }
        outbox.delta(key(1), &piece(1));
        outbox.hint(key(1), 4);
        let waiting = outbox.waiting();
        let kinds: Vec<_> = waiting
            .queue
            .iter()
            .map(|item| match item {
                Item::Hint(_, seq) => *seq,
                Item::Piece(..) | Item::Answer(..) => 0,
            })
            .collect();
        assert_eq!(kinds, [3, 0, 4]);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (outbox, _line) = outbox(true);
        for n in 0..limits::OUTBOX_MESSAGES as u128 + 5 {
            outbox.hint(key(n), 1);
        }
        assert_eq!(outbox.waiting().queue.len(), limits::OUTBOX_MESSAGES);
        assert_eq!(outbox.dropped.get(), 5);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let (outbox, _line) = outbox(true);
        for _ in 0..1000 {
            outbox.delta(key(1), &piece(limits::DELTA_BYTES));
        }
        assert!(outbox.waiting().bytes <= limits::OUTBOX_BYTES);
        assert!(outbox.dropped.get() > 0);
    }

    #[test]
    fn without_a_server_previews_go_and_the_newest_hints_stay() {
        let (outbox, _line) = outbox(false);
        outbox.delta(key(1), &piece(1));
        for seq in [5, 9, 7] {
            outbox.hint(key(1), seq);
        }
        outbox.wake();
        outbox.wake();
        let waiting = outbox.waiting();
        assert!(waiting.queue.is_empty() && waiting.wake);
        assert_eq!(waiting.missed, HashMap::from([(key(1), 9)]));
        assert_eq!(outbox.dropped.get(), 1);
    }
}
