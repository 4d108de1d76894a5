//! Mail in SQL tables, on either database: every change is one statement that may be said twice.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{
    ChangeCursor, HandOver, Letter, MailboxSummary, Mailboxes, Message, MessageListing, Receipt, Return, SendError,
    Sent, SessionKey, StoreError, ThreadSession,
};
use perennial_schema::mail::Address;
use perennial_schema::{MessageId, SessionId, WorkspaceId};

use super::words;
use crate::executors::{Postgres, Sqlite};
use crate::log::{postgres, sqlite};
use crate::sql::{Columns as _, Desk, Statement, vanished};

/// Mail in the embedded database, beside the sessions of this store.
#[must_use]
pub fn embedded(store: sqlite::Sqlite) -> Arc<dyn Mailboxes> {
    Arc::new(Sql {
        desk: Sqlite::new(store),
    })
}

/// Mail in the shared database, beside the sessions of this store.
#[must_use]
pub fn shared(store: &postgres::Postgres) -> Arc<dyn Mailboxes> {
    Arc::new(Sql {
        desk: Postgres::new(store),
    })
}

/// Mail beside the sessions of a store.
struct Sql<D> {
    desk: D,
}

impl<D: Desk> Sql<D> {
    async fn rows(&self, asked: Statement) -> Result<Vec<D::Row>, StoreError> {
        self.desk.asked(asked).await
    }

    async fn found(&self, asked: Statement) -> Result<Vec<Message>, StoreError> {
        self.rows(asked).await?.iter().map(words::message_of).collect()
    }

    /// Whether anything changed.
    async fn did(&self, asked: Statement) -> Result<bool, StoreError> {
        Ok(!self.rows(asked).await?.is_empty())
    }
}

#[async_trait]
impl<D: Desk> Mailboxes for Sql<D> {
    async fn send(&self, workspace: WorkspaceId, letter: Letter, room: u32) -> Result<Sent, SendError> {
        let added = self.did(words::send(workspace, &letter, room)?).await?;
        let found = self.message(workspace, letter.id).await?;
        super::sent(&letter, found, added, room)
    }

    async fn message(&self, workspace: WorkspaceId, id: MessageId) -> Result<Option<Message>, StoreError> {
        Ok(self.found(words::message(workspace, id)).await?.pop())
    }

    async fn messages(&self, listing: MessageListing) -> Result<Vec<Message>, StoreError> {
        self.found(words::messages(&listing)).await
    }

    async fn changes(
        &self,
        workspace: WorkspaceId,
        to: &Address,
        after: Option<ChangeCursor>,
        limit: u32,
    ) -> Result<Vec<(ChangeCursor, Message)>, StoreError> {
        let rows = self.rows(words::changes(workspace, to, after, limit)).await?;
        rows.iter()
            .map(|row| Ok((words::change_of(row)?, words::message_of(row)?)))
            .collect()
    }

    async fn latest_change(&self, workspace: WorkspaceId, to: &Address) -> Result<Option<ChangeCursor>, StoreError> {
        let rows = self.rows(words::latest_change(workspace, to)).await?;
        rows.first().map(words::change_of).transpose()
    }

    async fn mailboxes(
        &self,
        workspace: WorkspaceId,
        after: Option<&Address>,
        limit: u32,
    ) -> Result<Vec<MailboxSummary>, StoreError> {
        let rows = self.rows(words::mailboxes(workspace, after, limit)).await?;
        rows.iter().map(words::summary_of).collect()
    }

    async fn delivered_to(&self, key: SessionKey, limit: u32) -> Result<Vec<Message>, StoreError> {
        self.found(words::delivered_to(key, limit)).await
    }

    async fn take(&self, limit: u32, lease_millis: u64) -> Result<Vec<Message>, StoreError> {
        let mut taken = self.found(words::take(limit, lease_millis)).await?;
        taken.sort_by_key(|message| message.position);
        Ok(taken)
    }

    async fn settle(&self, message: &Message, came: &HandOver) -> Result<bool, StoreError> {
        self.did(words::settle(message, came)).await
    }

    async fn next_due(&self) -> Result<Option<u64>, StoreError> {
        let rows = self.rows(words::next_due()).await?;
        rows.first().map_or(Ok(None), words::wait_of)
    }

    async fn thread_session(&self, thread: ThreadSession<'_>) -> Result<SessionId, StoreError> {
        let rows = self.rows(words::thread_session(thread)).await?;
        let row = rows.first().ok_or_else(vanished)?;
        row.id("session_id").map(SessionId::from_uuid)
    }

    async fn receive(
        &self,
        workspace: WorkspaceId,
        queue: &Address,
        limit: u32,
        hidden_millis: u64,
    ) -> Result<Vec<Message>, StoreError> {
        let received = words::receive(workspace, queue, limit, hidden_millis);
        let mut received = self.found(received).await?;
        received.sort_by_key(|message| message.position);
        Ok(received)
    }

    async fn give_back(
        &self,
        workspace: WorkspaceId,
        receipt: Receipt,
        what: Return,
    ) -> Result<Option<Message>, StoreError> {
        Ok(self.found(words::give_back(workspace, receipt, what)).await?.pop())
    }

    async fn cancel(&self, workspace: WorkspaceId, id: MessageId) -> Result<bool, StoreError> {
        self.did(words::cancel(workspace, id)).await
    }

    async fn replay(&self, workspace: WorkspaceId, id: MessageId) -> Result<bool, StoreError> {
        self.did(words::replay(workspace, id)).await
    }

    async fn tend(&self, keep_millis: u64) -> Result<(), StoreError> {
        for asked in words::bury_ended() {
            self.did(asked).await?;
        }
        self.did(words::forget(keep_millis)).await.map(|_| ())
    }

    async fn untold(&self, limit: u32) -> Result<Vec<Message>, StoreError> {
        self.found(words::untold(limit)).await
    }

    async fn told(&self, workspace: WorkspaceId, id: MessageId) -> Result<(), StoreError> {
        self.did(words::told(workspace, id)).await.map(|_| ())
    }

    async fn open_tasks(&self, after: u64, limit: u32) -> Result<Vec<Message>, StoreError> {
        self.found(words::open_tasks(after, limit)).await
    }

    async fn close_task(&self, workspace: WorkspaceId, id: MessageId) -> Result<(), StoreError> {
        self.did(words::close_task(workspace, id)).await.map(|_| ())
    }
}
