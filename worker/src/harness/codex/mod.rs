//! The codex harness: the real Codex as a function of our log.
//!
//! ```text
//! messages ──▶ rollout ──▶ codex app-server (one for many threads) ──▶ request ──▶ line ──▶ the gate's address
//!                             │  item/tool/call                                      │
//!                             ▼                                                      ▼
//!               parked by the model's id ◀── results with the next think        ModelStep
//! ```
//!
//! One [`Harness::think`] is one request of Codex to its model. Codex sends it to our own [`line`], which is a loopback port:
//! the request is checked against the log, sent to where the gate says with the gate's key, and the answer is read here, so
//! a step is exactly one answer, with everything the provider said about it. Codex hears the answer only when it asks for
//! tools; its calls are parked, and the next `think` brings their results. If they are exactly what the live thread waits
//! for, it goes on; otherwise (first step, crash, a new prompt in mid-turn, pictures in a result, anything that does not
//! fit) the thread is deleted and another is resumed from a rollout rendered from the log, which takes about 50 ms.
//!
//! The harness cannot act behind the log's back: a request that nobody waits for is not answered, one that holds another
//! conversation or other tools than ours ends the attempt, and the process knows no key at all.
//!
//! Relies on experimental parts of the app-server's protocol: `tests/codex` runs the real binary and compares what it sends
//! upstream. The choice of `dynamicTools` and of the line is `worker/decisions/0002-codex-tools.md`.
//!
//! Not here: running tools (router, executor), retrying (turn loop), the provider's key (the gate has it).

mod catalogue;
mod check;
mod config;
mod line;
mod message;
mod rollout;
mod server;
mod shared;
mod thread;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use perennial_engine::ports::{Clock, DeltaSink, ModelError, ModelStep};

use self::shared::Shared;
use self::thread::Thread;
use super::fault::{Broken, transient};
use super::process::{Kind, Version};
use super::{Gate, Harness, Think};

/// Longest silence of the process or of its model, unless set otherwise.
const SILENCE: Duration = Duration::from_secs(300);

/// The program.
const CODEX: Kind = Kind {
    harness: "codex",
    name: "Codex",
    setting: "PERENNIAL_CODEX_BIN",
    floor: Version(0, 169, 0),
    version: |text| Version::parse(text.strip_prefix("codex-cli ")?),
};

/// How to run Codex. Clones share the installation and the process.
#[derive(Clone)]
pub struct Settings {
    /// The native binary (`PERENNIAL_CODEX_BIN`).
    pub binary: Option<PathBuf>,
    /// Gives each thread its access to the model.
    pub gate: Arc<dyn Gate>,
    /// bubblewrap, used when a probe run succeeds; none to run without.
    pub bubblewrap: Option<PathBuf>,
    /// Where the process's home is made and removed; none means the system's temporary folder.
    pub scratch: Option<PathBuf>,
    /// A process or a model that says nothing for so long is given up.
    pub silence: Duration,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
}

impl Settings {
    /// Defaults: no binary, bubblewrap as installed.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, gate: Arc<dyn Gate>) -> Self {
        Self {
            binary: None,
            gate,
            bubblewrap: Some("/usr/bin/bwrap".into()),
            scratch: None,
            silence: SILENCE,
            clock,
            shared: Arc::default(),
        }
    }
}

impl Settings {
    /// Ends the process when its last thread has ended.
    pub async fn close(&self) {
        self.shared.close().await;
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

/// One session's Codex.
#[derive(Debug)]
pub struct Codex {
    settings: Settings,
    /// A thread that waits for tool results.
    live: Option<Thread>,
}

impl Codex {
    /// A harness without a thread.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings, live: None }
    }

    /// The process all threads share, if there is one.
    pub async fn process_id(&self) -> Option<u32> {
        self.settings.shared.process_id().await
    }

    /// Whether a thread waits for tool results.
    #[must_use]
    pub const fn waits_for_results(&self) -> bool {
        self.live.is_some()
    }

    /// Goes on with the live thread when it waits for exactly what the messages now bring. It is out of `self` meanwhile:
    /// if this future is dropped, the thread ends with it.
    async fn go_on(
        &mut self,
        ask: &Think<'_>,
        sink: &mut dyn DeltaSink,
    ) -> Option<Result<(Thread, ModelStep), ModelError>> {
        let mut live = self.live.take()?;
        let broken = match live.resume(ask) {
            Some(()) => match live.step(&self.settings, ask, sink).await {
                Ok(step) => return Some(Ok((live, step))),
                Err(broken) => broken,
            },
            None => Broken::void("the conversation went another way"),
        };
        match broken {
            Broken::Void(why) => {
                tracing::debug!(session.id = %ask.key.session, %why, "codex is started again from the log");
                None
            }
            Broken::Failed(error) => Some(Err(error)),
        }
    }

    async fn start(&self, ask: &Think<'_>, sink: &mut dyn DeltaSink) -> Result<(Thread, ModelStep), ModelError> {
        let mut live = Thread::start(&self.settings, ask).await?;
        match live.step(&self.settings, ask, sink).await {
            Ok(step) => Ok((live, step)),
            Err(Broken::Void(why)) => Err(transient(format!("Codex: {why}"))),
            Err(Broken::Failed(error)) => Err(error),
        }
    }
}

#[async_trait]
impl Harness for Codex {
    async fn think(&mut self, ask: Think<'_>, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
        let (live, step) = match self.go_on(&ask, sink).await {
            Some(done) => done?,
            None => self.start(&ask, sink).await?,
        };
        // A thread with nothing to wait for is deleted in the background; the process stays for the next one.
        self.live = live.waits_for_results().then_some(live);
        Ok(step)
    }

    async fn close(&mut self) {
        self.live = None;
    }
}
