//! The port: send, receive, acknowledge. Sending is idempotent by message id; a delivery to a session is a client append of
//! `mail.received` under that id, so a crash between append and bookkeeping is healed by the retry, which finds the event.

use async_trait::async_trait;
use perennial_engine::ports::StoreError;
use perennial_schema::event::Raw;
use perennial_schema::{MessageId, Timestamp, WorkspaceId};

use crate::Address;

/// A message on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Chosen by the sender: its idempotency key.
    pub id: MessageId,
    /// Set by the server, never by the sender.
    pub from: Address,
    /// Where to.
    pub to: Address,
    /// One line.
    pub subject: Option<String>,
    /// Content blocks, a JSON array.
    pub content: Raw,
    /// Conversation it belongs to.
    pub thread: Option<String>,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
    /// Not before this time; such mail is outside the FIFO of its pair.
    pub deliver_at: Option<Timestamp>,
}

/// A send that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The message.
    pub id: MessageId,
    /// An earlier send under this id did it.
    pub replayed: bool,
}

/// A message handed to a program, invisible to others until its time is up.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The message.
    pub letter: Letter,
    /// Names this delivery in `acknowledge` and `reject`; a later delivery has another.
    pub receipt: String,
    /// How often it has been handed out.
    pub deliveries: u32,
}

/// A send that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody is there.
    #[error("there is no mailbox {0}")]
    NoSuchAddress(Address),
    /// The mailbox is full, or the sender sends too much.
    #[error("mailbox {0} takes no more for now")]
    Full(Address),
    /// The message has gone through too many hands.
    #[error("the message was passed on too often")]
    TooManyHops,
    /// The same id was used for another message.
    #[error("message id {0} was used for another message")]
    IdReused(MessageId),
    /// The store cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Carries mail.
#[async_trait]
pub trait Mailbox: Send + Sync {
    /// Makes the message durable; delivery follows. FIFO per sender and receiver.
    async fn send(&self, workspace: WorkspaceId, letter: Letter) -> Result<Posted, SendError>;

    /// Up to `limit` messages of a queue, each invisible to others for `visibility_millis`.
    async fn receive(
        &self,
        workspace: WorkspaceId,
        queue: &Address,
        limit: u32,
        visibility_millis: u64,
    ) -> Result<Vec<Received>, StoreError>;

    /// The message is done. False when the receipt is stale.
    async fn acknowledge(&self, workspace: WorkspaceId, receipt: &str) -> Result<bool, StoreError>;

    /// The message is to be handed out again at once; after too many deliveries it becomes a dead letter.
    async fn reject(&self, workspace: WorkspaceId, receipt: &str) -> Result<bool, StoreError>;
}
