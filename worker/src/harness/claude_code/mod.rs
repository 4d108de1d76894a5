//! The claude-code harness: the real Claude Code as a function of our log.
//!
//! ```text
//! messages ──▶ transcript ──▶ process (empty home, all own tools off) ──▶ stdout events ──▶ ModelStep
//!                                │  tools/call                                  ▲
//!                                ▼                                              │ next message
//!                     McpEndpoint ─▶ desk: parked by the model's id ◀── results with the next think
//! ```
//!
//! One [`Harness::think`] is one assistant message. Its tool calls arrive over MCP and are parked; the turn loop runs them
//! from the log like any other call, and the next `think` brings their results. A process that waits, for results or at the
//! end of a turn for the session's next one, is kept in a pool within bounds. If the rendered log is exactly what it holds
//! and what it waits for, it goes on; otherwise (crash, a new prompt in mid-turn, another worker's turn, anything that does
//! not fit) it is killed and another is started from the log. So the process is a cache, and killing it anywhere costs a
//! second.
//!
//! The harness must not act behind the log's back: its tools, retries, compaction and memory are off; a message that ends
//! with neither a tool call nor plain words and `end_turn` ends the process (after `max_tokens` it would otherwise put prompts
//! of its own into the conversation); a tool result that did not come from our desk makes the process void.
//!
//! Relies on hidden flags: `tests/claude_code` runs the real binary and compares what it sends upstream.
//!
//! Not here: running tools (router, executor), retrying (turn loop), the provider's key (the gate has it; a process gets an
//! access of its own).

mod desk;
mod events;
mod fault;
mod launch;
mod live;
mod message;
mod step;
mod transcript;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use perennial_engine::ports::{Clock, DeltaSink, ModelError, ModelStep};
use tokio::sync::OnceCell;

use self::live::Live;
use self::step::Bounds;
use super::fault::{Broken, transient};
use super::process::{self, Install, Kind, Version};
use super::warm::{Limits, Place, Pool, Waiter, Waits};
use super::{Gate, Harness, Think};
use crate::metrics;

/// The MCP server's name inside the harness.
const SERVER: &str = "router";
/// What the harness puts before our tools' names.
const TOOL_PREFIX: &str = "mcp__router__";
/// Longest silence of a process while the model is asked, unless set otherwise.
const SILENCE: Duration = Duration::from_secs(120);

/// The program. Older versions than the floor also trusted project settings too early (CVE-2026-21852).
const CLAUDE: Kind = Kind {
    harness: "claude-code",
    name: "Claude Code",
    setting: "PERENNIAL_CLAUDE_BIN",
    floor: Version(2, 1, 197),
    version: |text| Version::parse(text.strip_suffix(" (Claude Code)")?),
};

/// How to run Claude Code. Clones share what was found out about the installation.
#[derive(Clone)]
pub struct Settings {
    /// The native binary (`PERENNIAL_CLAUDE_BIN`).
    pub binary: Option<PathBuf>,
    /// Gives each process its access to the model.
    pub gate: Arc<dyn Gate>,
    /// Certificates to trust beside the built-in ones, a PEM file.
    pub ca_certs: Option<PathBuf>,
    /// bubblewrap, used when a probe run succeeds; none to run without.
    pub bubblewrap: Option<PathBuf>,
    /// Where the processes' homes are made and removed; none means the system's temporary folder.
    pub scratch: Option<PathBuf>,
    /// A process that says nothing for so long while the model is asked is given up.
    pub silence: Duration,
    clock: Arc<dyn Clock>,
    install: Arc<OnceCell<Install>>,
    pool: Pool<Live>,
}

impl Settings {
    /// Defaults: no binary, bubblewrap as installed.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, gate: Arc<dyn Gate>) -> Self {
        Self {
            binary: None,
            gate,
            ca_certs: None,
            bubblewrap: Some("/usr/bin/bwrap".into()),
            scratch: None,
            silence: SILENCE,
            clock,
            install: Arc::default(),
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

    /// How many processes wait, in mid-turn or at rest.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pool.len()
    }
}

impl Settings {
    /// The installation, found out by the first who asks.
    async fn install(&self) -> Result<&Install, ModelError> {
        let found = process::Settings {
            binary: self.binary.as_deref(),
            bubblewrap: self.bubblewrap.as_deref(),
            ca_certs: self.ca_certs.as_deref(),
        };
        self.install.get_or_try_init(|| Install::probe(&CLAUDE, &found)).await
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("binary", &self.binary)
            .field("silence", &self.silence)
            .finish_non_exhaustive()
    }
}

/// One session's Claude Code.
#[derive(Debug)]
pub struct ClaudeCode {
    settings: Settings,
    place: Place<Live>,
}

impl ClaudeCode {
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

    /// The process that waits for the next turn, if there is one.
    #[must_use]
    pub fn resting_process_id(&self) -> Option<u32> {
        self.place.process_id(Waits::ForTurn)
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            silence: self.settings.silence,
            bytes: self.settings.pool.limits().process_bytes,
        }
    }

    /// Goes on with the session's live process when it waits for exactly what the messages now bring. It is out of the pool
    /// meanwhile: if this future is dropped, the process dies with it.
    async fn go_on(
        &mut self,
        ask: &Think<'_>,
        sink: &mut dyn DeltaSink,
    ) -> Option<Result<(Live, ModelStep), ModelError>> {
        let mut live = self.place.take(ask.key.session).await?;
        let waited = live.waits();
        let broken = match live.go_on(ask, self.settings.clock.now()).await {
            Ok(()) => match live.step(self.bounds(), sink).await {
                Ok(step) => {
                    let how = match waited {
                        Some(Waits::ForTurn) => "warm",
                        _ => "results",
                    };
                    metrics::count_harness_step(CLAUDE.harness, how);
                    return Some(Ok((live, step)));
                }
                Err(broken) => broken,
            },
            Err(broken) => broken,
        };
        live.end().await;
        match broken {
            Broken::Void(why) => {
                tracing::debug!(session.id = %ask.key.session, %why, "claude code is started again from the log");
                None
            }
            Broken::Failed(error) => Some(Err(error)),
        }
    }

    async fn start(&self, ask: &Think<'_>, sink: &mut dyn DeltaSink) -> Result<(Live, ModelStep), ModelError> {
        let settings = &self.settings;
        let install = settings.install().await?;
        let slot = settings.pool.slot().await;
        let mut live = Live::start(settings, install, ask, slot).await?;
        metrics::count_harness_step(CLAUDE.harness, "cold");
        match live.step(self.bounds(), sink).await {
            Ok(step) => Ok((live, step)),
            Err(broken) => {
                let error = match broken {
                    Broken::Void(why) => transient(format!("Claude Code: {why}: {}", live.epitaph().await)),
                    Broken::Failed(error) => error,
                };
                live.end().await;
                Err(error)
            }
        }
    }
}

#[async_trait]
impl Harness for ClaudeCode {
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

    async fn rest(&mut self) {
        self.place.rest().await;
    }

    async fn close(&mut self) {
        self.place.close().await;
    }
}
