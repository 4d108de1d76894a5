//! The exchange: which executors are on the line, and the `Router` port over them. How calls travel is in `dispatch`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use perennial_egress::{Client, Guard, SystemLookup};
use perennial_engine::ports::{
    CallError, Executors, Hearer, HouseTools, Mounted, Order, Placement, Router, SessionKey, Settled, ToolSpec,
};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::frame::{Card, FromExecutor, Hello, PROTOCOL_VERSION, PackAnswer, PackAsk, ToExecutor};
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, ExecutorId, PackId, SessionId, WorkspaceId};
use perennial_tunnel::Opener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::link::{Guest, Link, Wire};
use crate::mcp::Mounts;
use crate::policy::Reach;
use crate::sandbox::Claims;
use crate::trunk::Trunks;
use crate::{catalogue, limits};

/// What whoever starts the server decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tools may change this host without asking even when nothing contains them (`--allow-local`).
    pub allow_local: bool,
    /// How long a call, or a question about one, waits for an executor that is away.
    pub attach_wait: Duration,
    /// The same for what became of a call on a machine that dialled in: its network may be away for a while.
    pub guest_wait: Duration,
    /// How long a new link may take to say hello.
    pub hello_wait: Duration,
    /// Vets what models and sandboxes want of the web.
    pub guard: Guard,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow_local: false,
            attach_wait: limits::ATTACH_WAIT,
            guest_wait: limits::GUEST_WAIT,
            hello_wait: limits::HELLO_WAIT,
            guard: Guard::new(Arc::new(SystemLookup)),
        }
    }
}

/// A link that did not become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// Nothing came in time.
    #[error("the executor did not introduce itself in time")]
    Silent,
    /// The other end hung up first.
    #[error("the executor hung up before it introduced itself")]
    HungUp,
    /// Something else came first.
    #[error("the first frame of an executor must be its hello")]
    NotHello,
    /// It speaks a newer protocol than we do.
    #[error(
        "the executor speaks version {theirs} of the protocol and this router {PROTOCOL_VERSION}: upgrade the router"
    )]
    TooNew {
        /// What it said.
        theirs: u32,
    },
    /// A newer connection of the same executor is there already.
    #[error("a newer connection of this executor has its place")]
    Replaced,
    /// Too many executors.
    #[error("too many executors are attached")]
    Full,
    /// The exchange is closing.
    #[error("the router is shutting down")]
    Closing,
}

/// Which links there are.
#[derive(Debug, Default)]
struct Board {
    links: HashMap<ExecutorId, Arc<Link>>,
    /// The executor of this host that takes new calls: the one attached last.
    hands: Option<ExecutorId>,
    generation: u64,
}

/// Tool calls to attached executors.
pub struct Exchange {
    settings: Settings,
    board: Arc<Mutex<Board>>,
    /// Ticks whenever an executor attaches, or is not attached any more.
    attached: watch::Sender<u64>,
    /// Has sandboxes made, where anybody may.
    pub(crate) sandboxes: OnceLock<Arc<Claims>>,
    /// What this process runs itself, if anything.
    pub(crate) house: OnceLock<Arc<dyn HouseTools>>,
    /// Fetches pages; made when somebody wants one.
    pub(crate) web: OnceLock<Result<Client, String>>,
    /// MCP servers of agents; unset where they are not reached.
    pub(crate) mounts: OnceLock<Arc<Mounts>>,
    readers: TaskTracker,
    /// Where machines are that dialled in elsewhere; unset where nobody can.
    trunks: OnceLock<Trunks>,
    /// What executors are; unset where none dials in.
    pub(crate) registry: OnceLock<Arc<dyn Executors>>,
    closing: CancellationToken,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("settings", &self.settings)
            .field("board", &self.board)
            .finish_non_exhaustive()
    }
}

