//! Links: frames in, frames out. A link's reader hands each frame to the session it is about and never waits for a call; its
//! writer waits for the peer alone. What outlives links is in [`House`].

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perennial_schema::content::{Block, Source};
use perennial_schema::frame::{CallState, FromExecutor, Hello, PackAnswer, PackAsk, Refusal, ToExecutor};
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, PackId, SessionId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::journal::Journal;
use crate::limits::{
    ASIDES, COPIES, COPIES_WAITING, CROWDED_IDLE, INPUTS_KIB, LINK_FRAMES, LONG_BYTES, MAILBOX, SESSION_IDLE, STREAMS,
    SWEEP_EVERY,
};
use crate::outputs::Outputs;
use crate::pack::Packs;
use crate::panes::Scripts;
use crate::process::{JOURNAL_MARKER, Spawner};
use crate::sandbox::{Env, Sandbox};
use crate::session::{Request, Session};
use crate::shells::Shells;
use crate::terminals::Terminals;
use crate::workspace::Workspaces;
use crate::{Config, SYSTEM_PATH, copy};

/// What is on disk.
pub(crate) struct Store {
    pub(crate) journal: Journal,
    pub(crate) workspaces: Workspaces,
    pub(crate) outputs: Outputs,
    pub(crate) packs: Packs,
    pub(crate) scripts: Scripts,
}

/// What all sessions and links share.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) config: Config,
    pub(crate) journal: Journal,
    pub(crate) workspaces: Workspaces,
    pub(crate) outputs: Outputs,
    packs: Packs,
    /// Of commands in an editor's terminals.
    pub(crate) scripts: Scripts,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) uncontained_reason: Option<String>,
    pub(crate) spawner: Spawner,
    pub(crate) shells: Shells,
    pub(crate) terminals: Terminals,
    /// Calls that run or wait.
    pub(crate) slots: Arc<Semaphore>,
    /// KiB that the inputs of calls may have.
    inputs: Arc<Semaphore>,
    copies: Semaphore,
    copies_waiting: Arc<Semaphore>,
    /// Further streams of tunnels at a time.
    pub(crate) streams: Semaphore,
    /// MCP servers at a time.
    pub(crate) servers: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    /// Somebody wants to know what the machine is like now.
    pub(crate) asked: Notify,
    /// No more calls, the running ones end with an outcome.
    pub(crate) closing: CancellationToken,
    /// Everything ends now, as in a crash.
    pub(crate) stop: CancellationToken,
    sessions: Mutex<HashMap<SessionId, mpsc::Sender<Request>>>,
    /// When journals of forgotten sessions were looked for last.
    swept: Mutex<Instant>,
}

