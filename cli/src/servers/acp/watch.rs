//! One open session: follows its log and tells the editor, from the moment it is opened until it is closed. Whatever happens to
//! the session is told, whoever caused it; a prompt is answered when the session rests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::{SessionNotification, SessionUpdate, StopReason};
use agent_client_protocol::{Client as Editor, Error as Refusal};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::permission::{Answer, Asking};
use super::stdio::Pace;
use super::told;
use super::updates::Updates;
use crate::client::pending::{PendingUse, Rest};
use crate::client::resources::Sent;
use crate::client::{Client, Feed, Frame};
use crate::error::Error;
use crate::follow::Looking;

/// Orders that wait.
const ORDERS: usize = 16;
/// Prompts of one session that wait for it to rest.
const TURNS: usize = 16;

/// What an editor wants of a session.
#[derive(Debug)]
pub(super) enum Order {
    /// Send this message, and say when the session rests.
    Prompt(Vec<Value>, oneshot::Sender<Result<StopReason, Refusal>>),
    /// Stop what it does.
    Cancel,
    /// Show the editor's terminal that a call runs in, with the call; and say when that is told.
    Show {
        call: String,
        terminal: String,
        told: oneshot::Sender<()>,
    },
}

/// Where to begin.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) session: String,
    pub(super) folder: PathBuf,
    /// Events behind this number are told.
    pub(super) after: u64,
    /// Number of the last event that is history.
    pub(super) head: u64,
}

/// An open session. Dropping it closes it; the session itself goes on.
#[derive(Debug)]
pub(super) struct Watched {
    folder: PathBuf,
    /// Number of the last event that was told.
    told: Arc<AtomicU64>,
    orders: mpsc::Sender<Order>,
    _task: AbortOnDropHandle<()>,
}

impl Watched {
    /// Opens it; the receiver hears when the history has been told.
    pub(super) fn open(
        client: Client,
        editor: ConnectionTo<Editor>,
        pace: Pace,
        opening: Opening,
    ) -> (Self, oneshot::Receiver<Result<(), Refusal>>) {
        let (orders, received) = mpsc::channel(ORDERS);
        let (caught_up, history) = oneshot::channel();
        let folder = opening.folder.clone();
        let last = Arc::new(AtomicU64::new(opening.after));
        let watch = Watch {
            feed: Feed::new(client.clone(), &opening.session, opening.after),
            asking: Asking::new(editor.clone(), &opening.session),
            updates: Updates::new(opening.folder),
            session: opening.session,
            history: Some((opening.head, caught_up)),
            turns: Vec::new(),
            showing: Vec::new(),
            looking: Looking::default(),
            trouble: None,
            told: Arc::clone(&last),
            client,
            editor,
            pace,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(watch.run(received)));
        let watched = Self {
            folder,
            told: last,
            orders,
            _task: task,
        };
        (watched, history)
    }

    /// Where the editor is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Number of the last event that was told.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Where orders go.
    pub(super) fn orders(&self) -> mpsc::Sender<Order> {
        self.orders.clone()
    }

    /// Whether it still follows; it gives up when the server is away for long.
    pub(super) fn follows(&self) -> bool {
        !self.orders.is_closed()
    }
}

struct Turn {
    reply: oneshot::Sender<Result<StopReason, Refusal>>,
    cancelled: bool,
}

struct Watch {
    client: Client,
    editor: ConnectionTo<Editor>,
    pace: Pace,
    session: String,
    feed: Feed,
    updates: Updates,
    asking: Asking,
    /// Prompts without an answer.
    turns: Vec<Turn>,
    /// Terminals of calls that the editor may not know of yet, and who waits for that.
    showing: Vec<(String, oneshot::Sender<()>)>,
    looking: Looking,
    /// Number of the last event that is history, until it has been told.
    history: Option<(u64, oneshot::Sender<Result<(), Refusal>>)>,
    told: Arc<AtomicU64>,
    /// What went wrong last.
    trouble: Option<String>,
}

