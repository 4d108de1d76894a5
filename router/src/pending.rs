//! Who waits for what on one link. A waiter that gave up (its future was dropped) is simply gone: giving up is not
//! cancelling.

use std::collections::HashMap;

use perennial_engine::ports::Hearer;
use perennial_schema::frame::{CallState, FromExecutor, PackAnswer, Refusal};
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, PackId, SessionId};
use tokio::sync::{mpsc, oneshot};

use crate::limits;

/// What an executor knows a call by.
pub(crate) type CallKey = (SessionId, EventId);

/// The last word on a call or a question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// It ended.
    Result(Outcome),
    /// What the journal says (never `Running`: that one waits on).
    State(CallState),
    /// Not taken.
    Refused(Refusal),
}

/// Why nobody can wait now; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The same call is under way with other arguments.
    OtherArguments,
    /// Too much is outstanding.
    Full,
    /// The link is gone.
    Gone,
}

#[derive(Debug)]
struct Waiter {
    epoch: u64,
    reply: oneshot::Sender<Reply>,
}

#[derive(Debug)]
struct Entry {
    args_hash: String,
    hearer: Option<Hearer>,
    waiters: Vec<Waiter>,
}

/// The waiters of one link. Dropping it tells all of them that the link is gone.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    calls: HashMap<CallKey, Entry>,
    copies: HashMap<SessionId, oneshot::Sender<Option<String>>>,
    pieces: HashMap<(CallKey, u64), oneshot::Sender<Option<String>>>,
    packs: HashMap<PackId, mpsc::Sender<PackAnswer>>,
    waiting: usize,
    closed: bool,
}

impl Pending {
    /// Waits for the word on a call.
    pub(crate) fn wait_call(
        &mut self,
        key: CallKey,
        epoch: u64,
        args_hash: &str,
    ) -> Result<oneshot::Receiver<Reply>, NoPlace> {
        if self.closed {
            return Err(NoPlace::Gone);
        }
        self.forget_abandoned(key);
        if self.waiting >= limits::PENDING_PER_LINK {
            self.sweep();
        }
        if self.waiting >= limits::PENDING_PER_LINK {
            return Err(NoPlace::Full);
        }
        let entry = self.calls.entry(key).or_insert_with(|| Entry {
            args_hash: args_hash.to_owned(),
            hearer: None,
            waiters: Vec::new(),
        });
        // One key never has waiters for two inputs, so a refusal for other arguments concerns all of them alike.
        if entry.args_hash != args_hash {
            return Err(NoPlace::OtherArguments);
        }
        let (reply, heard) = oneshot::channel();
        entry.waiters.push(Waiter { epoch, reply });
        self.waiting += 1;
        Ok(heard)
    }

    /// Hears what a call prints that is waited for. Who comes later takes the place of who came before.
    pub(crate) fn hear(&mut self, key: CallKey, hearer: Hearer) {
        if let Some(entry) = self.calls.get_mut(&key) {
            entry.hearer = Some(hearer);
        }
    }

    /// Waits for the end of a copy.
    pub(crate) fn wait_copy(&mut self, to: SessionId) -> Result<oneshot::Receiver<Option<String>>, NoPlace> {
        if self.closed {
            return Err(NoPlace::Gone);
        }
        self.copies.retain(|_, done| !done.is_closed());
        if self.copies.len() >= limits::PENDING_PER_LINK || self.copies.contains_key(&to) {
            return Err(NoPlace::Full);
        }
        let (done, heard) = oneshot::channel();
        self.copies.insert(to, done);
        Ok(heard)
    }

    /// Waits for a piece of a long output. Who asks for the same piece again takes the place of who asked before.
    pub(crate) fn wait_piece(
        &mut self,
        key: CallKey,
        offset: u64,
    ) -> Result<oneshot::Receiver<Option<String>>, NoPlace> {
        if self.closed {
            return Err(NoPlace::Gone);
        }
        self.pieces.retain(|_, done| !done.is_closed());
        if self.pieces.len() >= limits::PENDING_PER_LINK {
            return Err(NoPlace::Full);
        }
        let (done, heard) = oneshot::channel();
        self.pieces.insert((key, offset), done);
        Ok(heard)
    }

    /// Hears what is answered about a pack. Who asks again takes the place of who asked before, and may hear an answer to the
    /// earlier question first.
    pub(crate) fn wait_pack(&mut self, pack: PackId) -> Result<mpsc::Receiver<PackAnswer>, NoPlace> {
        if self.closed {
            return Err(NoPlace::Gone);
        }
        self.packs.retain(|_, heard| !heard.is_closed());
        if self.packs.len() >= limits::PENDING_PER_LINK {
            return Err(NoPlace::Full);
        }
        let (told, heard) = mpsc::channel(limits::PACK_ANSWERS);
        self.packs.insert(pack, told);
        Ok(heard)
    }

