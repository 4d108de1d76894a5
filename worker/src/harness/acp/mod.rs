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
//! What is weaker, and why:
//!
//! * **The agent keeps no state of ours.** The protocol has no way to hand it a conversation, so a new process (every turn
//!   begins with one, and so does every recovery) is told the past as one text and asked to go on. Its model sees a record,
//!   not its own messages: thoughts, signatures and the cache of the past are gone, and it may choose to look again at what
//!   it already did. What it did is in the record with its results; nothing is run twice by us.
//! * **Calls have ids of ours**, as agents do not pass on their model's. A call that was not in the log when a process died
//!   is asked for again by its successor, or not.
//! * **Tools of its own** are its own: what it does with them inside its empty home is not in the log. Turn them off in the
//!   agent's configuration.
//! * **Usage is unknown** to us and counted as nothing in the log; the gateway counts what goes through it.
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
use self::step::Broken;
use super::{Gate, Harness, Think, Wire, fault};
use crate::metrics;

/// The MCP server's name inside the agent.
const SERVER: &str = "router";
/// Longest silence of an agent while its model is asked, unless set otherwise.
const SILENCE: Duration = Duration::from_secs(300);

/// How to run an agent. Clones share what was found out about the wall around it.
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
    /// An agent that says nothing for so long while its model is asked is given up.
    pub silence: Duration,
    wall: Arc<OnceCell<bool>>,
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
            silence: SILENCE,
            wall: Arc::default(),
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
    /// A process that waits for tool results.
    live: Option<Live>,
}

impl Acp {
    /// A harness without a process.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings, live: None }
    }

    /// The process that waits for tool results, if there is one.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.live.as_ref().and_then(Live::process_id)
    }

    /// Goes on with the live process when it waits for exactly what the messages now bring. It is out of `self` meanwhile:
    /// if this future is dropped, the process is told to stop and dies.
    async fn go_on(
        &mut self,
        ask: &Think<'_>,
        sink: &mut dyn DeltaSink,
    ) -> Option<Result<(Live, ModelStep), ModelError>> {
        let mut live = self.live.take()?;
        let broken = if live.resume(ask) {
            match live.step(self.settings.silence, sink).await {
                Ok(step) => {
                    metrics::count_harness_step("acp", "results");
                    return Some(Ok((live, step)));
                }
                Err(broken) => broken,
            }
        } else {
            Broken::Void("the conversation went another way")
        };
        live.end().await;
        match broken {
            Broken::Void(why) => {
                tracing::debug!(session.id = %ask.key.session, why, "the agent is started again from the log");
                None
            }
            Broken::Failed(error) => Some(Err(error)),
        }
    }

    async fn start(&self, ask: &Think<'_>, sink: &mut dyn DeltaSink) -> Result<(Live, ModelStep), ModelError> {
        let name = &self.settings.name;
        let mut live = Live::start(&self.settings, ask).await?;
        metrics::count_harness_step("acp", "cold");
        if ask.messages.len() > 1 {
            tracing::info!(
                session.id = %ask.key.session,
                harness.name = %name,
                messages = ask.messages.len(),
                "the agent is told the conversation so far as one text; its tokens are not counted here"
            );
        }
        match live.step(self.settings.silence, sink).await {
            Ok(step) => Ok((live, step)),
            Err(broken) => {
                let error = match broken {
                    Broken::Void(why) => fault::transient(format!("acp:{name}: {why}")),
                    Broken::Failed(error) => error,
                };
                live.end().await;
                Err(error)
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
        if live.waits_for_results() {
            self.live = Some(live);
        } else {
            live.end().await;
        }
        Ok(step)
    }

    async fn close(&mut self) {
        if let Some(live) = self.live.take() {
            live.end().await;
        }
    }
}
