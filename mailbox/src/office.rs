//! Where mail is handed in, and a queue's mail is fetched.

use std::sync::Arc;
use std::time::Duration;

use perennial_engine::ports::{
    Bus, EventFilter, Letter, Log, Mailboxes, Message, Metering, Receipt, Return, SendError, Sent, SessionKey,
    SessionMetadata, Sessions, StoreError, Subscription,
};
use perennial_schema::event::Raw;
use perennial_schema::mail::{Address, Sender, Task};
use perennial_schema::{MessageId, SessionId, Timestamp, TraceParent, WorkspaceId};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::agents::Agents;
use crate::{limits, room};

/// Events of a session that has mail, and of one that somebody writes in.
const MAIL: &str = "mail.received";
const WORDS: &str = "user.message";

/// A message as its sender has it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Sending it again under the same id changes nothing.
    pub id: MessageId,
    /// Set by the server, never by the sender.
    pub from: Sender,
    /// Where to.
    pub to: Address,
    /// One line.
    pub subject: Option<String>,
    /// Content blocks, a JSON array.
    pub content: Raw,
    /// Conversation; that of the message it answers when left out, else a new one.
    pub thread: Option<String>,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
    /// Free pairs.
    pub metadata: SessionMetadata,
    /// Not before.
    pub deliver_at: Option<Timestamp>,
    /// A dead letter from then on.
    pub expires_at: Option<Timestamp>,
    /// What its receiver's turn says in the end is awaited.
    pub task: Option<Task>,
    /// The span in which it is sent.
    pub trace: Option<TraceParent>,
}

/// A message that was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Nobody is there.
    #[error("there is no mailbox {0}: {1}")]
    NoSuchAddress(Address, &'static str),
    /// It answers a message that is not there.
    #[error("there is no message {0} to answer")]
    NoSuchMessage(MessageId),
    /// The conversation goes in circles.
    #[error(
        "this conversation went through {0} agents without a person or a program writing in it; it ends here, or somebody else goes on"
    )]
    TooManyHops(u32),
    /// Full, used up, or the store cannot.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl From<StoreError> for PostError {
    fn from(error: StoreError) -> Self {
        Self::Send(error.into())
    }
}

/// A mail office.
pub struct Office {
    pub(crate) mail: Arc<dyn Mailboxes>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) agents: Arc<dyn Agents>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) metering: Arc<dyn Metering>,
    /// There is mail for the postman of this process.
    pub(crate) bell: Notify,
}

impl Office {
    /// Over these.
    #[must_use]
    pub fn new(
        mail: Arc<dyn Mailboxes>,
        log: Arc<dyn Log>,
        sessions: Arc<dyn Sessions>,
        agents: Arc<dyn Agents>,
        bus: Arc<dyn Bus>,
        metering: Arc<dyn Metering>,
    ) -> Self {
        Self {
            mail,
            log,
            sessions,
            agents,
            bus,
            metering,
            bell: Notify::new(),
        }
    }

    /// What is durable.
    #[must_use]
    pub fn mail(&self) -> &dyn Mailboxes {
        self.mail.as_ref()
    }

    /// Who can be written to.
    #[must_use]
    pub fn agents(&self) -> &dyn Agents {
        self.agents.as_ref()
    }

    /// Hears of changes in a mailbox, of most of them and of some that are none: a hint where to look.
    #[must_use]
    pub fn listen(&self, workspace: WorkspaceId, mailbox: &Address) -> Box<dyn Subscription> {
        self.bus.subscribe(room::of(workspace, mailbox))
    }

