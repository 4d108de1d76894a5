//! Mail without a disk: the same rules over a map behind a mutex.

use std::collections::{BTreeMap, btree_map};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use perennial_engine::ports::{
    ChangeCursor, Clock, HandOver, Letter, MAIL_DELIVERIES, MailboxSummary, Mailboxes, Message, MessageListing,
    Receipt, Return, SendError, Sent, SessionKey, StoreError, ThreadSession,
};
use perennial_schema::mail::{Address, MailState, Sender};
use perennial_schema::{AgentId, MessageId, SessionId, Timestamp, WorkspaceId};

use super::words::{EXPIRED, TOO_OFTEN};

/// Mail in this process.
pub struct Memory {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By position.
    messages: BTreeMap<u64, Entry>,
    sent: u64,
    /// Grows with every change.
    changes: Arc<AtomicU64>,
    threads: BTreeMap<(WorkspaceId, AgentId, String), SessionId>,
}

struct Entry {
    message: Message,
    due_at: Timestamp,
    untold: bool,
    task_open: bool,
    changed: u64,
    changes: Arc<AtomicU64>,
}

impl Entry {
    const fn cursor(&self) -> ChangeCursor {
        ChangeCursor {
            commit: self.changed,
            position: self.message.position,
        }
    }

    const fn is_open(&self) -> bool {
        self.message.state.is_open()
    }

    fn is(&self, workspace: WorkspaceId, id: MessageId) -> bool {
        self.message.workspace == workspace && self.message.letter.id == id
    }

    fn change(&mut self, state: MailState, now: Timestamp) {
        self.message.state = state;
        self.message.changed_at = now;
        self.changed = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
    }

    fn bury(&mut self, reason: &str, now: Timestamp) {
        self.change(MailState::Dead, now);
        self.message.reason = Some(reason.to_owned());
        self.untold = matches!(
            self.message.letter.from,
            Sender::At(Address::Session(_) | Address::Queue(_))
        );
    }

    fn is_worn_out(&self) -> bool {
        self.message.deliveries >= MAIL_DELIVERIES
    }
}

impl Kept {
    fn of_mailbox(&self, workspace: WorkspaceId, to: &Address) -> impl Iterator<Item = &Entry> {
        let mine = move |entry: &&Entry| entry.message.workspace == workspace && entry.message.letter.to == *to;
        self.messages.values().filter(mine)
    }

    fn entry(&mut self, workspace: WorkspaceId, id: MessageId) -> Option<&mut Entry> {
        self.messages.values_mut().find(|entry| entry.is(workspace, id))
    }

    /// An older message of the same pair goes first.
    fn is_behind(&self, entry: &Entry) -> bool {
        let message = &entry.message;
        message.letter.deliver_at.is_none()
            && self.messages.range(..message.position).any(|(_, older)| {
                older.message.workspace == message.workspace
                    && older.message.letter.from == message.letter.from
                    && older.message.letter.to == message.letter.to
                    && older.message.letter.deliver_at.is_none()
                    && older.message.state == MailState::Queued
            })
    }
}

fn later(now: Timestamp, millis: u64) -> Timestamp {
    Timestamp::from_micros(now.micros() + i64::try_from(millis).unwrap_or(i64::MAX / 2000) * 1000)
}

impl Memory {
    /// Empty, with the time of this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(
        &self,
        workspace: WorkspaceId,
        id: MessageId,
        change: impl FnOnce(&mut Entry, Timestamp) -> Option<T>,
    ) -> Option<T> {
        let now = self.clock.now();
        self.kept().entry(workspace, id).and_then(|entry| change(entry, now))
    }
}

