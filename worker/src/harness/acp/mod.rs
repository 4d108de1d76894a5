//! The generic lane: any agent that speaks the Agent Client Protocol (opencode, gemini, goose …), with weaker promises than
//! the harnesses we know from inside.
//!
//! ```text
//! messages ──▶ prompt (record of the past as text, the newest input as it is) ──▶ process (empty home) ──▶ session/update
//!                                │  tools/call                                                                   ▲
//!                                ▼                                                                               │
//!                     McpEndpoint ─▶ desk: parked under an id of ours ◀── results with the next think ── ModelStep
//! ```
//!
//! One [`Harness::think`] lasts until the agent calls tools of ours or ends its turn. While its process lives and the log
//! brings exactly the results it waits for, it goes on; otherwise it is killed and another is started from the log.
//!
//! What is weaker than with the harnesses we know from inside, and why:
//!
//! * **The agent keeps no state of ours.** The protocol has no way to hand it a conversation, so a new process (every turn
//!   begins with one, and so does every recovery) is told the past as one text and asked to go on. Its model sees a record,
//!   not its own messages: thoughts, signatures and the cache of the past are gone, and it may choose to look again at what
//!   it already did. What it did is in the record with its results; nothing is run twice by us.
//! * **Calls have ids of ours**, as agents do not pass on their model's. A call that was not in the log when a process died
//!   is asked for again by its successor, or not.
//! * **Where a step ends is a guess**: calls come over another connection than words. Most agents name a call on the way that
//!   words come, which is waited for a little; words that are later than that are in the log after the calls they belong
//!   before ([`step`]).
//! * **An agent that does not wait** for a slow tool's result (many give up after a minute) is ended; its successor reads the
//!   result in the record.
//! * **Tools of its own** are its own: what it does with them inside its empty home is not in the log. Turn them off in the
//!   agent's configuration.
//! * **Usage is unknown** to us and counted as nothing in the log; the gateway counts what goes through it.
//!
//! What holds all the same: the process is killed with everything it started, has an empty home, an environment of the
//! configuration's and a key of its own that ends with it; it is given up when it is silent, too large, or says more than
//! anybody would read.
//!
//! Not here: running tools (router, executor), retrying (turn loop), the provider's key (the gate has it).

mod connection;
mod desk;
mod launch;
mod live;
mod permission;
mod prompt;
mod step;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use perennial_engine::ports::{DeltaSink, ModelError, ModelStep};
use tokio::sync::OnceCell;

use self::live::Live;
use super::fault::{self, Broken};
use super::warm::{Limits, Place, Pool, Waiter as _, Waits};
use super::{Gate, Harness, Think, Wire};
use crate::{limits, metrics};

/// The MCP server's name inside the agent.
const SERVER: &str = "router";
/// Longest silence of an agent while its model is asked, unless set otherwise.
const SILENCE: Duration = Duration::from_secs(300);
/// For an agent to start, greet and open a session, unless set otherwise: some load half of a package registry first.
const STARTING: Duration = Duration::from_secs(60);

/// How much an agent may be and say.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Most bytes on its standard output for one step.
    step_bytes: u64,
    /// Most memory.
    process_bytes: u64,
}

/// How to run an agent. Clones share its processes, and what was found out about the wall around them.
#[derive(Clone)]
pub struct Settings {
    /// The name agents give (`acp:NAME`).
    pub name: String,
    /// The program, with its absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables it gets; `{base_url}`, `{key}` and `{model}` in a value are those of the process's access to its model.
    pub environment: Vec<(String, String)>,
    /// What its model speaks: which kind of address `{base_url}` is.
    pub wire: Wire,
    /// Folders and files of this host it may read beside the system's own.
    pub shows: Vec<PathBuf>,
    /// Gives each process its access to the model.
    pub gate: Arc<dyn Gate>,
    /// bubblewrap, used when a probe run succeeds; none to run without.
    pub bubblewrap: Option<PathBuf>,
    /// Where the processes' homes are made and removed; none means the system's temporary folder.
    pub scratch: Option<PathBuf>,
    /// One that has not started, greeted and opened a session after so long is given up.
    pub starting: Duration,
    /// An agent that says nothing for so long while its model is asked is given up.
    pub silence: Duration,
    /// Most bytes it may write for one step.
    pub step_bytes: u64,
    wall: Arc<OnceCell<bool>>,
    pool: Pool<Live>,
}