    /// Takes a message in: from here on it is delivered or its sender learns why not.
    ///
    /// # Errors
    /// [`PostError`]; nothing was sent.
    pub async fn send(&self, workspace: WorkspaceId, outgoing: Outgoing) -> Result<Sent, PostError> {
        if let Some(message) = self.mail.message(workspace, outgoing.id).await? {
            // Judged anew, a repetition could be refused by now.
            return self.post(workspace, repeated(outgoing, &message)).await;
        }
        self.check(workspace, &outgoing.to).await?;
        let answered = match outgoing.in_reply_to {
            Some(id) => Some(
                self.mail
                    .message(workspace, id)
                    .await?
                    .ok_or(PostError::NoSuchMessage(id))?,
            ),
            None => None,
        };
        let hops = self.hops(workspace, &outgoing.from, answered.as_ref()).await?;
        let thread = outgoing
            .thread
            .clone()
            .or_else(|| answered.map(|message| message.letter.thread))
            .unwrap_or_else(|| outgoing.id.to_string());
        self.post(workspace, letter(outgoing, thread, hops)).await
    }

    async fn post(&self, workspace: WorkspaceId, letter: Letter) -> Result<Sent, PostError> {
        let (to, room) = (letter.to.clone(), room_of(&letter.to));
        fail::fail_point!("mail.send.before");
        let sent = self.mail.send(workspace, letter, room).await?;
        fail::fail_point!("mail.send.after");
        self.ring(workspace, &to, sent.message.position);
        Ok(sent)
    }

    /// Says that there is something new in a mailbox.
    pub(crate) fn ring(&self, workspace: WorkspaceId, to: &Address, position: u64) {
        if to.takes_mail_itself() {
            self.bell.notify_one();
        }
        self.bus.hint(room::of(workspace, to), position);
    }

    async fn check(&self, workspace: WorkspaceId, to: &Address) -> Result<(), PostError> {
        let missing = |why| Err(PostError::NoSuchAddress(to.clone(), why));
        match to {
            Address::Queue(_) => Ok(()),
            Address::Session(session) => {
                let key = SessionKey {
                    workspace,
                    session: *session,
                };
                match self.sessions.get(key).await? {
                    Some(row) if row.deleted_at.is_some() => missing("no such session"),
                    Some(row) if row.archived_at.is_some() => missing("the session is archived"),
                    Some(_) => Ok(()),
                    None => missing("no such session"),
                }
            }
            Address::Agent(name) => match self.agents.reception(workspace, name).await? {
                Some(_) => Ok(()),
                None => missing("no agent of this name takes mail"),
            },
        }
    }

    /// What a session has been handed, newest first. A hand-over is noted after the message is in the log, by a postman that may
    /// die in between, and the session is at work by then: the message that opened it is found by the session's own id.
    pub(crate) async fn received(&self, key: SessionKey, limit: u32) -> Result<Vec<Message>, StoreError> {
        let mut received = self.mail.delivered_to(key, limit).await?;
        let is_there = |received: &[Message], id| received.iter().any(|message| message.letter.id == id);
        let openings: Vec<MessageId> = (0..limits::SUCCESSORS)
            .map(|successor| opened_by(key.session, successor))
            .collect();
        if received.len() >= limit as usize || openings.iter().any(|id| is_there(&received, *id)) {
            return Ok(received);
        }
        for id in openings {
            if let Some(opening) = self.mail.message(key.workspace, id).await? {
                received.push(opening);
                break;
            }
        }
        Ok(received)
    }

    /// How often the conversation changed hands with this message. What a person or a program writes begins anew, be it mail or a
    /// word in the session that sends.
    async fn hops(&self, workspace: WorkspaceId, from: &Sender, answered: Option<&Message>) -> Result<u32, PostError> {
        let before = answered.map(|message| message.letter.hops);
        let so_far = match from {
            Sender::Key(_) | Sender::Postmaster => return Ok(0),
            Sender::At(Address::Session(session)) => {
                let key = SessionKey {
                    workspace,
                    session: *session,
                };
                before.max(self.latest(key).await?.map(|message| message.letter.hops))
            }
            Sender::At(_) => before,
        };
        let hops = so_far.map_or(0, |hops| hops.saturating_add(1));
        if hops > limits::HOPS {
            return Err(PostError::TooManyHops(limits::HOPS));
        }
        Ok(hops)
    }