#[async_trait]
impl Mailboxes for Memory {
    async fn send(&self, workspace: WorkspaceId, letter: Letter, room: u32) -> Result<Sent, SendError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        if let Some(there) = kept.entry(workspace, letter.id) {
            let found = Some(there.message.clone());
            return super::sent(&letter, found, false, room);
        }
        let waiting = kept.messages.values().filter(|entry| {
            entry.is_open() && entry.message.workspace == workspace && entry.message.letter.to == letter.to
        });
        if waiting.count() >= room as usize {
            return Err(SendError::Full(letter.to, room));
        }
        kept.sent += 1;
        let message = Message {
            workspace,
            position: kept.sent,
            state: MailState::Queued,
            reason: None,
            session: None,
            round: 0,
            deliveries: 0,
            created_at: now,
            changed_at: now,
            letter,
        };
        let changes = Arc::clone(&kept.changes);
        let entry = Entry {
            changed: changes.fetch_add(1, Ordering::Relaxed) + 1,
            changes,
            due_at: message.letter.deliver_at.unwrap_or(now),
            message: message.clone(),
            untold: false,
            task_open: message.letter.task.is_some(),
        };
        kept.messages.insert(message.position, entry);
        Ok(Sent {
            message,
            replayed: false,
        })
    }

    async fn message(&self, workspace: WorkspaceId, id: MessageId) -> Result<Option<Message>, StoreError> {
        Ok(self.kept().entry(workspace, id).map(|entry| entry.message.clone()))
    }

    async fn messages(&self, listing: MessageListing) -> Result<Vec<Message>, StoreError> {
        let kept = self.kept();
        let all = kept.messages.values().rev().map(|entry| &entry.message);
        let fit = all.filter(|message| {
            message.workspace == listing.workspace
                && listing.to.as_ref().is_none_or(|to| *to == message.letter.to)
                && listing
                    .thread
                    .as_ref()
                    .is_none_or(|thread| *thread == message.letter.thread)
                && (listing.states.is_empty() || listing.states.contains(&message.state))
                && listing.before.is_none_or(|before| message.position < before)
        });
        Ok(fit.take(listing.limit as usize).cloned().collect())
    }

    async fn changes(
        &self,
        workspace: WorkspaceId,
        to: &Address,
        after: Option<ChangeCursor>,
        limit: u32,
    ) -> Result<Vec<(ChangeCursor, Message)>, StoreError> {
        let kept = self.kept();
        let news = kept
            .of_mailbox(workspace, to)
            .filter(|entry| Some(entry.cursor()) > after);
        let mut news: Vec<_> = news.map(|entry| (entry.cursor(), entry.message.clone())).collect();
        news.sort_by_key(|(cursor, _)| *cursor);
        news.truncate(limit as usize);
        Ok(news)
    }

    async fn latest_change(&self, workspace: WorkspaceId, to: &Address) -> Result<Option<ChangeCursor>, StoreError> {
        Ok(self.kept().of_mailbox(workspace, to).map(Entry::cursor).max())
    }

    async fn mailboxes(
        &self,
        workspace: WorkspaceId,
        after: Option<&Address>,
        limit: u32,
    ) -> Result<Vec<MailboxSummary>, StoreError> {
        let after = after.map(ToString::to_string).unwrap_or_default();
        let mut boxes = BTreeMap::new();
        let kept = self.kept();
        let mine = kept
            .messages
            .values()
            .filter(|entry| entry.message.workspace == workspace);
        for Entry { message, .. } in mine {
            let summary = boxes
                .entry(message.letter.to.to_string())
                .or_insert_with(|| MailboxSummary {
                    address: message.letter.to.clone(),
                    open: 0,
                    leased: 0,
                    dead: 0,
                    latest_at: message.created_at,
                });
            summary.open += u64::from(message.state.is_open());
            summary.leased += u64::from(message.state == MailState::Leased);
            summary.dead += u64::from(message.state == MailState::Dead);
            summary.latest_at = summary.latest_at.max(message.created_at);
        }
        let beyond = boxes.into_iter().filter(|(address, _)| *address > after);
        Ok(beyond.map(|(_, summary)| summary).take(limit as usize).collect())
    }

    async fn delivered_to(&self, key: SessionKey, limit: u32) -> Result<Vec<Message>, StoreError> {
        let kept = self.kept();
        let mut mine: Vec<_> = kept
            .messages
            .values()
            .map(|entry| &entry.message)
            .filter(|message| message.workspace == key.workspace && message.session == Some(key.session))
            .cloned()
            .collect();
        mine.sort_by_key(|message| std::cmp::Reverse((message.changed_at, message.position)));
        mine.truncate(limit as usize);
        Ok(mine)
    }

    async fn take(&self, limit: u32, lease_millis: u64) -> Result<Vec<Message>, StoreError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let due: Vec<u64> = kept
            .messages
            .iter()
            .filter(|(_, entry)| {
                entry.message.state == MailState::Queued
                    && entry.message.letter.to.takes_mail_itself()
                    && entry.due_at <= now
                    && !kept.is_behind(entry)
            })
            .map(|(position, _)| *position)
            .take(limit as usize)
            .collect();
        let taken = due.into_iter().filter_map(|position| {
            let entry = kept.messages.get_mut(&position)?;
            entry.message.round += 1;
            entry.due_at = later(now, lease_millis);
            Some(entry.message.clone())
        });
        Ok(taken.collect())
    }

    async fn settle(&self, message: &Message, came: &HandOver) -> Result<bool, StoreError> {
        let round = message.round;
        let did = self.change(message.workspace, message.letter.id, |entry, now| {
            let holds = entry.message.state == MailState::Queued && entry.message.round == round;
            holds.then(|| match came {
                HandOver::Delivered(session) => {
                    entry.message.session = Some(*session);
                    entry.change(MailState::Delivered, now);
                }
                HandOver::Dead(reason) => entry.bury(reason, now),
                HandOver::Later(millis) => {
                    entry.message.deliveries += 1;
                    entry.due_at = later(now, *millis);
                }
            })
        });
        Ok(did.is_some())
    }

    async fn next_due(&self) -> Result<Option<u64>, StoreError> {
        let now = self.clock.now();
        let kept = self.kept();
        let waiting = kept
            .messages
            .values()
            .filter(|entry| entry.message.state == MailState::Queued && entry.message.letter.to.takes_mail_itself());
        let due = waiting.map(|entry| entry.due_at.micros() - now.micros()).min();
        Ok(due.map(|due| u64::try_from(due).unwrap_or(0).div_ceil(1000)))
    }

    async fn thread_session(&self, thread: ThreadSession<'_>) -> Result<SessionId, StoreError> {
        let key = (thread.workspace, thread.agent, thread.thread.to_owned());
        Ok(match self.kept().threads.entry(key) {
            btree_map::Entry::Vacant(free) => *free.insert(thread.fresh),
            btree_map::Entry::Occupied(mut taken) => {
                if Some(*taken.get()) == thread.instead_of {
                    taken.insert(thread.fresh);
                }
                *taken.get()
            }
        })
    }

    async fn receive(
        &self,
        workspace: WorkspaceId,
        queue: &Address,
        limit: u32,
        hidden_millis: u64,
    ) -> Result<Vec<Message>, StoreError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let fit = kept.messages.values_mut().filter(|entry| {
            entry.is_open()
                && entry.message.workspace == workspace
                && entry.message.letter.to == *queue
                && entry.due_at <= now
                && !entry.is_worn_out()
                && entry.message.letter.expires_at.is_none_or(|at| at > now)
        });
        let received = fit.take(limit as usize).map(|entry| {
            entry.change(MailState::Leased, now);
            entry.message.round += 1;
            entry.message.deliveries += 1;
            entry.due_at = later(now, hidden_millis);
            entry.message.clone()
        });
        Ok(received.collect())
    }

    async fn give_back(
        &self,
        workspace: WorkspaceId,
        receipt: Receipt,
        what: Return,
    ) -> Result<Option<Message>, StoreError> {
        Ok(self.change(workspace, receipt.message, |entry, now| {
            if entry.message.state != MailState::Leased || entry.message.round != receipt.round {
                return None;
            }
            match what {
                Return::Acknowledge => entry.change(MailState::Acknowledged, now),
                Return::Extend(millis) => entry.due_at = later(now, millis),
                Return::Reject(_) if entry.is_worn_out() => entry.bury(TOO_OFTEN, now),
                Return::Reject(millis) => {
                    entry.change(MailState::Queued, now);
                    entry.due_at = later(now, millis);
                }
            }
            Some(entry.message.clone())
        }))
    }

    async fn cancel(&self, workspace: WorkspaceId, id: MessageId) -> Result<bool, StoreError> {
        let did = self.change(workspace, id, |entry, now| {
            let was_taken = entry.message.letter.to.takes_mail_itself() && entry.message.round > 0;
            let waits = entry.message.state == MailState::Queued && !was_taken;
            waits.then(|| entry.change(MailState::Cancelled, now))
        });
        Ok(did.is_some())
    }

    async fn replay(&self, workspace: WorkspaceId, id: MessageId) -> Result<bool, StoreError> {
        let did = self.change(workspace, id, |entry, now| {
            (entry.message.state == MailState::Dead).then(|| {
                entry.change(MailState::Queued, now);
                entry.message.reason = None;
                entry.message.deliveries = 0;
                entry.message.letter.expires_at = None;
                entry.due_at = now;
                entry.untold = false;
            })
        });
        Ok(did.is_some())
    }

    async fn tend(&self, keep_millis: u64) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        for entry in kept.messages.values_mut() {
            let idle = entry.is_open() && !entry.message.letter.to.takes_mail_itself() && entry.due_at <= now;
            if idle && entry.message.letter.expires_at.is_some_and(|at| at <= now) {
                entry.bury(EXPIRED, now);
            } else if idle && entry.is_worn_out() {
                entry.bury(TOO_OFTEN, now);
            }
        }
        kept.messages.retain(|_, entry| {
            entry.is_open() || entry.untold || entry.task_open || later(entry.message.changed_at, keep_millis) >= now
        });
        Ok(())
    }

    async fn untold(&self, limit: u32) -> Result<Vec<Message>, StoreError> {
        let kept = self.kept();
        let untold = kept.messages.values().filter(|entry| entry.untold);
        Ok(untold.take(limit as usize).map(|entry| entry.message.clone()).collect())
    }

    async fn open_tasks(&self, after: u64, limit: u32) -> Result<Vec<Message>, StoreError> {
        let kept = self.kept();
        let open = kept.messages.range(after + 1..).map(|(_, entry)| entry);
        let open = open.filter(|entry| entry.task_open).take(limit as usize);
        Ok(open.map(|entry| entry.message.clone()).collect())
    }

    async fn close_task(&self, workspace: WorkspaceId, id: MessageId) -> Result<(), StoreError> {
        self.change(workspace, id, |entry, _| {
            entry.task_open = false;
            Some(())
        });
        Ok(())
    }

    async fn told(&self, workspace: WorkspaceId, id: MessageId) -> Result<(), StoreError> {
        self.change(workspace, id, |entry, _| {
            entry.untold = false;
            Some(())
        });
        Ok(())
    }
}