impl Settings {
    /// An agent of this name: no arguments, no variables, Chat Completions, bubblewrap as installed.
    #[must_use]
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, gate: Arc<dyn Gate>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            wire: Wire::Chat,
            shows: Vec::new(),
            gate,
            bubblewrap: Some("/usr/bin/bwrap".into()),
            scratch: None,
            starting: STARTING,
            silence: SILENCE,
            step_bytes: limits::ACP_STEP_BYTES,
            wall: Arc::default(),
            pool: Pool::new(Limits::default()),
        }
    }

    /// With other bounds for its processes.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.pool = Pool::new(limits);
        self
    }

    /// Ends every process that waits, and keeps none from now on.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            step_bytes: self.step_bytes,
            process_bytes: self.pool.limits().process_bytes,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("program", &self.program)
            .field("silence", &self.silence)
            .finish_non_exhaustive()
    }
}

/// One session's agent.
#[derive(Debug)]
pub struct Acp {
    settings: Settings,
    place: Place<Live>,
}

impl Acp {
    /// A harness without a process.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let place = Place::new(settings.pool.clone());
        Self { settings, place }
    }

    /// The process that waits for tool results, if there is one.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.place.process_id(Waits::ForResults)
    }

    /// Goes on with the live process when it waits for exactly what the messages now bring. It is out of the pool meanwhile:
    /// if this future is dropped, the process is told to stop and dies.
    async fn go_on(
        &mut self,
        ask: &Think<'_>,
        sink: &mut dyn DeltaSink,
    ) -> Option<Result<(Live, ModelStep), ModelError>> {
        let mut live = self.place.take(ask.key.session).await?;
        let broken = match live.resume(ask) {
            Ok(()) => match live.step(&self.settings, sink).await {
                Ok(step) => {
                    metrics::count_harness_step("acp", "results");
                    return Some(Ok((live, step)));
                }
                Err(broken) => broken,
            },
            Err(broken) => broken,
        };
        live.end().await;
        match broken {
            Broken::Void(why) => {
                tracing::debug!(session.id = %ask.key.session, %why, "the agent is started again from the log");
                None
            }
            Broken::Failed(error) => Some(Err(error)),
        }
    }

    async fn start(&self, ask: &Think<'_>, sink: &mut dyn DeltaSink) -> Result<(Live, ModelStep), ModelError> {
        let name = &self.settings.name;
        let slot = self.settings.pool.slot().await;
        let mut live = Live::start(&self.settings, ask, slot).await?;
        metrics::count_harness_step("acp", "cold");
        if ask.messages.len() > 1 {
            tracing::info!(
                session.id = %ask.key.session,
                harness.name = %name,
                messages = ask.messages.len(),
                "the agent is told the conversation so far as one text; its tokens are not counted here"
            );
        }
        match live.step(&self.settings, sink).await {
            Ok(step) => Ok((live, step)),
            Err(broken) => {
                live.end().await;
                Err(match broken {
                    Broken::Void(why) => fault::transient(format!("acp:{name}: {why}")).with_refusal_found(),
                    Broken::Failed(error) => error,
                })
            }
        }
    }
}

#[async_trait]
impl Harness for Acp {
    async fn think(&mut self, ask: Think<'_>, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
        let (live, step) = match self.go_on(&ask, sink).await {
            Some(done) => done?,
            None => self.start(&ask, sink).await?,
        };
        match live.waits() {
            Some(waits) => self.place.keep(ask.key.session, live, waits),
            None => live.end().await,
        }
        Ok(step)
    }

    async fn close(&mut self) {
        self.place.close().await;
    }
}