    /// The mail that a session was handed last, unless somebody wrote in it since. By the log: a hand-over is noted later.
    async fn latest(&self, key: SessionKey) -> Result<Option<Message>, StoreError> {
        let filter = EventFilter {
            types: [MAIL, WORDS].map(str::to_owned).into(),
            descending: true,
            limit: 1,
            ..EventFilter::default()
        };
        match self.log.list(key, filter).await?.pop() {
            // The event has the message's id.
            Some(mail) if mail.kind == MAIL => {
                let id = MessageId::from_uuid(mail.id.uuid());
                self.mail.message(key.workspace, id).await
            }
            _ => Ok(None),
        }
    }

    /// Fetches a queue's mail; waits for some, at most so long.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn receive(
        &self,
        workspace: WorkspaceId,
        queue: &Address,
        limit: u32,
        hidden_millis: u64,
        patience: Duration,
    ) -> Result<Vec<Message>, StoreError> {
        let until = Instant::now() + patience;
        let mut hints = self.bus.subscribe(room::of(workspace, queue));
        loop {
            let received = self.mail.receive(workspace, queue, limit, hidden_millis).await?;
            if !received.is_empty() || Instant::now() >= until {
                return Ok(received);
            }
            // A message that was given back, or whose time has come, is not told of.
            let look = until.min(Instant::now() + limits::SWEEP);
            if let Ok(None) = timeout_at(look, hints.next()).await {
                tokio::time::sleep_until(look).await;
            }
        }
    }

    /// What a program says of a message it received. None when its receipt is stale.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn give_back(
        &self,
        workspace: WorkspaceId,
        receipt: Receipt,
        what: Return,
    ) -> Result<Option<Message>, StoreError> {
        let message = self.mail.give_back(workspace, receipt, what).await?;
        if let Some(message) = &message {
            self.ring(workspace, &message.letter.to, message.position);
        }
        self.bell.notify_one();
        Ok(message)
    }

    /// Takes a message back. False when it is not waiting any more, or has been on its way already.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn cancel(&self, workspace: WorkspaceId, message: &Message) -> Result<bool, StoreError> {
        let did = self.mail.cancel(workspace, message.letter.id).await?;
        self.ring(workspace, &message.letter.to, message.position);
        Ok(did)
    }

    /// Queues a dead letter again. False when it is not dead.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn replay(&self, workspace: WorkspaceId, message: &Message) -> Result<bool, StoreError> {
        let did = self.mail.replay(workspace, message.letter.id).await?;
        self.ring(workspace, &message.letter.to, message.position);
        Ok(did)
    }
}

const fn room_of(to: &Address) -> u32 {
    match to {
        Address::Queue(_) => limits::QUEUE_ROOM,
        Address::Agent(_) | Address::Session(_) => limits::ROOM,
    }
}

fn repeated(outgoing: Outgoing, there: &Message) -> Letter {
    letter(outgoing, there.letter.thread.clone(), there.letter.hops)
}

/// The id of the session that a message opens if it opens one. Not the message's own: a session's creation and an append in it are
/// told apart by their ids.
pub(crate) fn opens(message: MessageId, successor: u32) -> SessionId {
    SessionId::from_uuid(turned(message.uuid(), successor))
}

/// The other way round: the message that opened a session, if one did.
fn opened_by(session: SessionId, successor: u32) -> MessageId {
    MessageId::from_uuid(turned(session.uuid(), successor))
}

/// Done twice, it is undone.
fn turned(id: Uuid, successor: u32) -> Uuid {
    Uuid::from_u128(id.as_u128() ^ u128::from(successor + 1))
}

fn letter(outgoing: Outgoing, thread: String, hops: u32) -> Letter {
    Letter {
        id: outgoing.id,
        from: outgoing.from,
        to: outgoing.to,
        // No database keeps a NUL in text, and a repetition is compared with what was kept.
        subject: outgoing.subject.map(|subject| subject.replace('\0', "\u{fffd}")),
        content: outgoing.content,
        thread,
        in_reply_to: outgoing.in_reply_to,
        metadata: outgoing.metadata,
        hops,
        deliver_at: outgoing.deliver_at,
        expires_at: outgoing.expires_at,
        task: outgoing.task,
        trace: outgoing.trace,
    }
}
