//! Trunks: lines to machines that dialled another process of the cluster (DESIGN §8).
//!
//! The registry names the process that holds a machine's tunnel and where that process is reached. Whoever needs the machine dials
//! there, shows a pass that only somebody who writes the registry can make, and has a link like any other: the same frames, over
//! the same wire. The process at the other end hands questions on to its link and answers back. Nothing is stored on the way: a
//! trunk that breaks leaves its calls to be settled, over the next one, to whatever process the machine dials then.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use perennial_engine::ports::{Executor, Executors, Hearer, StoreError};
use perennial_schema::frame::{FromExecutor, Refusal, ToExecutor};
use perennial_schema::{ExecutorId, WorkspaceId};
use perennial_tunnel::{End, Ends, Lane, carry, opener};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::exchange::{AttachError, Exchange};
use crate::link::{Guest, Link, Way, Wire};
use crate::pending::{NoPlace, Reply};
use crate::{limits, streams};

/// Reaches machines that dialled in elsewhere.
pub(crate) struct Trunks {
    registry: Arc<dyn Executors>,
    desks: Mutex<HashMap<ExecutorId, Desk>>,
}

/// What is known of the way to a machine.
#[derive(Default)]
struct Desk {
    /// Held by whoever dials: one trunk at a time is enough.
    dialling: Weak<tokio::sync::Mutex<()>>,
    /// Why the last attempt failed, for who waited in vain.
    trouble: Option<String>,
}

/// Why there is no trunk.
#[derive(Debug, thiserror::Error)]
enum NoTrunk {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the process that holds its tunnel cannot be reached at {url}: {error}")]
    Unreached { url: String, error: Box<Error> },
    #[error("{0:?} is not where a process is reached")]
    BadUrl(String),
    #[error(transparent)]
    Attach(#[from] AttachError),
}

impl std::fmt::Debug for Trunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trunks").finish_non_exhaustive()
    }
}

impl Trunks {
    pub(crate) fn new(registry: Arc<dyn Executors>) -> Self {
        Self {
            registry,
            desks: Mutex::default(),
        }
    }

    /// Looks for a machine and dials to where it is, again and again: one that was found may be lost before anybody noticed. Returns
    /// when there is no such machine in the workspace; who waits for it bounds the time.
    pub(crate) async fn seek(&self, exchange: &Exchange, executor: ExecutorId, workspace: WorkspaceId) {
        for pause in pauses() {
            if self.try_once(exchange, executor, workspace).await.is_break() {
                return;
            }
            sleep(pause).await;
        }
    }

    /// One look and one attempt, if it is not attached; `Break` when there is nothing to look for.
    pub(crate) async fn try_once(
        &self,
        exchange: &Exchange,
        executor: ExecutorId,
        workspace: WorkspaceId,
    ) -> ControlFlow<()> {
        use ControlFlow::{Break, Continue};
        let dialling = self.desk(executor);
        let _alone = dialling.lock().await;
        if exchange.live(executor).is_some() {
            return Continue(());
        }
        let found = match self.registry.executor(workspace, executor).await {
            Ok(Some(found)) => found,
            Ok(None) => return Break(()),
            Err(error) => {
                self.trouble(executor, Some(error.to_string()));
                return Continue(());
            }
        };
        let (Some(url), Some(_)) = (&found.node_url, found.node) else {
            self.trouble(executor, None);
            return Continue(());
        };
        match self.dial(exchange, &found, url).await {
            Ok(()) => {
                self.trouble(executor, None);
                Continue(())
            }
            Err(error) => {
                tracing::debug!(executor.id = %executor, %error, "no trunk yet");
                self.trouble(executor, Some(error.to_string()));
                Continue(())
            }
        }
    }

    /// Why the way to a machine that is connected somewhere is not there.
    pub(crate) fn why(&self, executor: ExecutorId) -> Option<String> {
        let desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        desks.get(&executor).and_then(|desk| desk.trouble.clone())
    }

