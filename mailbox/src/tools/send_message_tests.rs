//! A store that does not say what it did is asked again, and a message is sent once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use perennial_broker::bus::silent::Silent;
use perennial_broker::log::memory;
use perennial_broker::meter::Meter;
use perennial_broker::{clock, mail};
use perennial_engine::ports::{
    AT_HOUSE, ChangeCursor, HandOver, Letter, MailboxSummary, Mailboxes, Message, MessageListing, Receipt, Return,
    SessionKey, StoreError, ThreadSession,
};
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::Raw;
use perennial_schema::tool::Effect;
use perennial_schema::{EventId, SessionId, WorkspaceId};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::agents::{Agents, Peer, Reception};

/// A store whose answers are lost so often: before it has done anything, or after.
struct Forgetful {
    post: mail::Memory,
    losses: AtomicU32,
    asked: AtomicU32,
    does_it: bool,
}

fn lost() -> StoreError {
    StoreError::Unavailable {
        store: "mail",
        message: "the connection broke".into(),
    }
}

#[async_trait]
impl Mailboxes for Forgetful {
    async fn send(&self, workspace: WorkspaceId, letter: Letter, room: u32) -> Result<Sent, SendError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let fails = |left: u32| left.checked_sub(1);
        let forgets = self
            .losses
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails)
            .is_ok();
        if forgets && !self.does_it {
            return Err(lost().into());
        }
        let sent = self.post.send(workspace, letter, room).await;
        if forgets { Err(lost().into()) } else { sent }
    }

    async fn message(&self, workspace: WorkspaceId, id: MessageId) -> Result<Option<Message>, StoreError> {
        self.post.message(workspace, id).await
    }

    async fn messages(&self, listing: MessageListing) -> Result<Vec<Message>, StoreError> {
        self.post.messages(listing).await
    }

    async fn changes(
        &self,
        workspace: WorkspaceId,
        to: &Address,
        after: Option<ChangeCursor>,
        limit: u32,
    ) -> Result<Vec<(ChangeCursor, Message)>, StoreError> {
        self.post.changes(workspace, to, after, limit).await
    }

    async fn latest_change(&self, workspace: WorkspaceId, to: &Address) -> Result<Option<ChangeCursor>, StoreError> {
        self.post.latest_change(workspace, to).await
    }

    async fn mailboxes(
        &self,
        workspace: WorkspaceId,
        after: Option<&Address>,
        limit: u32,
    ) -> Result<Vec<MailboxSummary>, StoreError> {
        self.post.mailboxes(workspace, after, limit).await
    }

    async fn delivered_to(&self, key: SessionKey, limit: u32) -> Result<Vec<Message>, StoreError> {
        self.post.delivered_to(key, limit).await
    }

    async fn take(&self, limit: u32, lease_millis: u64) -> Result<Vec<Message>, StoreError> {
        self.post.take(limit, lease_millis).await
    }

    async fn settle(&self, message: &Message, came: &HandOver) -> Result<bool, StoreError> {
        self.post.settle(message, came).await
    }

    async fn next_due(&self) -> Result<Option<u64>, StoreError> {
        self.post.next_due().await
    }

    async fn thread_session(&self, thread: ThreadSession<'_>) -> Result<SessionId, StoreError> {
        self.post.thread_session(thread).await
    }

    async fn receive(
        &self,
        workspace: WorkspaceId,
        queue: &Address,
        limit: u32,
        hidden_millis: u64,
    ) -> Result<Vec<Message>, StoreError> {
        self.post.receive(workspace, queue, limit, hidden_millis).await
    }

    async fn give_back(
        &self,
        workspace: WorkspaceId,
        receipt: Receipt,
        what: Return,
    ) -> Result<Option<Message>, StoreError> {
        self.post.give_back(workspace, receipt, what).await
    }

    async fn cancel(&self, workspace: WorkspaceId, id: MessageId) -> Result<bool, StoreError> {
        self.post.cancel(workspace, id).await
    }

    async fn replay(&self, workspace: WorkspaceId, id: MessageId) -> Result<bool, StoreError> {
        self.post.replay(workspace, id).await
    }

    async fn tend(&self, keep_millis: u64) -> Result<(), StoreError> {
        self.post.tend(keep_millis).await
    }

    async fn untold(&self, limit: u32) -> Result<Vec<Message>, StoreError> {
        self.post.untold(limit).await
    }

    async fn told(&self, workspace: WorkspaceId, id: MessageId) -> Result<(), StoreError> {
        self.post.told(workspace, id).await
    }

    async fn open_tasks(&self, after: u64, limit: u32) -> Result<Vec<Message>, StoreError> {
        self.post.open_tasks(after, limit).await
    }

    async fn close_task(&self, workspace: WorkspaceId, id: MessageId) -> Result<(), StoreError> {
        self.post.close_task(workspace, id).await
    }
}

/// Nobody takes mail.
struct Nobody;

#[async_trait]
impl Agents for Nobody {
    async fn reception(&self, _: WorkspaceId, _: &str) -> Result<Option<Reception>, StoreError> {
        Ok(None)
    }

    async fn peers(&self, _: WorkspaceId, _: u32) -> Result<Vec<Peer>, StoreError> {
        Ok(Vec::new())
    }
}

const WORKSPACE: WorkspaceId = WorkspaceId::from_uuid(Uuid::from_u128(1));

/// Sends a message by way of such a store: what the model is told, how often the store was asked, and how many there are.
async fn told(losses: u32, does_it: bool) -> (Result<String, String>, u32, usize) {
    let clock = Arc::new(clock::System);
    let store = Arc::new(Forgetful {
        post: mail::Memory::new(clock.clone()),
        losses: AtomicU32::new(losses),
        asked: AtomicU32::new(0),
        does_it,
    });
    let sessions = Arc::new(memory::Memory::new(clock.clone()));
    let metering = Arc::new(Meter::memory((*sessions).clone(), clock));
    let office = Office::new(
        store.clone(),
        sessions.clone(),
        sessions,
        Arc::new(Nobody),
        Arc::new(Silent),
        metering,
    );
    let order = Order {
        key: SessionKey {
            workspace: WORKSPACE,
            session: SessionId::from_uuid(Uuid::from_u128(2)),
        },
        epoch: 1,
        call_id: EventId::from_uuid(Uuid::from_u128(3)),
        tool: "send_message".into(),
        input: Raw::of(&json!({"to": "queue/box", "content": "hello"})),
        effect: Effect::Idempotent,
        placement: AT_HOUSE,
        environment: EnvironmentConfig::SelfHosted,
        secret: None,
        mcp: None,
    };
    let told = run(&office, &order).await;
    let there = store
        .receive(WORKSPACE, &Address::Queue("box".into()), 10, 1_000)
        .await
        .unwrap();
    (told, store.asked.load(Ordering::Relaxed), there.len())
}

#[tokio::test(start_paused = true)]
async fn what_was_not_done_is_done_again() {
    let (told, asked, there) = told(2, false).await;
    assert!(told.is_ok_and(|told| told.starts_with("Sent to queue/box")));
    assert_eq!((asked, there), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_done_is_done_once() {
    let (told, _, there) = told(2, true).await;
    assert!(told.is_ok_and(|told| told.starts_with("Sent to queue/box")));
    assert_eq!(there, 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_told_of() {
    let (told, asked, there) = told(u32::MAX, false).await;
    assert!(told.is_err_and(|told| told.contains("the connection broke")));
    assert_eq!((asked, there), (limits::SEND_TRIES, 0));
}