impl Exchange {
    /// An exchange with nobody on the line.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            board: Arc::default(),
            attached: watch::Sender::new(0),
            sandboxes: OnceLock::new(),
            house: OnceLock::new(),
            web: OnceLock::new(),
            mounts: OnceLock::new(),
            readers: TaskTracker::new(),
            trunks: OnceLock::new(),
            registry: OnceLock::new(),
            closing: CancellationToken::new(),
        }
    }

    /// From now on, machines that dialled another process of the cluster are reached through it.
    pub fn join(&self, registry: Arc<dyn Executors>) {
        // Said once, by whoever starts this process.
        let _ = self.trunks.set(Trunks::new(registry.clone()));
        self.know(registry);
    }

    pub(crate) fn trunks(&self) -> Option<&Trunks> {
        self.trunks.get()
    }

    /// Takes a link into use once its executor said hello. An older link of the same executor is cut.
    ///
    /// # Errors
    /// When no hello comes, or there is no room.
    pub async fn attach(
        &self,
        tx: mpsc::Sender<ToExecutor>,
        rx: mpsc::Receiver<FromExecutor>,
    ) -> Result<ExecutorId, AttachError> {
        self.attach_with(tx, rx, None).await
    }

    /// The same of one that takes further streams ([`crate::socket::home_lanes`]).
    ///
    /// # Errors
    /// As above.
    pub async fn attach_with(
        &self,
        tx: mpsc::Sender<ToExecutor>,
        mut rx: mpsc::Receiver<FromExecutor>,
        lanes: Option<Opener>,
    ) -> Result<ExecutorId, AttachError> {
        let hello = self.hello(&mut rx).await?;
        let wire = Wire { frames: tx, lanes };
        self.admit(hello, wire, rx, None).map(|link| link.hello.executor_id)
    }

    /// Takes the link of an executor that has introduced itself into use.
    pub(crate) fn admit(
        &self,
        hello: Hello,
        wire: Wire,
        rx: mpsc::Receiver<FromExecutor>,
        guest: Option<Guest>,
    ) -> Result<Arc<Link>, AttachError> {
        let link = self.enter(hello, wire, guest)?;
        let reading = Arc::clone(&link);
        let (board, attached) = (Arc::clone(&self.board), self.attached.clone());
        self.readers.spawn(async move {
            reading.read(rx).await;
            leave(&board, &reading);
            tick(&attached);
        });
        tick(&self.attached);
        Ok(link)
    }

    /// Cuts every link and waits for their readers.
    pub async fn close(&self) {
        self.closing.cancel();
        self.readers.close();
        self.readers.wait().await;
    }

    /// Vets what leaves.
    pub(crate) const fn guard(&self) -> &Guard {
        &self.settings.guard
    }

    /// A task that ends with its link, and is waited for.
    pub(crate) fn watch_over(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.readers.spawn(task);
    }

    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Whether links end because everything does.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// What an executor says first.
    pub(crate) async fn hello(&self, rx: &mut mpsc::Receiver<FromExecutor>) -> Result<Hello, AttachError> {
        match timeout(self.settings.hello_wait, rx.recv()).await {
            Err(_) => Err(AttachError::Silent),
            Ok(None) => Err(AttachError::HungUp),
            Ok(Some(FromExecutor::Hello(hello))) if hello.version > PROTOCOL_VERSION => {
                Err(AttachError::TooNew { theirs: hello.version })
            }
            Ok(Some(FromExecutor::Hello(hello))) => Ok(hello),
            Ok(Some(_)) => Err(AttachError::NotHello),
        }
    }

    fn enter(&self, hello: Hello, wire: Wire, guest: Option<Guest>) -> Result<Arc<Link>, AttachError> {
        if self.closing.is_cancelled() {
            return Err(AttachError::Closing);
        }
        let executor = hello.executor_id;
        let mut board = self.board();
        if board.links.len() >= limits::LINKS && !board.links.contains_key(&executor) {
            return Err(AttachError::Full);
        }
        // Two connections of one executor may get here in either order.
        let newest = board.links.get(&executor).and_then(|link| link.guest);
        if newest.is_some_and(|newest| guest.is_none_or(|guest| newest.outranks(guest))) {
            return Err(AttachError::Replaced);
        }
        board.generation += 1;
        let link = Link::new(hello, board.generation, guest, wire, self.closing.child_token());
        if let Some(older) = board.links.insert(executor, Arc::clone(&link)) {
            older.cut();
        }
        if guest.is_none() {
            board.hands = Some(executor);
        }
        tracing::info!(
            executor.id = %executor,
            journal.id = %link.hello.journal_id,
            executor.contained = link.hello.card.contained,
            link.generation = link.generation,
            "executor attached"
        );
        Ok(link)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }

    /// The link of an executor that may work for a workspace, waiting a bounded time for it to come back.
    pub(crate) async fn line_of(&self, executor: ExecutorId, workspace: WorkspaceId) -> Option<Arc<Link>> {
        self.line_to(self.settings.attach_wait, executor, workspace).await
    }

    /// The same for a call that may run there, waiting as long as the way to that executor may take to come back.
    pub(crate) async fn line_back(&self, order: &Order) -> Option<Arc<Link>> {
        let patience = match order.environment.executor() {
            Some(_) => self.settings.guest_wait,
            None => self.settings.attach_wait,
        };
        let (executor, workspace) = (order.placement.executor_id, order.key.workspace);
        self.line_to(patience, executor, workspace).await
    }

    /// Wherever it is attached: what is not attached here is sought elsewhere meanwhile.
    async fn line_to(&self, patience: Duration, executor: ExecutorId, workspace: WorkspaceId) -> Option<Arc<Link>> {
        let attached = self.line(patience, |board| {
            board.live(executor).filter(|link| link.serves(workspace))
        });
        let Some(trunks) = self.trunks.get() else {
            return attached.await;
        };
        tokio::pin!(attached);
        tokio::select! {
            // One that is attached needs no look at the registry.
            biased;
            link = &mut attached => return link,
            () = trunks.seek(self, executor, workspace) => {}
        }
        attached.await
    }

    /// The same if it is attached, or can be reached at once through where it is.
    pub(crate) async fn line_now(&self, executor: ExecutorId, workspace: WorkspaceId) -> Option<Arc<Link>> {
        if self.live(executor).is_none()
            && let Some(trunks) = self.trunks.get()
        {
            let attempt = trunks.try_once(self, executor, workspace);
            let _ = timeout(limits::TRUNK_DIAL, attempt).await;
        }
        self.live(executor).filter(|link| link.serves(workspace))
    }

    /// Why the process that holds its tunnel is not reached, if that is so.
    pub(crate) fn trunk_trouble(&self, executor: ExecutorId) -> Option<String> {
        self.trunks.get()?.why(executor)
    }

    /// Why a machine that dialled in is not reached.
    pub(crate) fn unreached(&self, executor: ExecutorId) -> String {
        match self.trunk_trouble(executor) {
            Some(why) => format!("executor {executor} is not reached from here: {why}"),
            None => format!("executor {executor} is not connected: run `perennial connect` on its machine"),
        }
    }

    /// The workspace of a machine in the registry, wherever it dialled in.
    pub(crate) async fn guest_of(&self, executor: ExecutorId) -> Option<WorkspaceId> {
        if let Some(guest) = self.live(executor).and_then(|link| link.guest) {
            return Some(guest.workspace);
        }
        self.trunks.get()?.knows(executor).await
    }

    /// The same of an executor of this host.
    pub(crate) async fn home_line_of(&self, executor: ExecutorId) -> Option<Arc<Link>> {
        let patience = self.settings.attach_wait;
        self.line(patience, |board| {
            board.live(executor).filter(|link| link.guest.is_none())
        })
        .await
    }

    /// The link that takes new calls, waiting a bounded time for one.
    pub(crate) async fn hands(&self) -> Option<Arc<Link>> {
        self.line(self.settings.attach_wait, Board::hands).await
    }

    async fn line(&self, patience: Duration, find: impl Fn(&Board) -> Option<Arc<Link>>) -> Option<Arc<Link>> {
        let mut attached = self.attached.subscribe();
        let found = timeout(patience, async {
            loop {
                attached.borrow_and_update();
                if let Some(link) = find(&self.board()) {
                    return Some(link);
                }
                tokio::select! {
                    () = self.closing.cancelled() => return None,
                    changed = attached.changed() => changed.ok()?,
                }
            }
        });
        found.await.ok().flatten()
    }

    /// Ticks whenever an executor attaches, or is not attached any more.
    pub(crate) fn attachments(&self) -> watch::Receiver<u64> {
        self.attached.subscribe()
    }

    /// The link of an executor that is attached now.
    pub(crate) fn live(&self, executor: ExecutorId) -> Option<Arc<Link>> {
        self.board().live(executor)
    }

    pub(crate) fn all_links(&self) -> Vec<Arc<Link>> {
        self.board().links.values().cloned().collect()
    }

    /// Nobody on the line counts as uncontained: a tool then asks rather than runs on a host nobody vouched for.
    pub(crate) fn reach(&self, environment: &EnvironmentConfig) -> Reach {
        // What we make ourselves contains, whether it is made already or not.
        if self.sandboxes_of(environment).is_some() {
            return Reach::Bounded;
        }
        let board = self.board();
        let link = match environment.executor() {
            Some(executor) => board.live(executor),
            None => board.hands(),
        };
        drop(board);
        self.reach_of(link.as_deref())
    }

    pub(crate) fn reach_of(&self, link: Option<&Link>) -> Reach {
        let contained = link.is_some_and(|link| link.card().contained);
        if contained || self.settings.allow_local {
            Reach::Bounded
        } else {
            Reach::Host
        }
    }

    /// What the executor of this host says of itself.
    pub(crate) fn home_card(&self) -> Option<Card> {
        self.board().hands().map(|link| link.card().clone())
    }
}

