//! Mail with a clock in the test's hand.

use std::sync::Arc;

use perennial_broker::log::postgres::{Postgres, Settings};
use perennial_broker::mail;
use perennial_engine::ports::{Letter, Mailboxes, Message, SendError, SessionMetadata};
use perennial_schema::content::text_content;
use perennial_schema::mail::{Address, Sender};
use perennial_schema::{KeyId, MessageId, SessionId, TraceParent, WorkspaceId};
use uuid::Uuid;

use crate::fixture::{Hand, database, open, workspace};

/// A post under test.
pub(crate) struct Desk {
    pub(crate) post: Arc<dyn Mailboxes>,
    /// The same store seen by another process.
    pub(crate) elsewhere: Arc<dyn Mailboxes>,
    pub(crate) clock: Arc<Hand>,
    pub(crate) workspace: WorkspaceId,
    _dir: Option<tempfile::TempDir>,
}

/// How long a taking holds in these tests, in milliseconds.
pub(crate) const LEASE: u64 = 30_000;

impl Desk {
    pub(crate) fn memory() -> Self {
        let clock = Hand::new();
        let post = Arc::new(mail::Memory::new(Arc::<Hand>::clone(&clock)));
        Self::over(post.clone(), post, clock, None)
    }

    pub(crate) async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Hand::new();
        let store = open(dir.path(), &clock).await;
        Self::over(mail::embedded(store.clone()), mail::embedded(store), clock, Some(dir))
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let url = database().await?;
        let clock = Hand::new();
        let settings = || Settings {
            clock: Some(Arc::<Hand>::clone(&clock)),
            ..Settings::default()
        };
        let store = Postgres::open(&url, settings()).await.unwrap();
        let other = Postgres::open(&url, settings()).await.unwrap();
        Some(Self::over(mail::shared(&store), mail::shared(&other), clock, None))
    }

    fn over(
        post: Arc<dyn Mailboxes>,
        elsewhere: Arc<dyn Mailboxes>,
        clock: Arc<Hand>,
        dir: Option<tempfile::TempDir>,
    ) -> Self {
        Self {
            post,
            elsewhere,
            clock,
            workspace: workspace(),
            _dir: dir,
        }
    }

    pub(crate) async fn send(&self, letter: Letter) -> Result<Message, SendError> {
        let sent = self.post.send(self.workspace, letter, 100).await?;
        Ok(sent.message)
    }

    pub(crate) async fn message(&self, id: MessageId) -> Message {
        self.elsewhere.message(self.workspace, id).await.unwrap().unwrap()
    }

    /// The ids of what is taken now.
    pub(crate) async fn taken(&self) -> Vec<MessageId> {
        ids(&self.post.take(10, LEASE).await.unwrap())
    }
}

pub(crate) fn ids(messages: &[Message]) -> Vec<MessageId> {
    messages.iter().map(|message| message.letter.id).collect()
}

pub(crate) fn session() -> Address {
    Address::Session(SessionId::from_uuid(Uuid::now_v7()))
}

pub(crate) fn queue(name: &str) -> Address {
    Address::Queue(name.into())
}

pub(crate) fn key() -> Sender {
    Sender::Key(KeyId::from_uuid(Uuid::from_u128(7)))
}

pub(crate) fn letter(from: &Sender, to: &Address) -> Letter {
    Letter {
        id: MessageId::from_uuid(Uuid::now_v7()),
        from: from.clone(),
        to: to.clone(),
        subject: Some("a subject".into()),
        content: text_content("hello"),
        thread: "thread".into(),
        in_reply_to: None,
        metadata: SessionMetadata::new(),
        hops: 3,
        deliver_at: None,
        expires_at: None,
        task: None,
        trace: Some(TraceParent::derived(Uuid::nil(), "a trace")),
    }
}