    /// Whether a machine is in the registry, of whatever workspace.
    pub(crate) async fn knows(&self, executor: ExecutorId) -> Option<WorkspaceId> {
        let found = self.registry.holder(executor).await.ok().flatten();
        found.map(|executor| executor.workspace)
    }

    fn desk(&self, executor: ExecutorId) -> Arc<tokio::sync::Mutex<()>> {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        if desks.len() >= limits::LINKS {
            desks.retain(|_, desk| desk.dialling.strong_count() > 0);
        }
        let desk = desks.entry(executor).or_default();
        if let Some(dialling) = desk.dialling.upgrade() {
            return dialling;
        }
        let dialling = Arc::default();
        desk.dialling = Arc::downgrade(&dialling);
        dialling
    }

    fn trouble(&self, executor: ExecutorId, why: Option<String>) {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(desk) = desks.get_mut(&executor) {
            desk.trouble = why;
        }
    }

    async fn dial(&self, exchange: &Exchange, whose: &Executor, url: &str) -> Result<(), NoTrunk> {
        let pass = self.registry.mint_pass(whose.id).await?;
        let bad = || NoTrunk::BadUrl(url.to_owned());
        let request = request(url, whose, pass.expose()).ok_or_else(bad)?;
        let socket = connect(request).await.map_err(|error| NoTrunk::Unreached {
            url: url.to_owned(),
            error: Box::new(error),
        })?;
        let (to, outgoing) = mpsc::channel(limits::LINE_FRAMES);
        let (incoming, mut from) = mpsc::channel(limits::LINE_FRAMES);
        let (lanes, openings) = opener();
        let ends = Ends {
            outgoing,
            incoming,
            ping: Some(|nonce| ToExecutor::Ping { nonce }),
            beat: perennial_tunnel::limits::BEAT,
            openings: Some(openings),
            opened: None,
        };
        let carrying = carry(messages(socket), End::Dialled, ends);
        let id = whose.id;
        exchange.watch_over(async move {
            if let Err(error) = carrying.await {
                tracing::info!(executor.id = %id, %error, "a trunk is lost");
            }
        });
        let hello = exchange.hello(&mut from).await?;
        if hello.executor_id != whose.id {
            return Err(AttachError::NotHello.into());
        }
        let guest = Guest {
            workspace: whose.workspace,
            generation: whose.generation,
            kind: whose.kind,
            way: Way::Trunk,
        };
        let wire = Wire {
            frames: to,
            lanes: Some(lanes),
        };
        let link = exchange.admit(hello, wire, from, Some(guest))?;
        exchange.watch_over(async move { hang_up_idle(&link, limits::TRUNK_IDLE).await });
        Ok(())
    }
}

/// A trunk that nobody needs makes room; whoever needs it again dials again. A call that begins as it is cut is settled like any
/// other on a line that was lost.
async fn hang_up_idle(link: &Link, idle: Duration) {
    let mut looks = interval(idle / 2);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut quiet = 0;
    while quiet < 3 {
        tokio::select! {
            () = link.ended() => return,
            _ = looks.tick() => {}
        }
        quiet = if link.is_idle() { quiet + 1 } else { 0 };
    }
    link.cut();
}

fn request(url: &str, whose: &Executor, pass: &str) -> Option<Request> {
    let socket = match url.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        _ => return None,
    };
    let (root, id, generation) = (socket.trim_end_matches('/'), whose.id, whose.generation);
    let uri = format!("{root}/v1/executors/{id}/line?generation={generation}");
    let mut request = uri.into_client_request().ok()?;
    let mut pass = HeaderValue::from_str(&format!("Bearer {pass}")).ok()?;
    pass.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, pass);
    Some(request)
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(limits::TRUNK_PAUSE)
        .with_max_delay(limits::TRUNK_PAUSE_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(request: Request) -> Result<Socket, Error> {
    let bytes = limits::TUNNEL_MESSAGE_BYTES;
    let config = WebSocketConfig::default()
        .read_buffer_size(limits::TUNNEL_READ_BYTES)
        .max_message_size(Some(bytes))
        .max_frame_size(Some(bytes));
    let dialling = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
    match timeout(limits::TRUNK_DIAL, Box::pin(dialling)).await {
        Ok(dialled) => dialled.map(|(socket, _)| socket),
        Err(_) => Err(Error::Io(io::ErrorKind::TimedOut.into())),
    }
}

/// Binary messages as bytes; what else a WebSocket carries is its own business.
fn messages(socket: Socket) -> impl Stream<Item = io::Result<Bytes>> + Sink<Bytes, Error = io::Error> + Send + 'static {
    socket
        .with(async |bytes: Bytes| Ok::<_, Error>(Message::Binary(bytes)))
        .sink_map_err(io::Error::other)
        .filter_map(async |message| match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Text(_)) => Some(Err(io::ErrorKind::InvalidData.into())),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
}