impl House {
    pub(crate) fn new(
        config: Config,
        store: Store,
        sandbox: Option<Sandbox>,
        uncontained_reason: Option<String>,
        spawner: Spawner,
        shells: Shells,
    ) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(config.limits.calls)),
            servers: Arc::new(Semaphore::new(config.limits.servers)),
            config,
            journal: store.journal,
            workspaces: store.workspaces,
            outputs: store.outputs,
            packs: store.packs,
            scripts: store.scripts,
            sandbox,
            uncontained_reason,
            spawner,
            shells,
            terminals: Terminals::default(),
            inputs: Arc::new(Semaphore::new(INPUTS_KIB)),
            copies: Semaphore::new(COPIES),
            copies_waiting: Arc::new(Semaphore::new(COPIES_WAITING)),
            streams: Semaphore::new(STREAMS),
            tasks: TaskTracker::new(),
            asked: Notify::new(),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
            sessions: Mutex::default(),
            swept: Mutex::new(Instant::now()),
        }
    }

    /// What a shell finds in its environment, and nothing else.
    pub(crate) fn environment(&self, folder: &std::path::Path) -> Env {
        let path = match self.sandbox {
            Some(_) => OsString::from(SYSTEM_PATH),
            None => self.config.path.clone(),
        };
        let mut env = vec![
            ("PATH", path),
            ("HOME", folder.into()),
            ("LANG", "C.UTF-8".into()),
            ("TERM", "dumb".into()),
            ("PAGER", "cat".into()),
            (JOURNAL_MARKER, self.journal.journal_id.to_string().into()),
        ];
        if let Some(proxy) = &self.config.proxy {
            // Where packages of the user are: in a sandbox there can be no others.
            let own = folder.join(".local/bin");
            for (_, path) in env.iter_mut().filter(|(name, _)| *name == "PATH") {
                path.push(":");
                path.push(&own);
            }
            let names = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
            env.extend(names.map(|name| (name, proxy.into())));
            env.extend(["no_proxy", "NO_PROXY"].map(|name| (name, "localhost,127.0.0.1,::1".into())));
        }
        env
    }

    pub(crate) fn bash(&self) -> Option<PathBuf> {
        self.program("bash")
    }

    /// A program that shells find.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let system = OsString::from(SYSTEM_PATH);
        crate::sandbox::find(
            name,
            if self.sandbox.is_some() {
                &system
            } else {
                &self.config.path
            },
        )
    }

    /// Hands a request to its session, waking it up if need be; gives it back when too much waits there or we close.
    fn post(self: &Arc<Self>, session: SessionId, mut request: Request) -> Result<(), Request> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that a session that is about to leave sees the request or is not found here.
        if let Some(mailbox) = sessions.get(&session) {
            match mailbox.try_send(request) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(back)) => return Err(back),
                Err(mpsc::error::TrySendError::Closed(back)) => request = back,
            }
        }
        if self.closing.is_cancelled() || self.stop.is_cancelled() || sessions.len() >= self.config.limits.sessions {
            return Err(request);
        }
        let (mailbox, rx) = mpsc::channel(MAILBOX);
        let posted = mailbox.try_send(request);
        self.tasks.spawn(Session::new(session, Arc::clone(self), rx).run());
        sessions.insert(session, mailbox);
        posted.map_err(|error| match error {
            mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back) => back,
        })
    }

    /// What came of its calls is not asked for any more, or not for long. Now and then those of long ago go. Blocks.
    pub(crate) fn forget_journal(&self, session: SessionId) {
        let noted = self.journal.forget(session).and_then(|()| {
            let due = {
                let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
                let due = swept.elapsed() >= SWEEP_EVERY;
                if due {
                    *swept = Instant::now();
                }
                due
            };
            if due { self.sweep_journals() } else { Ok(()) }
        });
        if let Err(error) = noted {
            tracing::warn!(session.id = %session, %error, "a forgotten session's journal stays");
        }
    }

    fn sweep_journals(&self) -> std::io::Result<()> {
        let in_memory: HashSet<SessionId> = {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.keys().copied().collect()
        };
        let removed = self
            .journal
            .sweep(SystemTime::now(), |session| in_memory.contains(&session))?;
        if removed > 0 {
            tracing::info!(journal.count = removed, "removed journals of forgotten sessions");
        }
        Ok(())
    }

    /// How long a session without calls and shell stays in memory.
    pub(crate) fn stay(&self) -> Duration {
        let limits = &self.config.limits;
        let there = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).len();
        let crowded = limits.sessions / 2;
        if there <= crowded {
            return SESSION_IDLE;
        }
        let share = |sessions: usize| u32::try_from(sessions).unwrap_or(u32::MAX);
        let room = limits.sessions.saturating_sub(limits.calls + there);
        CROWDED_IDLE * share(room) / share(crowded).max(1)
    }

    /// Lets an idle session leave memory; `false` when something has come for it.
    pub(crate) fn leave(&self, session: SessionId, rx: &mpsc::Receiver<Request>) -> bool {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if !rx.is_empty() {
            return false;
        }
        sessions.remove(&session);
        true
    }
}

/// The way back to one peer.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    id: u64,
    frames: mpsc::Sender<FromExecutor>,
    /// Places for what is answered beside calls.
    asides: Arc<Semaphore>,
}

