//! The pool as an external scaler of KEDA, over gRPC on an address of its own: the number of `GET /v1/scaling/default`, told at once
//! when it leaves zero. It says how much there is to do and nothing else, to whoever asks.
//!
//! Of gRPC it takes what lies above HTTP/2 from `tonic`; the connections are hyper's, as everywhere here.

mod scaler;
mod service;
pub mod wire;

use std::convert::Infallible;
use std::sync::Arc;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use perennial_engine::ports::Pool;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::scaler::Scaler;
use crate::limits::{KEDA_ALIVE, KEDA_CALLS, KEDA_CONNECTIONS, KEDA_GRACE};
use crate::server::ACCEPT_PAUSE;

/// Serves until `closing`. A worker is for `slots` sessions where a trigger does not say otherwise.
pub async fn serve(listener: TcpListener, pool: Arc<dyn Pool>, slots: u32, closing: CancellationToken) {
    let scaler = Arc::new(Scaler::new(pool, slots, closing.clone()));
    let (connections, room) = (TaskTracker::new(), Arc::new(Semaphore::new(KEDA_CONNECTIONS)));
    loop {
        // Room first: when it is full, further clients wait in the backlog.
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = closing.cancelled() => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (scaler, closing) = (scaler.clone(), closing.clone());
                connections.spawn(async move {
                    connection(stream, scaler, closing).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of KEDA's");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, scaler: Arc<Scaler>, closing: CancellationToken) {
    // Frames are small and wanted at once.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let scaler = scaler.clone();
        async move { Ok::<_, Infallible>(service::answer(scaler, request).await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(KEDA_CALLS)
        .keep_alive_interval(KEDA_ALIVE)
        .keep_alive_timeout(KEDA_ALIVE);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(KEDA_GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of KEDA's ended with an error");
    }
}
