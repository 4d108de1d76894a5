//! The accept loop. `axum::serve` has no timeouts; this one closes silent connections, slow heads and clients that never read,
//! bounds their number, and ends event streams on shutdown (INVARIANTS S23).
//!
//! HTTP/1.1 only: without HTTP/2 there is no stream multiplexing to abuse, and the head timer covers a connection that never
//! sends a byte.

mod patient;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use self::patient::Patient;
use crate::limits::Limits;

/// Told to every request, so that streams can end.
#[derive(Clone)]
pub(crate) struct Shutdown(pub CancellationToken);

/// Head bytes per connection; also what a connection's read buffer may grow to.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 100;
/// Pause after a failed accept (out of file descriptors): there is no signal to wait for.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often that is worth a line of the log.
const ACCEPT_SAID: Duration = Duration::from_secs(10);

/// Where connections come from.
pub trait Listener: Send {
    /// One of them.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        let (stream, _) = Self::accept(self).await?;
        // Frames are small and wanted at once.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        Ok(Self::accept(self).await?.0)
    }
}

/// Serves until `shutdown`, then lets open requests finish for `limits.grace`.
///
/// # Errors
/// None at present; accept errors are logged and survived.
pub async fn serve(
    listener: impl Listener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut said: Option<Instant> = None;
    loop {
        // Room first: when it is full, further clients wait in the backlog.
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection(stream, router, limits, shutdown).await;
                    drop(permit);
                });
            }
            Err(error) => {
                if said.is_none_or(|at| at.elapsed() >= ACCEPT_SAID) {
                    said = Some(Instant::now());
                    tracing::warn!(%error, "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let told = Shutdown(shutdown.clone());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(told.clone());
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES);
    let io = TokioIo::new(Patient::new(stream, limits.write_stall));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shutdown.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match timeout(limits.grace, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

async fn answer(router: Router, request: hyper::Request<Body>) -> axum::response::Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