impl Watch {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let Err(error) = self.follow(&mut orders).await else {
            return;
        };
        tracing::warn!(session.id = self.session, error = %error.message, "an open session is not followed any more");
        orders.close();
        if let Some((_, caught_up)) = self.history.take() {
            caught_up.send(Err(error.clone())).ok();
        }
        self.end(|_| Err(error.clone()));
    }

    async fn follow(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<(), Refusal> {
        loop {
            if self.history.as_ref().is_some_and(|(head, _)| self.feed.last() >= *head) {
                self.caught_up().await?;
            }
            tokio::select! {
                frame = self.feed.next() => self.frame(&frame.map_err(|error| told(&error))?).await?,
                answer = self.asking.answer() => self.answer(answer).await,
                order = orders.recv() => match order {
                    Some(Order::Prompt(content, reply)) => self.prompt(content, reply).await?,
                    Some(Order::Cancel) => self.cancel().await,
                    Some(Order::Show { call, terminal, told }) => self.show(call, terminal, told).await?,
                    None => return Ok(()),
                },
                () = self.looking.due() => self.look().await?,
            }
        }
    }

    /// All of the past is told. What waits for somebody is asked now.
    async fn caught_up(&mut self) -> Result<(), Refusal> {
        if let Some((head, caught_up)) = self.history.take() {
            caught_up.send(Ok(())).ok();
            if head > 0 {
                self.look().await?;
            }
        }
        Ok(())
    }

    async fn frame(&mut self, frame: &Frame) -> Result<(), Refusal> {
        let event: Value = serde_json::from_str(&frame.text).map_err(Refusal::into_internal_error)?;
        let updates = self.updates.event(&frame.kind, &event);
        self.tell(updates).await?;
        self.shown();
        self.told.store(self.feed.last(), Ordering::Relaxed);
        match frame.kind.as_str() {
            "session.status_terminated" => self.end(|_| Err(Refusal::new(-32603, "the session was archived"))),
            "session.deleted" => return Err(Refusal::new(-32603, "the session was deleted")),
            "session.status_idle" => self.looking = Looking::AtSeq(0),
            "session.status_running" => self.looking = Looking::No,
            "user.tool_confirmation" | "agent.tool_result" | "agent.mcp_tool_result" => {
                self.asking.withdraw(event["tool_use_id"].as_str().unwrap_or_default());
            }
            "session.error" => self.trouble = event["error"]["message"].as_str().map(str::to_owned),
            _ => {}
        }
        match self.looking {
            // What the past came to is looked at once, at its end.
            _ if self.history.is_some() => Ok(()),
            Looking::AtSeq(seq) if frame.seq.is_some() && self.feed.last() >= seq => self.look().await,
            _ => Ok(()),
        }
    }

    async fn tell(&mut self, updates: impl IntoIterator<Item = SessionUpdate>) -> Result<(), Refusal> {
        for update in updates {
            self.pace.turn().await;
            let said = SessionNotification::new(self.session.clone(), update);
            self.editor.send_notification(said)?;
        }
        Ok(())
    }

    async fn show(&mut self, call: String, terminal: String, told: oneshot::Sender<()>) -> Result<(), Refusal> {
        let update = self.updates.terminal(&call, terminal);
        self.showing.push((call, told));
        self.tell(update).await?;
        self.shown();
        Ok(())
    }

    /// Says so of terminals whose calls have been told; who does not wait any more is forgotten.
    fn shown(&mut self) {
        for (call, told) in std::mem::take(&mut self.showing) {
            if self.updates.shows(&call) {
                told.send(()).ok();
            } else if !told.is_closed() {
                self.showing.push((call, told));
            }
        }
    }

    /// Whether the session rests: when the server says so and nothing of its log is left to tell.
    async fn look(&mut self) -> Result<(), Refusal> {
        match self.client.rest(&self.session).await.map_err(|error| told(&error))? {
            Some(rest) if rest.head > self.feed.last() => self.looking = Looking::AtSeq(rest.head),
            Some(rest) => {
                self.looking = Looking::No;
                self.rests(&rest).await?;
            }
            None => self.looking = self.looking.later(),
        }
        Ok(())
    }

    async fn rests(&mut self, rest: &Rest) -> Result<(), Refusal> {
        if rest.stop == "requires_action" {
            let pending = self.client.unanswered(&self.session, rest).await;
            let pending = pending.map_err(|error| told(&error))?;
            // Others wait for programs, which are not at the editor.
            for used in pending.iter().filter(|used| PendingUse::wants_confirmation(used)) {
                self.asking.ask(used, self.updates.folder())?;
            }
            return Ok(());
        }
        self.asking.withdraw_all();
        let trouble = self.trouble.take();
        self.end(|cancelled| match rest.stop.as_str() {
            _ if cancelled => Ok(StopReason::Cancelled),
            "end_turn" => Ok(StopReason::EndTurn),
            "refusal" => Ok(StopReason::Refusal),
            other => {
                let why = trouble.clone().unwrap_or_else(|| other.replace('_', " "));
                Err(Refusal::new(-32603, format!("the turn ended without an answer: {why}")))
            }
        });
        Ok(())
    }

    fn end(&mut self, how: impl Fn(bool) -> Result<StopReason, Refusal>) {
        for turn in std::mem::take(&mut self.turns) {
            turn.reply.send(how(turn.cancelled)).ok();
        }
    }

    async fn prompt(
        &mut self,
        content: Vec<Value>,
        reply: oneshot::Sender<Result<StopReason, Refusal>>,
    ) -> Result<(), Refusal> {
        if self.turns.len() >= TURNS {
            reply
                .send(Err(Refusal::new(-32600, "too many prompts wait for an answer")))
                .ok();
            return Ok(());
        }
        match self.send(&json!({"type": "user.message", "content": content})).await {
            Ok(sent) => {
                sent.data.into_iter().for_each(|event| self.updates.own(event.id));
                self.trouble = None;
                self.turns.push(Turn {
                    reply,
                    cancelled: false,
                });
                self.look().await
            }
            Err(error) => {
                reply.send(Err(told(&error))).ok();
                Ok(())
            }
        }
    }

    async fn cancel(&mut self) {
        // Its questions the editor takes back by itself.
        self.turns.iter_mut().for_each(|turn| turn.cancelled = true);
        match self.send(&json!({"type": "user.interrupt"})).await {
            Ok(_) => self.looking = self.looking.later(),
            Err(error) => tracing::warn!(session.id = self.session, %error, "the session is not interrupted"),
        }
    }

    async fn answer(&mut self, Answer { id, allow }: Answer) {
        let Some(allow) = allow else { return };
        match crate::verbs::approve::confirm(&self.client, &self.session, &id, allow, None).await {
            // Somebody else was faster, or interrupted it: the stream tells.
            Err(error) if !matches!(error.status(), Some(400 | 409)) => {
                tracing::warn!(session.id = self.session, %error, "an answer did not reach the session");
            }
            _ => {}
        }
    }

    async fn send(&mut self, event: &Value) -> Result<Sent, Error> {
        let path = format!("/v1/sessions/{}/events", self.session);
        self.client.post(&path, &json!({"events": [event]})).await?.parse()
    }
}

/// The sessions that are open, by their ids.
pub(super) type Open = BTreeMap<String, Watched>;