/// The other end: another process's questions to a machine whose tunnel is held here, handed on in order, until either hangs up.
pub(crate) async fn lend<S>(exchange: &Exchange, link: &Arc<Link>, socket: S)
where
    S: Stream<Item = io::Result<Bytes>> + Sink<Bytes, Error = io::Error> + Send + 'static,
{
    let (answers, outgoing) = mpsc::channel(limits::LINE_FRAMES);
    let (incoming, asked) = mpsc::channel(limits::LINE_FRAMES);
    let (opened, lanes) = mpsc::channel(perennial_tunnel::limits::LANES_WAITING);
    let ends = Ends {
        outgoing,
        incoming,
        ping: None,
        beat: perennial_tunnel::limits::BEAT,
        openings: None,
        opened: Some(opened),
    };
    let carrying = carry(socket, End::Accepted, ends);
    let streaming = hand_on_streams(exchange, link, lanes);
    let ((), (), ended) = tokio::join!(hand_on(link, asked, answers), streaming, carrying);
    if let Err(error) = ended {
        tracing::info!(executor.id = %link.hello.executor_id, %error, "another process's trunk is lost");
    }
}

/// Ends with the link or the line, which holds the other half of `lanes`.
async fn hand_on_streams(exchange: &Exchange, link: &Arc<Link>, mut lanes: mpsc::Receiver<Lane>) {
    let mut handed = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = link.ended() => break,
            Some(()) = handed.next(), if !handed.is_empty() => {}
            lane = lanes.recv() => match lane {
                Some(lane) => handed.push(streams::hand_on(exchange, link, lane)),
                None => break,
            },
        }
    }
}

/// Ends with the link or the questions. Who still waits for an answer then asks anew, elsewhere.
async fn hand_on(link: &Arc<Link>, mut asked: mpsc::Receiver<ToExecutor>, answers: mpsc::Sender<FromExecutor>) {
    let mut cards = link.cards();
    let mut hello = link.hello.clone();
    hello.card = cards.borrow_and_update().clone();
    if answers.send(FromExecutor::Hello(hello.clone())).await.is_err() {
        return;
    }
    let mut waiting = JoinSet::new();
    loop {
        let frame = tokio::select! {
            () = link.ended() => break,
            Some(_) = waiting.join_next(), if !waiting.is_empty() => continue,
            Ok(()) = cards.changed() => {
                hello.card = cards.borrow_and_update().clone();
                let _ = answers.send(FromExecutor::Hello(hello.clone())).await;
                continue;
            }
            frame = asked.recv() => frame,
        };
        let Some(frame) = frame else { break };
        let Some(answer) = ask(link, frame, &answers).await else {
            continue;
        };
        // Who asks and does not listen is not listened to.
        if waiting.len() >= limits::PENDING_PER_LINK {
            waiting.join_next().await;
        }
        let answers = answers.clone();
        waiting.spawn(async move {
            if let Some(answer) = answer.await {
                // Who asked may have gone.
                let _ = answers.send(answer).await;
            }
        });
    }
}

/// What will be answered; none when the link ends first.
type Answer = Pin<Box<dyn Future<Output = Option<FromExecutor>> + Send>>;

