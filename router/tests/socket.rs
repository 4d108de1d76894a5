//! The line to an executor that is a process of its own: started, shared, killed, idle.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "these helpers are test code, which clippy recognises only inside the test functions"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use perennial_engine::ports::{CallError, Order, Placement, Router as _, SessionKey, Settled};
use perennial_executor::socket::{self, Ended};
use perennial_executor::{Config, Executor, Sandbox};
use perennial_router::socket::{Line, Starter};
use perennial_router::{Exchange, Settings};
use perennial_schema::content::Block;
use perennial_schema::environment::{EnvironmentConfig, Preparation};
use perennial_schema::event::Raw;
use perennial_schema::tool::{Effect, Outcome};
use perennial_schema::{EventId, ExecutorId, SessionId, WorkspaceId};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const HELPER: &str = "PERENNIAL_TEST_EXECUTOR_PROCESS";
const IDLE: &str = "PERENNIAL_TEST_IDLE_MILLIS";
const PATIENCE: Duration = Duration::from_secs(60);

/// Not a test but the executor process of the tests below.
#[tokio::test(flavor = "multi_thread")]
async fn helper_that_serves() {
    let Ok(data) = std::env::var(HELPER) else { return };
    let idle = std::env::var(IDLE).unwrap().parse().unwrap();
    let mut config = Config::new(&data);
    config.sandbox = Sandbox::Off;
    let executor = match Executor::open(config).await {
        Ok(executor) => Arc::new(executor),
        Err(error) => return eprintln!("refused: {error}"),
    };
    let stop = CancellationToken::new();
    let mut told = signal(SignalKind::terminate()).unwrap();
    let stopped = stop.clone();
    tokio::spawn(async move {
        told.recv().await;
        stopped.cancel();
    });
    let path = socket::path(Path::new(&data));
    let ended = socket::listen(executor, &path, Some(Duration::from_millis(idle)), stop).await;
    eprintln!("ended: {:?}", ended.unwrap());
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A data directory whose executor process, if any, ends with the test.
struct Host {
    dir: TempDir,
    idle_millis: u64,
}

impl Host {
    fn new() -> Self {
        Self::idle(60_000)
    }

    fn idle(idle_millis: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, idle_millis }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn starter(&self) -> Starter {
        std::fs::create_dir_all(self.data()).unwrap();
        let args = ["--exact", "helper_that_serves", "--nocapture"];
        Starter::new(std::env::current_exe().unwrap(), args, self.data().join("executor.log"))
            .env(HELPER, self.data())
            .env(IDLE, self.idle_millis.to_string())
            .env("PATH", std::env::var_os("PATH").unwrap())
    }

    async fn pid(&self) -> Option<i32> {
        let stream = UnixStream::connect(socket::path(&self.data())).await.ok()?;
        stream.peer_cred().unwrap().pid()
    }

    async fn signal(&self, what: Signal) -> i32 {
        let pid = self.pid().await.expect("it runs");
        kill(Pid::from_raw(pid), what).unwrap();
        pid
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.data().join("executor.log")).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.data().join("workspaces").join(session().to_string())
    }

    fn lines(&self, file: &str) -> usize {
        std::fs::read_to_string(self.folder().join(file)).map_or(0, |text| text.lines().count())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let marker = format!("{HELPER}={}", self.data().display());
        // Again, for one that was being started.
        for _ in 0..2 {
            kill_marked(&marker);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn kill_marked(marker: &str) {
    let pids = std::fs::read_dir("/proc").unwrap();
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == marker.as_bytes())
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// One process that dials.
struct Worker {
    exchange: Arc<Exchange>,
    line: Line,
    stop: CancellationToken,
}

impl Worker {
    fn of(host: &Host) -> Self {
        let exchange = Arc::new(Exchange::new(Settings {
            attach_wait: PATIENCE,
            ..Settings::default()
        }));
        let stop = CancellationToken::new();
        let path = socket::path(&host.data());
        let line = Line::keep(Arc::clone(&exchange), path, Some(host.starter()), stop.clone());
        Self { exchange, line, stop }
    }

    async fn executor(&self) -> ExecutorId {
        let id = tokio::time::timeout(PATIENCE, self.line.executor_id()).await;
        id.unwrap().unwrap()
    }

    /// An order of a command, placed.
    async fn order(&self, command: &str) -> Order {
        let environment = EnvironmentConfig::Local {
            executor_id: None,
            dir: None,
            preparation: Preparation::default(),
        };
        let placement: Placement = self.exchange.place(key(), &environment).await.unwrap();
        Order {
            key: key(),
            epoch: 1,
            call_id: EventId::from_uuid(Uuid::now_v7()),
            tool: "bash".into(),
            input: Raw::of(&json!({"command": command})),
            effect: Effect::Once,
            placement,
            environment,
            secret: None,
            mcp: None,
        }
    }

    /// Sends an order and goes on.
    fn send(&self, order: &Order) -> tokio::task::JoinHandle<Result<Outcome, CallError>> {
        let (exchange, order) = (Arc::clone(&self.exchange), order.clone());
        tokio::spawn(async move { exchange.call(order).await })
    }

    async fn leave(self) {
        self.stop.cancel();
        self.exchange.close().await;
        self.line.closed().await;
    }
}

fn session() -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(1))
}

fn key() -> SessionKey {
    SessionKey {
        workspace: WorkspaceId::from_uuid(Uuid::from_u128(2)),
        session: session(),
    }
}

fn text(outcome: &Outcome) -> &str {
    match outcome.content.as_slice() {
        [Block::Text { text }] => text,
        other => panic!("not one text block: {other:?}"),
    }
}

/// A command that is known to run, and runs until the file `go` is there.
const WAITS: &str = "echo ran >> ran; while [ ! -e go ]; do sleep 0.01; done; echo done";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_finds_nobody_starts_one_and_all_share_it() {
    let host = Host::new();
    let workers = [Worker::of(&host), Worker::of(&host), Worker::of(&host)];
    let mut found = Vec::new();
    for worker in &workers {
        found.push(worker.executor().await);
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
    for worker in &workers {
        let order = worker.order("echo hello").await;
        assert_eq!(text(&worker.exchange.call(order).await.unwrap()), "hello\n");
    }
    let pid = host.pid().await.unwrap();
    // What lost the race to the journal has ended and said why.
    eventually("the others end", || host.log().matches("running 1 test").count() == 3).await;
    eventually("the others are refused", || host.log().matches("refused").count() == 2).await;
    let mode = std::fs::metadata(socket::path(&host.data()))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // It is nobody's: not in our group, and with none of our environment.
    let own = nix::unistd::getpgrp();
    assert_ne!(nix::unistd::getpgid(Some(Pid::from_raw(pid))).unwrap(), own);
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(
        environment.contains(HELPER) && !environment.contains("CARGO"),
        "{environment}"
    );
    for worker in workers {
        worker.leave().await;
    }
    assert_eq!(host.pid().await, Some(pid), "it outlives who dialled it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_outlives_its_link_and_the_next_one_gets_its_result() {
    let host = Host::new();
    let (first, second) = (Worker::of(&host), Worker::of(&host));
    let order = first.order(WAITS).await;
    let call = first.send(&order);
    eventually("it runs", || host.lines("ran") == 1).await;
    first.leave().await;
    assert!(matches!(call.await.unwrap(), Err(CallError::Unknown(_))));
    let next = Order {
        epoch: 2,
        ..order.clone()
    };
    second.executor().await;
    let settling = {
        let (exchange, next) = (Arc::clone(&second.exchange), next.clone());
        tokio::spawn(async move { exchange.settle(next).await })
    };
    // The link that went away comes back with its old lease: refused, though the call still runs.
    let back = Worker::of(&host);
    back.executor().await;
    eventually_fenced(&back, &order).await;
    std::fs::write(host.folder().join("go"), "").unwrap();
    let settled = settling.await.unwrap().unwrap();
    assert!(
        matches!(&settled, Settled::Done(outcome) if text(outcome) == "done\n"),
        "{settled:?}"
    );
    // And whoever asks again hears the same: the journal has it.
    assert_eq!(second.exchange.settle(next.clone()).await.unwrap(), settled);
    let again = second.exchange.call(next).await.unwrap();
    assert_eq!(text(&again), "done\n");
    assert_eq!(host.lines("ran"), 1);
}

/// Refused once the newer lease has spoken.
async fn eventually_fenced(worker: &Worker, order: &Order) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = tokio::time::timeout(Duration::from_millis(20), worker.exchange.settle(order.clone())).await;
        match asked {
            Ok(Err(CallError::Fenced)) => return,
            Ok(other) => panic!("{other:?}"),
            Err(_) => assert!(Instant::now() < deadline, "never fenced"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_executor_is_started_again_and_knows_what_it_lost() {
    let host = Host::new();
    let worker = Worker::of(&host);
    let executor = worker.executor().await;
    let ended = worker.order("echo before").await;
    worker.exchange.call(ended.clone()).await.unwrap();
    for round in 1..=3 {
        let order = Order {
            call_id: EventId::from_uuid(Uuid::now_v7()),
            ..worker.order(WAITS).await
        };
        let call = worker.send(&order);
        eventually("it runs", || host.lines("ran") == round).await;
        let killed = host.signal(Signal::SIGKILL).await;
        assert!(matches!(call.await.unwrap(), Err(CallError::Unknown(_))));
        let settled = worker.exchange.settle(order).await.unwrap();
        assert!(matches!(settled, Settled::InDoubt { .. }), "{settled:?}");
        assert_ne!(host.pid().await, Some(killed));
        assert_eq!(worker.executor().await, executor, "the same hands");
        // What ended before is known still.
        let known = worker.exchange.settle(ended.clone()).await.unwrap();
        assert!(
            matches!(&known, Settled::Done(outcome) if text(outcome) == "before\n"),
            "{known:?}"
        );
        assert_eq!(host.lines("ran"), round, "nothing ran twice");
    }
    let order = worker.order("echo after").await;
    assert!(text(&worker.exchange.call(order).await.unwrap()).ends_with("after\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_ends_its_calls_and_says_so() {
    let host = Host::new();
    let worker = Worker::of(&host);
    let order = worker.order(WAITS).await;
    let call = worker.send(&order);
    eventually("it runs", || host.lines("ran") == 1).await;
    let pid = host.signal(Signal::SIGTERM).await;
    match call.await.unwrap() {
        Ok(outcome) => assert!(
            outcome.is_error && text(&outcome).contains("shutting down"),
            "{outcome:?}"
        ),
        Err(error) => panic!("{error}"),
    }
    eventually("it ends", || host.log().contains("ended: Told")).await;
    let settled = worker.exchange.settle(order).await.unwrap();
    assert!(
        matches!(&settled, Settled::Done(outcome) if outcome.is_error),
        "{settled:?}"
    );
    assert_ne!(host.pid().await, Some(pid), "another one serves now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_it_ends_but_not_while_a_call_runs() {
    let host = Host::idle(100);
    let worker = Worker::of(&host);
    let order = worker.order(WAITS).await;
    drop(worker.send(&order));
    eventually("it runs", || host.lines("ran") == 1).await;
    worker.leave().await;
    // Three times as long as it may be idle.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!host.log().contains("ended"), "a call runs");
    std::fs::write(host.folder().join("go"), "").unwrap();
    eventually("it ends", || host.log().contains("ended: Idle")).await;
    assert!(!socket::path(&host.data()).exists());
    let worker = Worker::of(&host);
    worker.executor().await;
    let settled = worker.exchange.settle(order).await.unwrap();
    assert!(
        matches!(&settled, Settled::Done(outcome) if text(outcome) == "done\n"),
        "{settled:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_talks_nonsense_ends_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.sandbox = Sandbox::Off;
    let executor = Arc::new(Executor::open(config).await.unwrap());
    let path = socket::path(dir.path());
    // What a process that was killed left.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let stop = CancellationToken::new();
    let serving = {
        let (path, stop) = (path.clone(), stop.clone());
        tokio::spawn(async move { socket::listen(executor, &path, None, stop).await })
    };
    let exchange = Arc::new(Exchange::new(Settings::default()));
    let line = Line::keep(Arc::clone(&exchange), path.clone(), None, stop.clone());
    line.executor_id().await.unwrap();
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        b"\0\0\0\x02{}",
        b"\0\0\0\x09\"unknown\"",
    ] {
        let mut stranger = UnixStream::connect(&path).await.unwrap();
        stranger.write_all(nonsense).await.unwrap();
        let mut said = Vec::new();
        // Its hello, then the end.
        let ended = tokio::time::timeout(PATIENCE, stranger.read_to_end(&mut said))
            .await
            .unwrap();
        assert!(ended.is_err() || said.len() < 1024, "{nonsense:?}");
    }
    let environment = EnvironmentConfig::Local {
        executor_id: None,
        dir: None,
        preparation: Preparation::default(),
    };
    exchange.place(key(), &environment).await.unwrap();
    stop.cancel();
    assert_eq!(serving.await.unwrap().unwrap(), Ended::Told);
    assert!(!path.exists());
    exchange.close().await;
    line.closed().await;
}
