//! The hands: runs tools in workspace folders, keeps the call journal, and speaks the executor frames over whatever channel it
//! is given (DESIGN §8).
//!
//! **Architecture invariant:** no database, no server code, no secrets. It knows the vocabulary (`schema`) and the operating
//! system, nothing else of the workspace.
//!
//! [`Executor::open`] takes the journal, ends what an earlier process left alive and finds out whether tools can be contained;
//! [`Executor::serve`] answers one link. Links come and go, calls stay: a link that ends cancels nothing.

mod blot;
mod buffers;
mod call;
mod capture;
mod clone;
mod copy;
mod diff;
mod git;
mod journal;
pub mod limits;
mod network;
mod outputs;
mod pack;
pub mod panes;
mod policy;
pub mod probe;
mod process;
mod progress;
mod replacement;
pub mod sandbox;
mod serve;
mod session;
mod shell;
mod shells;
pub mod socket;
mod streams;
mod terminals;
mod tools;
pub mod tunnel;
mod walk;
pub mod way_out;
mod workspace;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use perennial_schema::frame::{Card, FromExecutor, Hello, PROTOCOL_VERSION, ToExecutor};
use perennial_schema::tool::Builtin;
use perennial_schema::{ExecutorId, JournalId};
use perennial_tunnel::Lane;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use crate::buffers::{Buffers, Later};
use crate::journal::Journal;
pub use crate::limits::Limits;
use crate::outputs::Outputs;
use crate::pack::Packs;
use crate::panes::{Panes, Scripts};
pub use crate::policy::{Ask, Policy};
use crate::process::{JOURNAL_MARKER, Spawner, StillAlive};
use crate::serve::{House, Store};
use crate::shells::Shells;
use crate::workspace::{Workspaces, private_dir};

/// Whether tools run under bubblewrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// When a probe run of it succeeds.
    Auto,
    /// Never.
    Off,
}

/// What an executor is opened with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The journal is in `executor` below it, the sessions' folders in `workspaces`. Hidden from contained tools as a whole.
    pub data_dir: PathBuf,
    /// Name for people.
    pub name: String,
    /// Containment.
    pub sandbox: Sandbox,
    /// Home of the user who runs the server, hidden from contained tools.
    pub home: Option<PathBuf>,
    /// Where programs are found, also by uncontained shells.
    pub path: OsString,
    /// The folders it offers: no other folder of this host may be named as a workspace, whoever asks. None of them offers all.
    pub roots: Vec<PathBuf>,
    /// A proxy that programs are told of: the way out of a sandbox.
    pub proxy: Option<String>,
    /// A folder that forgets when the machine is started anew: how far the journal has come is noted there, so that one that was put
    /// back to older state is noticed. None: every life of the executor is taken for such a one.
    pub memory: Option<PathBuf>,
    /// What its owner allows.
    pub policy: Policy,
    /// An editor that has files open.
    pub buffers: Option<Arc<dyn Buffers>>,
    /// One that runs commands in its terminals. None: they run in shells of our own.
    pub panes: Option<Arc<dyn Panes>>,
    /// What the server that gave it out calls this executor; a journal of another one is refused. None: what the journal says.
    pub executor_id: Option<ExecutorId>,
    /// Bounds.
    pub limits: Limits,
}

/// Where contained shells find programs: what lies in homes is hidden from them anyway.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Config {
    /// Defaults, with home and search path of this process. The one place that reads the ambient environment.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            name: "local".into(),
            sandbox: Sandbox::Auto,
            home: std::env::home_dir(),
            path: std::env::var_os("PATH").unwrap_or_else(|| SYSTEM_PATH.into()),
            roots: Vec::new(),
            proxy: None,
            memory: Some("/dev/shm".into()),
            policy: Policy::default(),
            buffers: None,
            panes: None,
            executor_id: None,
            limits: Limits::default(),
        }
    }
}