impl Link {
    fn new() -> (Self, mpsc::Receiver<FromExecutor>) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (frames, rx) = mpsc::channel(LINK_FRAMES);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let asides = Arc::new(Semaphore::new(ASIDES));
        (Self { id, frames, asides }, rx)
    }

    /// Sends a frame; a peer that is gone gets nothing and asks again some day.
    pub(crate) async fn send(&self, frame: FromExecutor) {
        let _ = put(&self.frames, frame).await;
    }

    /// Until there is room for one more answer beside those of calls. None when the peer is gone.
    async fn aside(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            place = Arc::clone(&self.asides).acquire_owned() => place.ok(),
            () = self.frames.closed() => None,
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.frames.is_closed()
    }

    pub(crate) async fn refuse(&self, session: SessionId, call_id: EventId, reason: Refusal) {
        let frame = FromExecutor::Refused {
            session,
            call_id,
            reason,
        };
        self.send(frame).await;
    }
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// Puts a frame into a queue; false when nobody takes it any more. A long one waits until all before it are taken.
async fn put(queue: &mpsc::Sender<FromExecutor>, frame: FromExecutor) -> bool {
    let room = if text_of(&frame) > LONG_BYTES {
        queue.max_capacity()
    } else {
        1
    };
    match queue.reserve_many(room).await {
        Ok(mut room) => room.next().map(|place| place.send(frame)).is_some(),
        Err(_) => false,
    }
}

/// Bytes of text in a frame, as far as it may be long.
fn text_of(frame: &FromExecutor) -> usize {
    let block = |block: &Block| match block {
        Block::Text { text } => text.len(),
        Block::Image {
            source: Source::Base64 { data, .. },
        } => data.len(),
        _ => 0,
    };
    let outcome = |outcome: &Outcome| outcome.content.iter().map(block).sum();
    match frame {
        FromExecutor::Result { outcome: told, .. }
        | FromExecutor::Settled {
            state: CallState::Done { outcome: told },
            ..
        } => outcome(told),
        FromExecutor::OutputPiece { piece: Some(piece), .. }
        | FromExecutor::Pack {
            answer: PackAnswer::Piece { piece, .. },
            ..
        } => piece.len(),
        _ => 0,
    }
}