impl Board {
    fn hands(&self) -> Option<Arc<Link>> {
        self.live(self.hands?)
    }

    fn live(&self, executor: ExecutorId) -> Option<Arc<Link>> {
        self.links.get(&executor).filter(|link| link.is_live()).cloned()
    }
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    // Nothing panics while it holds this lock; a poisoned board would still be whole.
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tick(ticks: &watch::Sender<u64>) {
    ticks.send_modify(|ticks| *ticks = ticks.wrapping_add(1));
}

/// Takes a link off the board unless a newer one has its place already.
fn leave(board: &Mutex<Board>, link: &Link) {
    let executor = link.hello.executor_id;
    let mut board = lock(board);
    let current = board
        .links
        .get(&executor)
        .is_some_and(|now| now.generation == link.generation);
    if current {
        board.links.remove(&executor);
        // `hands` keeps naming it: a call placed while it is away waits for it, or for whoever attaches next.
    }
    drop(board);
    tracing::info!(
        executor.id = %executor,
        link.generation = link.generation,
        link.replaced = !current,
        "executor link ended"
    );
}

#[async_trait]
impl Router for Exchange {
    async fn catalogue(
        &self,
        key: SessionKey,
        agent: &AgentSnapshot,
        environment: &EnvironmentConfig,
    ) -> Vec<ToolSpec> {
        let tools = catalogue::build(agent, environment, &self.hands_of(key, agent, environment).await);
        self.with_house(agent, tools)
    }