fn now(answer: FromExecutor) -> Answer {
    Box::pin(std::future::ready(Some(answer)))
}

/// One question, asked of a link of this process; what a call prints meanwhile is not repeated.
pub(crate) async fn ask_once(link: &Arc<Link>, frame: ToExecutor) -> Option<FromExecutor> {
    let (aside, _) = mpsc::channel(1);
    ask(link, frame, &aside).await?.await
}

/// Sends a question on; how its answer will be told, if it has one.
async fn ask(link: &Arc<Link>, frame: ToExecutor, answers: &mpsc::Sender<FromExecutor>) -> Option<Answer> {
    match &frame {
        ToExecutor::Call(call) => {
            let (key, epoch, hash) = ((call.session, call.call_id), call.epoch, call.args_hash.clone());
            let hearer = call.progress.then(|| repeat(key, answers.clone()));
            ask_of_call(link, frame, key, (epoch, &hash), hearer).await
        }
        ToExecutor::Settle(settle) => {
            let (key, epoch, hash) = ((settle.session, settle.call_id), settle.epoch, settle.args_hash.clone());
            ask_of_call(link, frame, key, (epoch, &hash), None).await
        }
        ToExecutor::ReadOutput {
            session,
            call_id,
            offset,
        } => {
            let (session, call_id, offset) = (*session, *call_id, *offset);
            let told = link.pending().wait_piece((session, call_id), offset);
            let told = told.ok()?;
            link.send(frame).await.ok()?;
            Some(Box::pin(async move {
                let piece = timeout(limits::PIECE_WAIT, told).await.ok()?.ok()?;
                Some(FromExecutor::OutputPiece {
                    session,
                    call_id,
                    offset,
                    piece,
                })
            }))
        }
        ToExecutor::Cancel { .. } | ToExecutor::Forget { .. } | ToExecutor::DropOutput { .. } => {
            // A link that is gone needs no telling.
            let _ = link.send(frame).await;
            None
        }
        ToExecutor::Probe => {
            let mut cards = link.cards();
            cards.mark_unchanged();
            link.send(frame).await.ok()?;
            let link = Arc::clone(link);
            Some(Box::pin(async move {
                timeout(limits::PROBE_WAIT, cards.changed()).await.ok()?.ok()?;
                Some(FromExecutor::Hello(link.hello_now()))
            }))
        }
        ToExecutor::Ping { nonce } => Some(now(FromExecutor::Pong { nonce: *nonce })),
        // A machine that dialled in has no folders of sessions, and it is dismissed by its own server alone.
        ToExecutor::CopyWorkspace { .. } | ToExecutor::Pack { .. } | ToExecutor::Dismissed { .. } => None,
    }
}

/// Says again what a call prints, to whoever asked for it, as far as they listen.
fn repeat((session, call_id): crate::pending::CallKey, answers: mpsc::Sender<FromExecutor>) -> Hearer {
    Hearer(Arc::new(move |text| {
        let text = text.to_owned();
        let _ = answers.try_send(FromExecutor::Progress { session, call_id, text });
    }))
}

async fn ask_of_call(
    link: &Arc<Link>,
    frame: ToExecutor,
    key: crate::pending::CallKey,
    (epoch, args_hash): (u64, &str),
    hearer: Option<Hearer>,
) -> Option<Answer> {
    let waiting = link.pending().wait_call(key, epoch, args_hash);
    let refused = |reason| {
        let (session, call_id) = key;
        Some(now(FromExecutor::Refused {
            session,
            call_id,
            reason,
        }))
    };
    let told: oneshot::Receiver<Reply> = match waiting {
        Ok(told) => told,
        Err(NoPlace::OtherArguments) => return refused(Refusal::OtherArguments),
        Err(NoPlace::Full) => return refused(Refusal::Busy),
        Err(NoPlace::Gone) => return None,
    };
    if let Some(hearer) = hearer {
        link.pending().hear(key, hearer);
    }
    link.send(frame).await.ok()?;
    Some(Box::pin(async move {
        let (session, call_id) = key;
        Some(match told.await.ok()? {
            Reply::Result(outcome) => FromExecutor::Result {
                session,
                call_id,
                outcome,
            },
            Reply::State(state) => FromExecutor::Settled {
                session,
                call_id,
                state,
            },
            Reply::Refused(reason) => FromExecutor::Refused {
                session,
                call_id,
                reason,
            },
        })
    }))
}

