//! An executor, a link to it, and words to speak over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use perennial_executor::{Config, Executor, Limits, Sandbox};
use perennial_schema::content::Block;
use perennial_schema::event::Raw;
use perennial_schema::frame::{Call, CallState, FromExecutor, Hello, Refusal, Settle, ToExecutor, Workspace};
use perennial_schema::tool::{Builtin, Effect, Outcome, args_hash};
use perennial_schema::{EventId, SessionId};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn new_call() -> EventId {
    EventId::from_uuid(Uuid::now_v7())
}

/// The text of an outcome of one text block.
pub(crate) fn text(outcome: &Outcome) -> &str {
    match outcome.content.as_slice() {
        [Block::Text { text }] => text,
        other => panic!("not one text block: {other:?}"),
    }
}

/// Polls until it holds; for what no signal tells (processes of others, files).
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Processes (not zombies) with this text in their command line.
pub(crate) fn processes(text: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != std::process::id() && String::from_utf8_lossy(&line).contains(text)
    })
    .collect()
}

/// An argument for `sleep` that no other process has.
pub(crate) fn unique_sleep() -> String {
    format!("98765.{}", Uuid::now_v7().as_u128() % 1_000_000_000_000_000)
}

pub(crate) struct Link {
    pub(crate) to: mpsc::Sender<ToExecutor>,
    pub(crate) hello: Hello,
    from: mpsc::Receiver<FromExecutor>,
    pending: Vec<FromExecutor>,
    cancel: CancellationToken,
    serving: JoinHandle<()>,
}

impl Link {
    pub(crate) async fn open(executor: &Arc<Executor>) -> Self {
        let (to, rx) = mpsc::channel(64);
        let (tx, mut from) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        let (serving, stop) = (Arc::clone(executor), cancel.clone());
        let serving = tokio::spawn(async move { serving.serve(rx, tx, stop).await });
        let Some(FromExecutor::Hello(hello)) = from.recv().await else {
            panic!("no hello")
        };
        Self {
            to,
            hello,
            from,
            pending: Vec::new(),
            cancel,
            serving,
        }
    }

    pub(crate) async fn send(&self, frame: ToExecutor) {
        self.to.send(frame).await.unwrap();
    }

    /// The next frame of that kind; others wait.
    pub(crate) async fn expect<T>(&mut self, what: &str, pick: impl Fn(&FromExecutor) -> Option<T>) -> T {
        if let Some((at, found)) = self
            .pending
            .iter()
            .enumerate()
            .find_map(|(at, frame)| Some((at, pick(frame)?)))
        {
            self.pending.remove(at);
            return found;
        }
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.from.recv()).await;
            let frame = frame.unwrap_or_else(|_| panic!("no {what}; pending: {:?}", self.pending));
            let frame = frame.unwrap_or_else(|| panic!("link closed before {what}"));
            match pick(&frame) {
                Some(found) => return found,
                None => self.pending.push(frame),
            }
        }
    }

    pub(crate) async fn result(&mut self, id: EventId) -> Outcome {
        let pick = |frame: &FromExecutor| match frame {
            FromExecutor::Result { call_id, outcome, .. } if *call_id == id => Some(Ok(outcome.clone())),
            FromExecutor::Refused { call_id, reason, .. } if *call_id == id => Some(Err(reason.clone())),
            _ => None,
        };
        self.expect("result", pick)
            .await
            .unwrap_or_else(|reason| panic!("refused: {reason:?}"))
    }

    pub(crate) async fn refusal(&mut self, id: EventId) -> Refusal {
        let pick = |frame: &FromExecutor| match frame {
            FromExecutor::Refused { call_id, reason, .. } if *call_id == id => Some(Ok(reason.clone())),
            FromExecutor::Result { call_id, outcome, .. } if *call_id == id => Some(Err(outcome.clone())),
            _ => None,
        };
        self.expect("refusal", pick)
            .await
            .unwrap_or_else(|outcome| panic!("not refused: {outcome:?}"))
    }

    pub(crate) async fn settle(&mut self, call: &Call) -> Result<CallState, Refusal> {
        self.send(settle(call)).await;
        let id = call.call_id;
        let pick = move |frame: &FromExecutor| match frame {
            FromExecutor::Settled { call_id, state, .. } if *call_id == id => Some(Ok(state.clone())),
            FromExecutor::Refused { call_id, reason, .. } if *call_id == id => Some(Err(reason.clone())),
            _ => None,
        };
        self.expect("settled", pick).await
    }

    pub(crate) async fn run(&mut self, call: &Call) -> Outcome {
        self.send(ToExecutor::Call(call.clone())).await;
        self.result(call.call_id).await
    }

    /// Waits until everything sent so far on this link has been handed on.
    pub(crate) async fn ping(&mut self) {
        self.send(ToExecutor::Ping { nonce: 7 }).await;
        self.expect("pong", |frame| {
            matches!(frame, FromExecutor::Pong { nonce: 7 }).then_some(())
        })
        .await;
    }

    /// A bare disconnect.
    pub(crate) async fn close(self) {
        self.cancel.cancel();
        self.serving.await.unwrap();
    }
}