    async fn mounted(&self, key: SessionKey, agent: &AgentSnapshot, environment: &EnvironmentConfig) -> Mounted {
        self.mounted_of(key, agent, environment).await
    }

    fn tools_changed(&self, key: SessionKey) -> bool {
        self.mounts.get().is_some_and(|mounts| mounts.changed(key))
    }

    async fn place(&self, key: SessionKey, environment: &EnvironmentConfig) -> Result<Placement, String> {
        self.place_call(key, environment).await
    }

    async fn place_to_look(
        &self,
        key: SessionKey,
        environment: &EnvironmentConfig,
        _at: Option<ExecutorId>,
    ) -> Result<Placement, String> {
        self.know_hosts().await;
        if self.sandboxes_of(environment).is_some() && !self.has_sandbox(key.session).await {
            return Err("it has no sandbox now, and a fresh one has no files".into());
        }
        self.place_call(key, environment).await
    }

    async fn place_at_once(&self, key: SessionKey, environment: &EnvironmentConfig) -> Option<Placement> {
        match self.sandboxes_of(environment) {
            Some((claims, _)) => self.in_sandbox_at_once(claims, key).await.map(|link| link.placement()),
            None => self.place_call(key, environment).await.ok(),
        }
    }

    fn stands(&self, placement: Placement) -> bool {
        let link = self.board().live(placement.executor_id);
        link.is_none_or(|link| link.placement() == placement)
    }