    /// Hands a frame to whoever waits for it; frames nobody waits for are dropped.
    pub(crate) fn deliver(&mut self, frame: FromExecutor) {
        match frame {
            FromExecutor::Result {
                session,
                call_id,
                outcome,
            } => self.answer((session, call_id), &Reply::Result(outcome), |_| true),
            FromExecutor::Progress { session, call_id, text } => {
                let entry = self.calls.get(&(session, call_id));
                if let Some(Hearer(hear)) = entry.and_then(|entry| entry.hearer.as_ref()) {
                    hear(&text);
                }
            }
            FromExecutor::Settled {
                session,
                call_id,
                state,
            } => match state {
                CallState::Running => {}
                state => self.answer((session, call_id), &Reply::State(state), |_| true),
            },
            FromExecutor::Refused {
                session,
                call_id,
                reason,
            } => {
                let stale_below = match reason {
                    Refusal::StaleEpoch { seen } => seen,
                    _ => u64::MAX,
                };
                // A refusal of an old lease's frame says nothing to the newer lease that waits for the same call.
                self.answer((session, call_id), &Reply::Refused(reason), |epoch| epoch < stale_below);
            }
            FromExecutor::WorkspaceCopied { to, error } => {
                if let Some(done) = self.copies.remove(&to) {
                    let _ = done.send(error);
                }
            }
            FromExecutor::OutputPiece {
                session,
                call_id,
                offset,
                piece,
            } => {
                if let Some(done) = self.pieces.remove(&((session, call_id), offset)) {
                    let _ = done.send(piece);
                }
            }
            FromExecutor::Pack { pack, answer, .. } => {
                if let Some(told) = self.packs.get(&pack) {
                    let _ = told.try_send(answer);
                }
            }
            FromExecutor::Hello(_) | FromExecutor::Pong { .. } => {}
        }
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.sweep();
        self.pieces.retain(|_, done| !done.is_closed());
        self.calls.is_empty() && self.pieces.is_empty()
    }

    /// Tells everyone that the link is gone and takes nobody any more.
    pub(crate) fn close(&mut self) {
        self.calls.clear();
        self.copies.clear();
        self.pieces.clear();
        self.packs.clear();
        self.waiting = 0;
        self.closed = true;
    }

    fn answer(&mut self, key: CallKey, reply: &Reply, concerns: impl Fn(u64) -> bool) {
        let Some(entry) = self.calls.get_mut(&key) else { return };
        let before = entry.waiters.len();
        let (told, rest): (Vec<_>, Vec<_>) = entry.waiters.drain(..).partition(|waiter| concerns(waiter.epoch));
        entry.waiters = rest;
        self.waiting -= before - entry.waiters.len();
        if entry.waiters.is_empty() {
            self.calls.remove(&key);
        }
        for waiter in told {
            let _ = waiter.reply.send(reply.clone());
        }
    }

    fn forget_abandoned(&mut self, key: CallKey) {
        let Some(entry) = self.calls.get_mut(&key) else { return };
        let before = entry.waiters.len();
        entry.waiters.retain(|waiter| !waiter.reply.is_closed());
        self.waiting -= before - entry.waiters.len();
        if entry.waiters.is_empty() {
            self.calls.remove(&key);
        }
    }

    fn sweep(&mut self) {
        for entry in self.calls.values_mut() {
            entry.waiters.retain(|waiter| !waiter.reply.is_closed());
        }
        self.calls.retain(|_, entry| !entry.waiters.is_empty());
        self.waiting = self.calls.values().map(|entry| entry.waiters.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const KEY: CallKey = (
        SessionId::from_uuid(Uuid::from_u128(1)),
        EventId::from_uuid(Uuid::from_u128(2)),
    );

    fn refused(reason: Refusal) -> FromExecutor {
        FromExecutor::Refused {
            session: KEY.0,
            call_id: KEY.1,
            reason,
        }
    }

    #[test]
    fn a_stale_refusal_leaves_the_newer_lease_waiting() {
        let mut pending = Pending::default();
        let mut old = pending.wait_call(KEY, 3, "h").unwrap();
        let mut new = pending.wait_call(KEY, 4, "h").unwrap();
        pending.deliver(refused(Refusal::StaleEpoch { seen: 4 }));
        assert_eq!(old.try_recv(), Ok(Reply::Refused(Refusal::StaleEpoch { seen: 4 })));
        assert_eq!(new.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        pending.deliver(FromExecutor::Result {
            session: KEY.0,
            call_id: KEY.1,
            outcome: Outcome::text("ok", false),
        });
        assert_eq!(new.try_recv(), Ok(Reply::Result(Outcome::text("ok", false))));
        assert_eq!((pending.waiting, pending.calls.len()), (0, 0));
    }

    #[test]
    fn one_call_never_waits_with_two_inputs() {
        let mut pending = Pending::default();
        let waiting = pending.wait_call(KEY, 1, "h").unwrap();
        assert_eq!(pending.wait_call(KEY, 1, "other").unwrap_err(), NoPlace::OtherArguments);
        drop(waiting);
        assert!(pending.wait_call(KEY, 1, "other").is_ok());
    }

    #[test]
    fn waiters_are_bounded_and_abandoned_ones_make_room() {
        let mut pending = Pending::default();
        let key = |n: usize| (KEY.0, EventId::from_uuid(Uuid::from_u128(n as u128)));
        let mut waiting: Vec<_> = (0..limits::PENDING_PER_LINK)
            .map(|n| pending.wait_call(key(n), 1, "h").unwrap())
            .collect();
        let one_more = key(limits::PENDING_PER_LINK);
        assert_eq!(pending.wait_call(one_more, 1, "h").unwrap_err(), NoPlace::Full);
        waiting.pop();
        assert!(pending.wait_call(one_more, 1, "h").is_ok());
    }

    #[test]
    fn running_is_not_an_answer_and_a_closed_link_is_one() {
        let mut pending = Pending::default();
        let mut waiting = pending.wait_call(KEY, 1, "h").unwrap();
        pending.deliver(FromExecutor::Settled {
            session: KEY.0,
            call_id: KEY.1,
            state: CallState::Running,
        });
        assert_eq!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        pending.close();
        assert_eq!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(pending.wait_call(KEY, 1, "h").unwrap_err(), NoPlace::Gone);
    }
}