#[cfg(test)]
mod tests {
    use perennial_schema::frame::{Card, Hello, PROTOCOL_VERSION};
    use perennial_schema::{EventId, JournalId, SessionId};
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::*;

    fn guest(generation: u64, way: Way) -> Guest {
        Guest {
            workspace: WorkspaceId::from_uuid(Uuid::from_u128(1)),
            generation,
            kind: perennial_engine::ports::ExecutorKind::Device,
            way,
        }
    }

    fn link() -> (Arc<Link>, mpsc::Receiver<ToExecutor>) {
        let hello = Hello {
            version: PROTOCOL_VERSION,
            executor_id: ExecutorId::from_uuid(Uuid::from_u128(2)),
            journal_id: JournalId::from_uuid(Uuid::from_u128(3)),
            card: Card::default(),
        };
        let (to, outgoing) = mpsc::channel(4);
        let guest = guest(1, Way::Trunk);
        let wire = Wire {
            frames: to,
            lanes: None,
        };
        (
            Link::new(hello, 1, Some(guest), wire, CancellationToken::new()),
            outgoing,
        )
    }

    #[test]
    fn a_trunk_never_takes_the_place_of_its_tunnel() {
        for (there, comes, refused) in [
            ((2, Way::Tunnel), (2, Way::Trunk), true),
            ((2, Way::Trunk), (2, Way::Tunnel), false),
            ((2, Way::Trunk), (2, Way::Trunk), false),
            ((2, Way::Tunnel), (3, Way::Trunk), false),
            ((3, Way::Trunk), (2, Way::Tunnel), true),
        ] {
            let (there, comes) = (guest(there.0, there.1), guest(comes.0, comes.1));
            assert_eq!(there.outranks(comes), refused, "{there:?} {comes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_trunk_hangs_up_when_nobody_waits() {
        let idle = Duration::from_secs(60);
        let (link, _outgoing) = link();
        let key = (
            SessionId::from_uuid(Uuid::from_u128(4)),
            EventId::from_uuid(Uuid::from_u128(5)),
        );
        let waiting = link.pending().wait_call(key, 1, "hash").unwrap();
        let watched = timeout(idle * 10, hang_up_idle(&link, idle)).await;
        assert!(watched.is_err() && link.is_live(), "somebody waits");
        drop(waiting);
        timeout(idle * 2, hang_up_idle(&link, idle)).await.unwrap();
        assert!(!link.is_live());
    }

    #[test]
    fn only_http_is_dialled() {
        let whose = Executor {
            id: ExecutorId::from_uuid(Uuid::from_u128(2)),
            workspace: WorkspaceId::from_uuid(Uuid::from_u128(1)),
            name: "laptop".into(),
            kind: perennial_engine::ports::ExecutorKind::Device,
            card: None,
            hash: perennial_schema::ExecutorSecretHash([0; 32]),
            generation: 7,
            node: None,
            node_url: None,
            online: true,
            last_seen_at: None,
            created_at: perennial_schema::Timestamp::from_micros(0),
        };
        let dialled = request("https://node/", &whose, "xp_1").unwrap();
        let uri = dialled.uri().to_string();
        assert!(
            uri.starts_with("wss://node/v1/executors/exec_") && uri.ends_with("/line?generation=7"),
            "{uri}"
        );
        assert_eq!(dialled.headers()["authorization"], "Bearer xp_1");
        for bad in ["node:7340", "file:///etc/passwd", "http://no de"] {
            assert!(request(bad, &whose, "xp_1").is_none(), "{bad}");
        }
    }
}
