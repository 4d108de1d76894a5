//! An executor as a process of its own: links over a unix socket in the data directory, and further streams over another one beside
//! it, a connection each. One process serves a data directory (the journal's lock sees to that) and outlives the workers that dial it;
//! several may be on the line at once.
//!
//! Whoever may open the sockets may run commands, so they are for their owner alone.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use perennial_tunnel::{Lane, frames};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Executor;
use crate::limits::{ACCEPT_PAUSE, IDLE_LOOKS, LAST_FRAMES, LINK_FRAMES, LINKS};

/// Where the executor of a data directory listens.
#[must_use]
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("executor.sock")
}

/// Where the one that is reached there takes further streams.
#[must_use]
pub fn streams_beside(path: &Path) -> PathBuf {
    path.with_extension("streams")
}

/// Why listening ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// Nobody was on the line and nothing ran for long enough.
    Idle,
}

/// Serves links at `path` until told to stop, or until there was no link and no running call for `idle`. Then closes the
/// executor: calls that still run end with an outcome that says so, and whoever is on the line hears it.
///
/// # Errors
/// When the socket cannot be made.
pub async fn listen(
    executor: Arc<Executor>,
    path: &Path,
    idle: Option<Duration>,
    stop: CancellationToken,
) -> io::Result<Ended> {
    // Whoever gets a link finds this one, too.
    let streams = Socket::bind(&streams_beside(path))?;
    let socket = Socket::bind(path)?;
    let (links, cut) = (TaskTracker::new(), CancellationToken::new());
    let ended = tokio::select! {
        () = stop.cancelled() => Ended::Told,
        never = accept(&socket, &executor, &links, &cut) => match never {},
        never = take(&streams, &executor) => match never {},
        () = idle_for(idle, &executor, &links) => Ended::Idle,
    };
    // Nobody comes any more; who waits at the door dials again and finds the next process.
    drop((socket, streams));
    executor.close().await;
    cut.cancel();
    links.close();
    links.wait().await;
    Ok(ended)
}

/// A bound socket under its name.
struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Takes the name over from a process that died: only the holder of the journal gets here. The socket appears under its
    /// name when it is closed to others.
    fn bind(path: &Path) -> io::Result<Self> {
        let new = path.with_extension("new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&new, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, "the executor's socket stays behind");
        }
    }
}

async fn accept(socket: &Socket, executor: &Arc<Executor>, links: &TaskTracker, cut: &CancellationToken) -> Infallible {
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) if links.len() < LINKS => {
                links.spawn(link(Arc::clone(executor), stream, cut.clone()));
            }
            Ok(_) => tracing::warn!(link.count = LINKS, "too many links; one more is refused"),
            Err(error) => {
                // Too many open files, for one: it passes.
                tracing::warn!(%error, "a link cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Takes further streams; how many there may be at a time is said by who answers them.
async fn take(socket: &Socket, executor: &Executor) -> Infallible {
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => executor.stream(Lane::over(stream)),
            Err(error) => {
                tracing::warn!(%error, "a stream cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Ends when there was no link and no running call for that long, give or take an eighth.
async fn idle_for(idle: Option<Duration>, executor: &Executor, links: &TaskTracker) {
    let Some(idle) = idle else {
        return std::future::pending().await;
    };
    let mut look = interval((idle / IDLE_LOOKS).max(Duration::from_millis(1)));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut busy_at = Instant::now();
    loop {
        look.tick().await;
        if !links.is_empty() || !executor.is_idle() {
            busy_at = Instant::now();
        } else if busy_at.elapsed() >= idle {
            return;
        }
    }
}

/// One link, until either end hangs up or we close.
async fn link(executor: Arc<Executor>, stream: UnixStream, cut: CancellationToken) {
    let (mut reader, mut writer) = stream.into_split();
    let (to, rx) = mpsc::channel(LINK_FRAMES);
    let (tx, mut from) = mpsc::channel(LINK_FRAMES);
    let reading = async move {
        loop {
            let frame = match frames::read(&mut reader).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => return tracing::warn!(%error, "a link ends"),
            };
            if to.send(frame).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some(frame) = from.recv().await {
            if let Err(error) = frames::write(&mut writer, &frame).await {
                return tracing::info!(%error, "a link ends");
            }
        }
    };
    tokio::pin!(writing);
    tokio::select! {
        () = executor.serve(rx, tx, cut) => {
            // What was said before we closed is still heard.
            let _ = timeout(LAST_FRAMES, &mut writing).await;
        }
        () = reading => {}
        () = &mut writing => {}
    }
}
