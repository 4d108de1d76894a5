//! Mail: messages between sessions, agents, queues and programs (DESIGN §9, INVARIANTS I9).
//!
//! The port remembers messages; who hands them over lives in the mailbox crate. Mail for a session or an agent is *handed over*: a
//! client append of `mail.received` under the message's id. Mail for a queue is *received* by programs, which acknowledge it.
//!
//! Whoever has a message has it for a time and under a round, which grows with every taking: what an earlier taker says is void.

use async_trait::async_trait;
use perennial_schema::event::Raw;
use perennial_schema::mail::{Address, MailState, Sender, Task};
use perennial_schema::{AgentId, MessageId, SessionId, Timestamp, TraceParent, WorkspaceId};

use super::{ChangeCursor, SessionKey, SessionMetadata, StoreError};

/// How often a queue's message is handed out before it is a dead letter.
pub const MAIL_DELIVERIES: u32 = 5;

/// A message as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Chosen by the sender: sending it again changes nothing.
    pub id: MessageId,
    /// Set by the server, never by the sender.
    pub from: Sender,
    /// Where to.
    pub to: Address,
    /// One line.
    pub subject: Option<String>,
    /// Content blocks, a JSON array.
    pub content: Raw,
    /// Conversation it belongs to.
    pub thread: String,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
    /// Free pairs.
    pub metadata: SessionMetadata,
    /// Through how many agents its conversation went since a person or a program wrote.
    pub hops: u32,
    /// Not before this time; such mail is outside the order of its pair.
    pub deliver_at: Option<Timestamp>,
    /// A dead letter from then on.
    pub expires_at: Option<Timestamp>,
    /// What its receiver's turn says in the end is awaited.
    pub task: Option<Task>,
    /// The span in which it was sent: the turn it begins is part of that trace.
    pub trace: Option<TraceParent>,
}

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// As it was sent.
    pub letter: Letter,
    /// Order of sending.
    pub position: u64,
    /// Where it is.
    pub state: MailState,
    /// Why it is dead, as a clause.
    pub reason: Option<String>,
    /// The session that has it in its log.
    pub session: Option<SessionId>,
    /// How often it was taken; names the taking.
    pub round: u32,
    /// How often a program or the hand-over has had it in vain since it was sent or replayed.
    pub deliveries: u32,
    /// Sent at.
    pub created_at: Timestamp,
    /// Last change of the state.
    pub changed_at: Timestamp,
}

/// A send that is durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// As it is now.
    pub message: Message,
    /// An earlier send under this id did it.
    pub replayed: bool,
}

/// A send that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Too much waits there.
    #[error("mailbox {0} is full: {1} messages wait in it")]
    Full(Address, u32),
    /// The id was used for another message.
    #[error("message id {0} was used for another message")]
    IdReused(MessageId),
    /// The store cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of an attempt to hand a message over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// It is in this session's log.
    Delivered(SessionId),
    /// It never will be; the sender is to be told.
    Dead(String),
    /// Not now: again in so many milliseconds.
    Later(u64),
}

/// A taking of a queue's message: `MESSAGE.ROUND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which message.
    pub message: MessageId,
    /// Which taking of it.
    pub round: u32,
}

impl std::fmt::Display for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.message, self.round)
    }
}

/// A string that is no receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no receipt; use the one that came with the message")]
pub struct ParseReceiptError;

impl std::str::FromStr for Receipt {
    type Err = ParseReceiptError;

    fn from_str(text: &str) -> Result<Self, ParseReceiptError> {
        let (message, round) = text.split_once('.').ok_or(ParseReceiptError)?;
        Ok(Self {
            message: message.parse().map_err(|_| ParseReceiptError)?,
            round: round.parse().map_err(|_| ParseReceiptError)?,
        })
    }
}

/// What a receipt's holder says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// Done with it.
    Acknowledge,
    /// Could not do it: to be handed out again after so many milliseconds, or a dead letter if that happened too often.
    Reject(u64),
    /// Needs it for so many more milliseconds from now.
    Extend(u64),
}

/// Messages of a workspace, newest first.
#[derive(Clone, Debug)]
pub struct MessageListing {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Only this mailbox's.
    pub to: Option<Address>,
    /// Only these; empty means all.
    pub states: Vec<MailState>,
    /// Only this conversation's.
    pub thread: Option<String>,
    /// Strictly before this position.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// A mailbox that has had mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxSummary {
    /// Which.
    pub address: Address,
    /// Messages that somebody may still get.
    pub open: u64,
    /// Those that a program has just now.
    pub leased: u64,
    /// Dead letters.
    pub dead: u64,
    /// When its newest message was sent.
    pub latest_at: Timestamp,
}