/// Answers one link until it ends.
pub(crate) async fn serve(
    house: &Arc<House>,
    mut hello: watch::Receiver<Hello>,
    mut rx: mpsc::Receiver<ToExecutor>,
    tx: mpsc::Sender<FromExecutor>,
    cancel: &CancellationToken,
) {
    let first = hello.borrow_and_update().clone();
    if tx.send(FromExecutor::Hello(first)).await.is_err() {
        return;
    }
    let (link, mut outbox) = Link::new();
    // Two halves, so that a peer that only writes for a while and then only reads cannot stop us.
    let reader = async {
        while let Some(frame) = rx.recv().await {
            dispatch(house, &link, frame).await;
        }
    };
    let writer = async {
        loop {
            let frame = tokio::select! {
                frame = outbox.recv() => frame,
                // Its own news: said once more, to who takes it as such.
                Ok(()) = hello.changed() => Some(FromExecutor::Hello(hello.borrow_and_update().clone())),
            };
            let Some(frame) = frame else { break };
            if !put(&tx, frame).await {
                break;
            }
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = house.stop.cancelled() => {}
        () = reader => {}
        () = writer => {}
    }
    // What was answered before that is still said, as far as the peer keeps up.
    while let Ok(frame) = outbox.try_recv() {
        if tx.try_send(frame).is_err() {
            return;
        }
    }
}

async fn dispatch(house: &Arc<House>, link: &Link, frame: ToExecutor) {
    let (session, call_id, request) = match frame {
        ToExecutor::Call(call) => {
            let (session, call_id) = (call.session, call.call_id);
            let kib = u32::try_from(call.input.text().len() / 1024).unwrap_or(u32::MAX);
            let Ok(room) = Arc::clone(&house.inputs).try_acquire_many_owned(kib) else {
                return link.refuse(session, call_id, Refusal::Busy).await;
            };
            (
                session,
                Some(call_id),
                Request::Call(Box::new(call), link.clone(), room),
            )
        }
        ToExecutor::Settle(settle) => (
            settle.session,
            Some(settle.call_id),
            Request::Settle(settle, link.clone()),
        ),
        ToExecutor::Cancel {
            session,
            epoch,
            call_id,
        } => {
            let link = link.clone();
            (session, Some(call_id), Request::Cancel { epoch, call_id, link })
        }
        ToExecutor::Forget { session } => (session, None, Request::Forget),
        ToExecutor::CopyWorkspace { from, to } => return copy_workspace(house, link, from, to).await,
        ToExecutor::ReadOutput {
            session,
            call_id,
            offset,
        } => return read_output(house, link, (session, call_id), offset).await,
        ToExecutor::DropOutput { session, call_id } => {
            let Some(place) = link.aside().await else { return };
            let outputs = house.outputs.clone();
            house.tasks.spawn_blocking(move || {
                outputs.remove(session, call_id);
                drop(place);
            });
            return;
        }
        ToExecutor::Pack { pack, ask } => return packed(house, link, pack, ask).await,
        ToExecutor::Probe => return house.asked.notify_one(),
        ToExecutor::Ping { nonce } => return link.send(FromExecutor::Pong { nonce }).await,
        // Whoever carries the link acts on it.
        ToExecutor::Dismissed { .. } => return,
    };
    if house.post(session, request).is_err() {
        // Not worth a line each: who asks so much would fill the disk with them.
        tracing::debug!(session.id = %session, "too many requests wait");
        if let Some(call_id) = call_id {
            link.refuse(session, call_id, Refusal::Busy).await;
        }
    }
}

const FOLDERS_REFUSED: &str = "the owner of this machine does not offer its folders as a whole";

async fn copy_workspace(house: &Arc<House>, link: &Link, from: SessionId, to: SessionId) {
    let Ok(place) = Arc::clone(&house.copies_waiting).try_acquire_owned() else {
        let error = Some("too many copies wait".to_owned());
        return link.send(FromExecutor::WorkspaceCopied { to, error }).await;
    };
    let (house, link) = (Arc::clone(house), link.clone());
    house.tasks.clone().spawn(async move {
        let _place = place;
        if !house.config.policy.offers_folders() {
            let error = Some(FOLDERS_REFUSED.to_owned());
            return link.send(FromExecutor::WorkspaceCopied { to, error }).await;
        }
        let error = match house.copies.acquire().await {
            Err(_) => Some("the executor is closing".to_owned()),
            Ok(_permit) => {
                let (workspaces, limits) = (house.workspaces.clone(), house.config.limits.clone());
                let copied = tokio::task::spawn_blocking(move || copy::copy(&workspaces, &limits, from, to)).await;
                copied.map_err(|error| error.to_string()).and_then(|done| done).err()
            }
        };
        link.send(FromExecutor::WorkspaceCopied { to, error }).await;
    });
}

/// No business of the session's either: a folder is packed as it is at the moment.
async fn packed(house: &Arc<House>, link: &Link, pack: PackId, ask: PackAsk) {
    let Some(place) = link.aside().await else { return };
    let (house, link) = (Arc::clone(house), link.clone());
    let at = house.journal.executor_id;
    house.tasks.clone().spawn(async move {
        let _place = place;
        if !house.config.policy.offers_folders() {
            let message = FOLDERS_REFUSED.to_owned();
            let answer = PackAnswer::Failed { message };
            return link.send(FromExecutor::Pack { pack, at, answer }).await;
        }
        let _permit = match ask {
            PackAsk::Make { .. } | PackAsk::Unpack { .. } => house.copies.acquire().await.ok(),
            PackAsk::Read { .. } | PackAsk::Write { .. } | PackAsk::Drop => None,
        };
        let (packs, workspaces, limits) = (
            house.packs.clone(),
            house.workspaces.clone(),
            house.config.limits.clone(),
        );
        let work = move || packs.answer(pack, ask, &workspaces, &limits);
        let done = tokio::task::spawn_blocking(work).await;
        let answer = done.unwrap_or_else(|error| PackAnswer::Failed {
            message: error.to_string(),
        });
        link.send(FromExecutor::Pack { pack, at, answer }).await;
    });
}

/// No business of the session's: an output is complete before anybody knows of it.
async fn read_output(house: &Arc<House>, link: &Link, (session, call_id): (SessionId, EventId), offset: u64) {
    let Some(place) = link.aside().await else { return };
    let (outputs, link) = (house.outputs.clone(), link.clone());
    house.tasks.spawn(async move {
        let _place = place;
        let read = tokio::task::spawn_blocking(move || outputs.read(session, call_id, offset)).await;
        let piece = read.map_err(std::io::Error::other).flatten().unwrap_or_else(|error| {
            tracing::warn!(session.id = %session, call.id = %call_id, %error, "a long output cannot be read");
            None
        });
        link.send(FromExecutor::OutputPiece {
            session,
            call_id,
            offset,
            piece: piece.map(|bytes| STANDARD.encode(bytes)),
        })
        .await;
    });
}