pub(crate) fn settle(call: &Call) -> ToExecutor {
    ToExecutor::Settle(Settle {
        session: call.session,
        epoch: call.epoch,
        call_id: call.call_id,
        args_hash: call.args_hash.clone(),
    })
}

pub(crate) fn cancel(call: &Call) -> ToExecutor {
    ToExecutor::Cancel {
        session: call.session,
        epoch: call.epoch,
        call_id: call.call_id,
    }
}

/// A call of session 1 under epoch 1.
pub(crate) fn call(tool: &str, input: &Value) -> Call {
    let input = Raw::of(input);
    Call {
        session: session(1),
        epoch: 1,
        call_id: new_call(),
        tool: tool.into(),
        args_hash: args_hash(tool, input.text()),
        input,
        effect: Builtin::by_name(tool).map_or(Effect::Once, Builtin::effect),
        workspace: Workspace::Session,
        variables: Default::default(),
        secret: None,
        progress: false,
    }
}

pub(crate) fn bash(command: &str) -> Call {
    call("bash", &json!({ "command": command }))
}

pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) executor: Arc<Executor>,
    pub(crate) link: Link,
}

impl Rig {
    pub(crate) async fn new(sandbox: Sandbox) -> Self {
        Self::with(sandbox, |_| {}).await
    }

    pub(crate) async fn with(sandbox: Sandbox, adjust: impl FnOnce(&mut Limits)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&dir.path().join("data"), sandbox);
        adjust(&mut config.limits);
        let executor = Arc::new(Executor::open(config).await.unwrap());
        let link = Link::open(&executor).await;
        Self { dir, executor, link }
    }

    /// One per way of running tools that works here.
    pub(crate) async fn both() -> Vec<Self> {
        let contained = Self::new(Sandbox::Auto).await;
        let mut rigs = vec![Self::new(Sandbox::Off).await];
        match contained.executor.uncontained_reason() {
            None => rigs.push(contained),
            Some(reason) => println!("NOT RUN contained: {reason}"),
        }
        rigs
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.data().join("workspaces").join(session(1).to_string())
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.data()
            .join("executor/journal")
            .join(format!("{}.jsonl", session(1)))
    }

    pub(crate) async fn run(&mut self, tool: &str, input: Value) -> Outcome {
        self.link.run(&call(tool, &input)).await
    }

    /// Output of a command that must succeed.
    pub(crate) async fn ok(&mut self, command: &str) -> String {
        let outcome = self.link.run(&bash(command)).await;
        assert!(!outcome.is_error, "{command:.200}: {outcome:?}");
        text(&outcome).to_owned()
    }

    /// Output of a command that must fail.
    pub(crate) async fn fails(&mut self, command: &str) -> String {
        let outcome = self.link.run(&bash(command)).await;
        assert!(outcome.is_error, "{command:.200}: {outcome:?}");
        text(&outcome).to_owned()
    }

    /// Sends a command that reports in a file that it has begun and then waits for ever.
    pub(crate) async fn hang(&mut self, name: &str) -> Call {
        let call = bash(&format!("echo partial; : > {name}; sleep 1000"));
        self.link.send(ToExecutor::Call(call.clone())).await;
        let file = self.folder().join(name);
        eventually("the command begins", || file.exists()).await;
        call
    }
}

pub(crate) fn config(data_dir: &Path, sandbox: Sandbox) -> Config {
    let mut config = Config::new(data_dir);
    config.sandbox = sandbox;
    config
}