/// A session of an agent's thread.
#[derive(Clone, Copy, Debug)]
pub struct ThreadSession<'a> {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Whose.
    pub agent: AgentId,
    /// Which conversation, as the agent's desk divides them.
    pub thread: &'a str,
    /// The id its session gets if it has none.
    pub fresh: SessionId,
    /// A session that takes no more mail: if the thread still has this one, it gets the fresh one.
    pub instead_of: Option<SessionId>,
}

/// Messages. Implementations are cancel-safe: a dropped call has either happened or not.
#[async_trait]
pub trait Mailboxes: Send + Sync {
    /// Makes a message durable, unless so many wait in its mailbox.
    async fn send(&self, workspace: WorkspaceId, letter: Letter, room: u32) -> Result<Sent, SendError>;

    /// A message.
    async fn message(&self, workspace: WorkspaceId, id: MessageId) -> Result<Option<Message>, StoreError>;

    /// Messages.
    async fn messages(&self, listing: MessageListing) -> Result<Vec<Message>, StoreError>;

    /// Messages of a mailbox that changed their state after a place (none: all there are), each once, as it is now, oldest change
    /// first; sending one is a change. Nothing is skipped; a change may be told twice.
    async fn changes(
        &self,
        workspace: WorkspaceId,
        to: &Address,
        after: Option<ChangeCursor>,
        limit: u32,
    ) -> Result<Vec<(ChangeCursor, Message)>, StoreError>;

    /// The place of a mailbox's newest change; none while it has had no mail.
    async fn latest_change(&self, workspace: WorkspaceId, to: &Address) -> Result<Option<ChangeCursor>, StoreError>;

    /// Mailboxes, by address, strictly after one.
    async fn mailboxes(
        &self,
        workspace: WorkspaceId,
        after: Option<&Address>,
        limit: u32,
    ) -> Result<Vec<MailboxSummary>, StoreError>;

    /// Mail that was handed over to a session, newest first.
    async fn delivered_to(&self, key: SessionKey, limit: u32) -> Result<Vec<Message>, StoreError>;

    /// Takes mail for sessions and agents whose time has come, for so many milliseconds. Of a pair of sender and receiver only the
    /// oldest that is open, but for such as had a time to be delivered at.
    async fn take(&self, limit: u32, lease_millis: u64) -> Result<Vec<Message>, StoreError>;

    /// Says what came of it. False when the taking is void.
    async fn settle(&self, message: &Message, came: &HandOver) -> Result<bool, StoreError>;

    /// In how many milliseconds there may be something to take, 0 for now; none when nothing waits. A question for everybody to ask
    /// often: it writes nothing.
    async fn next_due(&self) -> Result<Option<u64>, StoreError>;

    /// The session of a thread; made up if there is none. The first to ask decides.
    async fn thread_session(&self, thread: ThreadSession<'_>) -> Result<SessionId, StoreError>;

    /// Hands out a queue's messages, oldest first, each hidden from others for so many milliseconds.
    async fn receive(
        &self,
        workspace: WorkspaceId,
        queue: &Address,
        limit: u32,
        hidden_millis: u64,
    ) -> Result<Vec<Message>, StoreError>;

    /// Says what came of a message that was received. None when the receipt is stale: somebody else may have it.
    async fn give_back(
        &self,
        workspace: WorkspaceId,
        receipt: Receipt,
        what: Return,
    ) -> Result<Option<Message>, StoreError>;

    /// Takes a message back. False when it is not waiting any more, or has been on its way already.
    async fn cancel(&self, workspace: WorkspaceId, id: MessageId) -> Result<bool, StoreError>;

    /// Queues a dead letter again. False when it is not dead.
    async fn replay(&self, workspace: WorkspaceId, id: MessageId) -> Result<bool, StoreError>;

    /// Buries queues' messages that have expired or were handed out too often, and forgets what ended so many milliseconds ago.
    async fn tend(&self, keep_millis: u64) -> Result<(), StoreError>;

    /// Dead letters whose senders have not been told.
    async fn untold(&self, limit: u32) -> Result<Vec<Message>, StoreError>;

    /// The sender was told.
    async fn told(&self, workspace: WorkspaceId, id: MessageId) -> Result<(), StoreError>;

    /// Tasks that were not closed, of all workspaces, in the order in which they were sent, strictly after a position.
    async fn open_tasks(&self, after: u64, limit: u32) -> Result<Vec<Message>, StoreError>;

    /// A task has ended, and whoever delegated it was told. Its message stays.
    async fn close_task(&self, workspace: WorkspaceId, id: MessageId) -> Result<(), StoreError>;
}