    async fn hand_on(&self, at: ExecutorId, question: ToExecutor) -> Option<FromExecutor> {
        self.ask_for_others(at, question).await
    }

    fn is_home(&self, executor: ExecutorId) -> bool {
        let board = self.board();
        let link = board.links.get(&executor);
        board.hands == Some(executor) || link.is_some_and(|link| link.guest.is_none())
    }

    async fn call(&self, order: Order) -> Result<Outcome, CallError> {
        self.dispatch(order, None).await
    }

    async fn call_aloud(&self, order: Order, hearer: Hearer) -> Result<Outcome, CallError> {
        self.dispatch(order, Some(hearer)).await
    }

    async fn settle(&self, order: Order) -> Result<Settled, CallError> {
        self.ask(order).await
    }

    async fn look_at(&self, workspace: WorkspaceId, executor: ExecutorId) -> Result<Card, String> {
        Self::look_at(self, workspace, executor).await
    }

    async fn cancel(&self, key: SessionKey, epoch: u64, call_id: EventId) {
        if let Some(mounts) = self.mounts.get() {
            mounts.cancel(key, call_id);
        }
        // The order is gone with its caller, so its executor is not known here; to all others the call id is unknown.
        let frame = ToExecutor::Cancel {
            session: key.session,
            epoch,
            call_id,
        };
        self.tell_all(&frame, Some(key.workspace)).await;
    }

    async fn output(&self, order: &Order, offset: u64) -> Result<Bytes, String> {
        self.piece(order, offset).await
    }

    async fn drop_output(&self, key: SessionKey, call_id: EventId) {
        let frame = ToExecutor::DropOutput {
            session: key.session,
            call_id,
        };
        self.tell_all(&frame, Some(key.workspace)).await;
    }

    async fn copy_workspace(&self, from: SessionId, to: SessionId, at: Option<ExecutorId>) -> Result<(), String> {
        if at.is_none() && self.has_sandbox(from).await {
            return Err("its files are in a sandbox, and stay there".into());
        }
        self.copy(from, to, at).await
    }

    async fn pack(
        &self,
        at: Option<ExecutorId>,
        pack: PackId,
        ask: PackAsk,
    ) -> Result<(ExecutorId, PackAnswer), String> {
        self.ask_pack(at, pack, ask).await
    }

    async fn leave(&self, session: SessionId, at: ExecutorId) {
        self.tell_gone(session, Some(at)).await;
    }

    async fn forget(&self, session: SessionId, at: Option<ExecutorId>) {
        if let Some(mounts) = self.mounts.get() {
            mounts.forget(session);
        }
        self.retire_sandbox(session).await;
        self.tell_gone(session, at).await;
    }
}
