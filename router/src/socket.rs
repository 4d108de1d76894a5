//! The line to the executor process of a data directory: dialled, kept, dialled again when it is lost, and with a starter the
//! process is started when nobody serves the socket.
//!
//! What was on its way when a line is lost ends as unknown and is settled over the next one; nothing is kept here.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use perennial_schema::ExecutorId;
use perennial_schema::frame::{FromExecutor, ToExecutor};
use perennial_tunnel::{Lane, Opener, Openings, frames, opener_of};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::exchange::Exchange;
use crate::limits;

/// The socket beside it that takes streams ends like this (`executor::socket::streams_beside`).
const STREAMS: &str = "streams";

/// How to start an executor process. It gets an environment of our choosing only (a worker's own holds secrets), a group of its
/// own so that what is typed at the worker's terminal does not reach it, and outlives whoever starts it. Several may start
/// one at a time: the journal's lock lets one of them live.
#[derive(Clone, Debug)]
pub struct Starter {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    log: PathBuf,
}

impl Starter {
    /// A command, and the file to which what it says is added.
    #[must_use]
    pub fn new<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
        log: impl Into<PathBuf>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            log: log.into(),
        }
    }

    /// With this variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn start(&self) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut log = std::fs::File::options();
        let log = log.create(true).append(true).mode(0o600).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        // Not ours to wait for: the runtime reaps it should it end before us.
        drop(command.spawn()?);
        Ok(())
    }
}

/// A kept line. Dropping it lets go of it.
#[derive(Debug)]
pub struct Line {
    attached: watch::Receiver<Option<ExecutorId>>,
    keeping: JoinHandle<()>,
}

impl Line {
    /// Dials the socket and attaches what answers to the exchange, again and again until `stop`.
    #[must_use]
    pub fn keep(exchange: Arc<Exchange>, socket: PathBuf, starter: Option<Starter>, stop: CancellationToken) -> Self {
        let attached = watch::Sender::new(None);
        let heard = attached.subscribe();
        let dialler = Dialler {
            exchange,
            socket,
            starter,
            started: None,
            attached,
        };
        let keeping = tokio::spawn(async move {
            stop.run_until_cancelled(dialler.run()).await;
        });
        Self {
            attached: heard,
            keeping,
        }
    }

    /// Whose hands these are, once they have been reached for the first time. Waits as long as that takes.
    pub async fn executor_id(&self) -> Option<ExecutorId> {
        let mut attached = self.attached.clone();
        let first = attached.wait_for(Option::is_some).await;
        first.ok().and_then(|executor| *executor)
    }

    /// Waits for its end, after `stop`.
    pub async fn closed(mut self) {
        if let Err(error) = (&mut self.keeping).await {
            tracing::warn!(%error, "the line to the executor ended abnormally");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

struct Dialler {
    exchange: Arc<Exchange>,
    socket: PathBuf,
    starter: Option<Starter>,
    started: Option<Instant>,
    attached: watch::Sender<Option<ExecutorId>>,
}

impl Dialler {
    async fn run(mut self) {
        loop {
            // A line that stood starts the pauses anew.
            for pause in pauses() {
                match self.line().await {
                    Ok(()) => break,
                    Err(error) => tracing::debug!(%error, "the executor is not reached yet"),
                }
                sleep(pause).await;
            }
            sleep(limits::DIAL_PAUSE).await;
        }
    }

    /// Holds one line as long as it lasts.
    async fn line(&mut self) -> io::Result<()> {
        let stream = match UnixStream::connect(&self.socket).await {
            Ok(stream) => stream,
            Err(error) => {
                self.start_if_nobody_serves(&error);
                return Err(error);
            }
        };
        let (reader, writer) = stream.into_split();
        let (to_executor, outgoing) = mpsc::channel(limits::LINE_FRAMES);
        let (incoming, from_executor) = mpsc::channel(limits::LINE_FRAMES);
        let (lanes, openings) = home_lanes();
        let streams = self.socket.with_extension(STREAMS);
        let carrying = async {
            tokio::select! {
                () = carry(reader, writer, outgoing, incoming) => {}
                never = open(openings, &streams) => match never {},
            }
        };
        tokio::pin!(carrying);
        tokio::select! {
            () = &mut carrying => return Err(io::ErrorKind::ConnectionReset.into()),
            attached = self.exchange.attach_with(to_executor, from_executor, Some(lanes)) => {
                let executor = attached.map_err(io::Error::other)?;
                self.attached.send_replace(Some(executor));
                // It served: should it be gone again, the next one is started without delay.
                self.started = None;
            }
        }
        carrying.await;
        Ok(())
    }

    fn start_if_nobody_serves(&mut self, error: &io::Error) {
        let Some(starter) = &self.starter else { return };
        let nobody = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        // One that was started needs a moment to open its journal.
        let recently = self.started.is_some_and(|at| at.elapsed() < limits::START_AGAIN);
        if !nobody || recently {
            return;
        }
        self.started = Some(Instant::now());
        match starter.start() {
            Ok(()) => tracing::info!(executor.log = %starter.log.display(), "started an executor process"),
            Err(error) => tracing::warn!(%error, "an executor process cannot be started"),
        }
    }
}

/// How streams are opened on an executor of this host.
#[must_use]
pub fn home_lanes() -> (Opener, Openings) {
    opener_of(limits::HOME_LANES)
}

/// Opens streams, a connection each. An executor that is older than them has no such socket.
async fn open(mut openings: Openings, streams: &Path) -> Infallible {
    while let Some(wanted) = openings.next().await {
        match UnixStream::connect(streams).await {
            Ok(stream) => wanted.answer(Lane::over(stream)),
            Err(error) => tracing::warn!(%error, "the executor takes no further streams"),
        }
    }
    // The line ends by itself.
    std::future::pending().await
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(limits::DIAL_PAUSE)
        .with_max_delay(limits::DIAL_PAUSE_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Carries frames both ways until either end hangs up. A cut link drops its sender, so that ends it too.
async fn carry(
    mut reader: OwnedReadHalf,
    mut writer: OwnedWriteHalf,
    mut outgoing: mpsc::Receiver<ToExecutor>,
    incoming: mpsc::Sender<FromExecutor>,
) {
    let reading = async move {
        while let Some(frame) = frames::read(&mut reader).await? {
            if incoming.send(frame).await.is_err() {
                break;
            }
        }
        io::Result::Ok(())
    };
    let writing = async move {
        while let Some(frame) = outgoing.recv().await {
            frames::write(&mut writer, &frame).await?;
        }
        io::Result::Ok(())
    };
    let ended = tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    };
    if let Err(error) = ended {
        tracing::info!(%error, "the line to the executor is lost");
    }
}
