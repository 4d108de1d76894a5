//! A TCP fault proxy: stands before a database, a bus or a model and makes the network misbehave, on demand and counted.
//!
//! [`Faults`] are a state that every connection obeys until it is changed; a [`Cut`] is armed once and ends the one connection
//! that gets there. Nothing is parsed except, before Postgres, what it takes to cut between a commit and the news of it.

mod postgres;
mod pump;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What all connections suffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Each piece waits this long.
    pub latency: Duration,
    /// At most so many bytes a second, each way; none is as fast as it goes.
    pub bytes_per_second: Option<u32>,
    /// What clients send is read and thrown away, and nobody is told.
    pub swallow_requests: bool,
    /// What the server sends is.
    pub swallow_answers: bool,
    /// New connections are closed at once.
    pub refuse: bool,
}

/// Where one connection ends, both ways, without a goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// After so many more bytes from clients.
    Request {
        /// How many, over all connections.
        bytes: u64,
    },
    /// After so many more bytes from the server.
    Answer {
        /// How many, over all connections.
        bytes: u64,
    },
    /// Before Postgres: after so many more whole messages of the server.
    Message {
        /// How many, over all connections.
        count: u64,
    },
    /// Before Postgres: the write is committed, and the client does not hear of it.
    Commit,
}

/// How often each fault met somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections that were let through.
    pub connections: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Connections ended by a cut.
    pub cut: u64,
    /// Of those, between a commit and the news of it.
    pub cut_at_commit: u64,
    /// Connections ended by [`Proxy::drop_connections`].
    pub dropped: u64,
    /// Bytes thrown away.
    pub swallowed: u64,
    /// Pieces that were made to wait.
    pub delayed: u64,
}

impl std::iter::Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, next| Self {
            connections: sum.connections + next.connections,
            refused: sum.refused + next.refused,
            cut: sum.cut + next.cut,
            cut_at_commit: sum.cut_at_commit + next.cut_at_commit,
            dropped: sum.dropped + next.dropped,
            swallowed: sum.swallowed + next.swallowed,
            delayed: sum.delayed + next.delayed,
        })
    }
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
    cut_at_commit: AtomicU64,
    dropped: AtomicU64,
    swallowed: AtomicU64,
    delayed: AtomicU64,
}

/// What connections share.
#[derive(Debug)]
struct Shared {
    faults: watch::Sender<Faults>,
    /// Grows when all connections of now are to end.
    drops: watch::Sender<u64>,
    cut: Mutex<Option<Cut>>,
    counts: Counts,
    /// Before Postgres: a statement that contains this writes.
    writes: Option<&'static str>,
}

/// A running proxy; it ends, and its connections with it, when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Before any server (`host:port`), on a loopback port of its own.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn before(upstream: &str) -> Result<Self> {
        Self::start(upstream, None).await
    }

    /// Before a Postgres server. Statements that contain `writes` are those whose commit can be cut.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn before_postgres(upstream: &str, writes: &'static str) -> Result<Self> {
        Self::start(upstream, Some(writes)).await
    }

    async fn start(upstream: &str, writes: Option<&'static str>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("no port for the fault proxy")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            faults: watch::Sender::new(Faults::default()),
            drops: watch::Sender::new(0),
            cut: Mutex::default(),
            counts: Counts::default(),
            writes,
        });
        let task = tokio::spawn(accept(listener, upstream.to_owned(), shared.clone()));
        Ok(Self { address, shared, task })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for old and new connections.
    pub fn set(&self, faults: Faults) {
        self.shared.faults.send_replace(faults);
    }

    /// No more faults, and no cut is armed.
    pub fn heal(&self) {
        self.set(Faults::default());
        *self.shared.cut() = None;
    }

    /// Arms a cut in place of one that nobody reached.
    pub fn cut(&self, at: Cut) {
        *self.shared.cut() = Some(at);
    }

    /// Whether the last cut still waits for somebody.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.shared.cut().is_some()
    }

    /// Ends every connection.
    pub fn drop_connections(&self) {
        self.shared.drops.send_modify(|drops| *drops += 1);
    }

    /// How often each fault met somebody.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let counts = &self.shared.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counters {
            connections: read(&counts.connections),
            refused: read(&counts.refused),
            cut: read(&counts.cut),
            cut_at_commit: read(&counts.cut_at_commit),
            dropped: read(&counts.dropped),
            swallowed: read(&counts.swallowed),
            delayed: read(&counts.delayed),
        }
    }
}

impl Shared {
    fn cut(&self) -> MutexGuard<'_, Option<Cut>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

async fn accept(listener: TcpListener, upstream: String, shared: Arc<Shared>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if shared.faults.borrow().refuse {
            count(&shared.counts.refused, 1);
            continue;
        }
        let (shared, upstream) = (shared.clone(), upstream.clone());
        connections.spawn(async move {
            // A server that is down looks as it is: the client's connection closes.
            if let Ok(server) = TcpStream::connect(&upstream).await {
                count(&shared.counts.connections, 1);
                pump::connection(client, server, &shared).await;
            }
        });
    }
}