/// Why an executor cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory or the journal in it cannot be used (also: another process uses it).
    #[error("the executor's journal cannot be opened")]
    Journal(#[source] io::Error),
    /// The sessions' folders cannot be used.
    #[error("the workspace folders cannot be opened")]
    Workspaces(#[source] io::Error),
    /// Something an earlier process started cannot be ended; calls could run twice beside it.
    #[error("what an earlier process left cannot be ended")]
    Leftover(#[source] StillAlive),
    /// The thread that starts children cannot be started.
    #[error("children cannot be started")]
    Spawner(#[source] io::Error),
}

/// A pair of hands.
#[derive(Debug)]
pub struct Executor {
    house: Arc<House>,
    /// What it says of itself; whoever is on the line hears of changes.
    hello: watch::Sender<Hello>,
}

impl Executor {
    /// Opens the journal, kills what an earlier process left alive, and probes the sandbox.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let asked = config.clone();
        let opened = tokio::task::spawn_blocking(move || open_store(&asked)).await;
        let store = opened.map_err(|error| OpenError::Journal(io::Error::other(error)))??;
        let (contained, uncontained_reason) = match config.sandbox {
            Sandbox::Off => (None, Some("the sandbox is switched off".to_owned())),
            Sandbox::Auto => {
                match sandbox::probe(&config.path, &store.workspaces.data_dir, config.home.as_deref()).await {
                    Ok(sandbox) => (Some(sandbox), None),
                    Err(reason) => (None, Some(reason)),
                }
            }
        };
        let spawner = Spawner::start(Handle::current()).map_err(OpenError::Spawner)?;
        let shells = Shells::new(config.limits.shells);
        let house = Arc::new(House::new(
            config,
            store,
            contained,
            uncontained_reason,
            spawner,
            shells,
        ));
        let hello = watch::Sender::new(hello(&house, Card::default()));
        Ok(Self { house, hello })
    }

    /// Tells what was found out about this machine ([`probe`]). Whoever is on the line hears of it, and every later one.
    pub fn describe(&self, found: Card) {
        let hello = hello(&self.house, found);
        self.hello.send_if_modified(|known| {
            let news = *known != hello;
            *known = hello;
            news
        });
    }

    /// Waits until somebody wants to know what this machine is like now: [`Executor::describe`] answers. Questions that come while
    /// one is answered are one question.
    pub async fn asked(&self) {
        self.house.asked.notified().await;
    }

    /// Whether shells run under bubblewrap.
    #[must_use]
    pub fn contained(&self) -> bool {
        self.house.sandbox.is_some()
    }

    /// Why they do not, for the start-up banner.
    #[must_use]
    pub fn uncontained_reason(&self) -> Option<&str> {
        self.house.uncontained_reason.as_deref()
    }

    /// Stable across restarts of the same installation.
    #[must_use]
    pub fn executor_id(&self) -> ExecutorId {
        self.house.journal.executor_id
    }

    /// The memory it answers from. Another one in every life of which nobody can say that nothing is missing in it.
    #[must_use]
    pub fn journal_id(&self) -> JournalId {
        self.house.journal.journal_id
    }

    /// What it says first on every link.
    #[must_use]
    pub fn hello(&self) -> Hello {
        self.hello.borrow().clone()
    }

    /// Whether no call runs or waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.house.slots.available_permits() >= self.house.config.limits.calls
    }

    /// Answers one link until its frames end, its peer goes away or `cancel` fires. Calls go on without it.
    pub async fn serve(
        &self,
        rx: mpsc::Receiver<ToExecutor>,
        tx: mpsc::Sender<FromExecutor>,
        cancel: CancellationToken,
    ) {
        serve::serve(&self.house, self.hello.subscribe(), rx, tx, &cancel).await;
    }

    /// Answers a further stream of a tunnel until it ends, beside everything else.
    pub fn stream(&self, lane: Lane) {
        let house = Arc::clone(&self.house);
        self.house.tasks.spawn(streams::serve(house, lane));
    }

    /// The same for who is in this process: the other end of it.
    #[must_use]
    pub fn open_stream(&self) -> Lane {
        let (theirs, ours) = tokio::io::duplex(limits::PIPE_BYTES);
        self.stream(Lane::over(ours));
        Lane::over(theirs)
    }

    /// Takes no more calls, stops the running ones (each ends with an outcome that says so, journalled) and ends every shell.
    /// Returns when nothing is alive.
    pub async fn close(&self) {
        self.house.closing.cancel();
        self.house.tasks.close();
        self.house.tasks.wait().await;
    }
}

impl Drop for Executor {
    /// Like a crash: running calls are lost, their processes die.
    fn drop(&mut self) {
        self.house.stop.cancel();
    }
}

fn hello(house: &House, found: Card) -> Hello {
    let offered = Builtin::ALL
        .into_iter()
        .filter(|tool| house.config.policy.offers(*tool));
    Hello {
        version: PROTOCOL_VERSION,
        executor_id: house.journal.executor_id,
        journal_id: house.journal.journal_id,
        card: Card {
            name: house.config.name.clone(),
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            tools: offered.map(|tool| tool.name().to_owned()).collect(),
            contained: house.sandbox.is_some(),
            roots: house.workspaces.roots(),
            ..found
        },
    }
}

fn open_store(config: &Config) -> Result<Store, OpenError> {
    let data_dir = config.data_dir.as_path();
    private_dir(data_dir).map_err(OpenError::Journal)?;
    let mut journal =
        Journal::open(data_dir, config.executor_id, config.memory.as_deref()).map_err(OpenError::Journal)?;
    for earlier in journal.earlier() {
        let killed = process::kill_tree(None, JOURNAL_MARKER, &earlier.to_string()).map_err(OpenError::Leftover)?;
        if killed > 0 {
            tracing::warn!(
                process.count = killed,
                "ended processes that an earlier server left running"
            );
        }
    }
    journal.keep_name().map_err(OpenError::Journal)?;
    if let Err(error) = journal.sweep(SystemTime::now(), |_| false) {
        tracing::warn!(%error, "journals of forgotten sessions stay");
    }
    let workspaces = Workspaces::open(data_dir, &config.roots).map_err(OpenError::Workspaces)?;
    copy::clean(&workspaces);
    let outputs = Outputs::open(data_dir).map_err(OpenError::Journal)?;
    let packs = Packs::open(data_dir).map_err(OpenError::Journal)?;
    let scripts = Scripts::open(data_dir).map_err(OpenError::Journal)?;
    Ok(Store {
        journal,
        workspaces,
        outputs,
        packs,
        scripts,
    })
}
