//! `perennial-executor`: hands alone, for a sandbox of any image. Statically linked, so that the image needs to bring nothing; what
//! it is told comes in variables, because nobody types its command line.
//!
//! It is named by the start code's server and keeps a secret of its own beside its journal: with both it registers once, and is
//! known by the secret from then on, however often its sandbox is stopped and started. The sandbox around it is the boundary:
//! it contains nothing itself, and what runs in it can read that secret, which opens this executor's own tunnel and nothing else.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use perennial_executor::tunnel::{Ended, Home, Told, keep};
use perennial_executor::way_out::WayOut;
use perennial_executor::{Config, Executor, Sandbox, probe};
use perennial_schema::{ExecutorId, ExecutorToken};
use rand::TryRngCore as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new("info"))
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("perennial-executor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let told = Instructions::read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(told))
}

/// What whoever made the sandbox tells.
struct Instructions {
    /// The server: `unix:/…`, `http://…`.
    home: String,
    /// What the server calls this executor.
    id: ExecutorId,
    /// Registers it; used up with the first connection.
    code: String,
    /// Where the journal is.
    state: PathBuf,
    /// The workspace.
    work: PathBuf,
    /// The socket of a proxy, if there is one.
    proxy: Option<PathBuf>,
}

impl Instructions {
    fn read() -> Result<Self, Failure> {
        Ok(Self {
            home: variable("PERENNIAL_HOME")?,
            id: variable("PERENNIAL_EXECUTOR_ID")?.parse()?,
            code: variable("PERENNIAL_START_CODE")?,
            state: variable("PERENNIAL_STATE")?.into(),
            work: variable("PERENNIAL_WORK")?.into(),
            proxy: std::env::var_os("PERENNIAL_PROXY").map(PathBuf::from),
        })
    }
}

fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(name)
        .map_err(|_| format!("{name} is not set: this program is started by a server, in a sandbox").into())
}

async fn serve(told: Instructions) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = ExecutorToken::new(told.id, secret(&told.state)?);
    let home = Home::new(&told.home, token.expose())?.start(&told.code)?;
    let (work, path) = (told.work.clone(), Config::new(&told.state).path);
    let stop = CancellationToken::new();
    let executor = open(told, &stop).await?;
    let keeping = keep(&executor, &home, &stop, |told| match told {
        Told::Connected => info!("connected"),
        Told::Lost(why) => info!(why, "the line is down"),
        Told::Unreached(why) => warn!(why, "the server is not reached"),
    });
    tokio::pin!(keeping);
    let looking = async {
        loop {
            executor.asked().await;
            executor.describe(probe::probe(&path, &work).await);
        }
    };
    let ended = tokio::select! {
        ended = &mut keeping => ended,
        () = looking => Ended::Stopped,
        _ = async { tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} } } => {
            // Known ends are better than doubts: what runs is stopped, and the server hears of it while the line is up.
            let closing = async {
                executor.close().await;
                stop.cancel();
            };
            let ((), ended) = tokio::join!(closing, keeping);
            ended
        }
    };
    executor.close().await;
    match ended {
        Ended::Stopped => Ok(()),
        Ended::Unknown | Ended::Removed => Err("the server does not know this executor (any more)".into()),
        Ended::Replaced => Err("another process connected as this executor".into()),
    }
}

async fn open(told: Instructions, stop: &CancellationToken) -> Result<Arc<Executor>, Failure> {
    let mut proxy = None;
    if let Some(socket) = told.proxy {
        let way_out = WayOut::open(socket).await?;
        proxy = Some(way_out.url()?);
        tokio::spawn(way_out.serve(stop.clone()));
    }
    let config = Config {
        proxy,
        name: probe::hostname().unwrap_or_else(|| "sandbox".into()),
        sandbox: Sandbox::Off,
        home: None,
        roots: vec![told.work.clone()],
        executor_id: Some(told.id),
        ..Config::new(&told.state)
    };
    let path: OsString = config.path.clone();
    let executor = Arc::new(Executor::open(config).await?);
    executor.describe(probe::probe(&path, &told.work).await);
    Ok(executor)
}

/// The one this executor chose when it was started first. On disk before anybody hears of it: a registration whose answer was
/// lost is repeated with the same.
fn secret(state: &Path) -> Result<[u8; 32], Failure> {
    let path = state.join("secret");
    match fs::read(&path) {
        Ok(kept) => {
            return Ok(<[u8; 32]>::try_from(kept).map_err(|_| "the file with this executor's secret is damaged")?);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let mut fresh = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut fresh)?;
    let partial = state.join("secret.new");
    let mut file = fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(&fresh)?;
    file.sync_all()?;
    fs::rename(&partial, &path)?;
    Ok(fresh)
}
