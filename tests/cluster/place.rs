//! A cluster of our own: its servers, and the install on them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use perennial_proof::prove::{Cluster, House, Outages};
use perennial_tests::nats::Nats;
use perennial_tests::postgres::Postgres;
use tokio::sync::Mutex;

/// Whether the full counts are wanted.
pub(crate) fn torture() -> bool {
    std::env::var_os("PERENNIAL_TORTURE").is_some()
}

/// Full counts, or a tenth.
pub(crate) fn count(full: u64) -> u64 {
    if torture() { full } else { full.div_ceil(10) }
}

/// What `make torture` tries, or what `make test` does.
pub(crate) fn either<T>(torture: T, test: T) -> T {
    if self::torture() { torture } else { test }
}

/// `PERENNIAL_SEED`, or one nobody chose; it is printed.
pub(crate) fn seed(what: &str) -> u64 {
    let chosen = std::env::var("PERENNIAL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = chosen.unwrap_or_else(perennial_proof::prove::fresh_seed);
    say(format_args!("seed {seed} ({what})"));
    seed
}

/// A line of the result. On a line of its own: the test runner has not ended the one with the test's name.
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    println!("\nring 2: {what}");
}

/// Servers of a test.
pub(crate) struct Place {
    /// Where files are.
    pub(crate) dir: tempfile::TempDir,
    /// The database.
    pub(crate) postgres: Arc<Mutex<Postgres>>,
    /// The bus.
    pub(crate) nats: Arc<Mutex<Nats>>,
    /// What gives processes clocks of their own, if they have.
    clocks: Option<PathBuf>,
    postgres_url: String,
    nats_url: String,
}

impl Place {
    /// None where Postgres or NATS is not installed.
    pub(crate) async fn new() -> Result<Option<Self>> {
        let Some(postgres) = Postgres::start().await? else {
            perennial_tests::not_run("cluster: Postgres is not installed")?;
            return Ok(None);
        };
        let Some(nats) = Nats::start().await? else {
            perennial_tests::not_run("cluster: nats-server is not installed")?;
            return Ok(None);
        };
        Ok(Some(Self {
            dir: tempfile::tempdir()?,
            postgres_url: postgres.url("postgres"),
            nats_url: nats.url(),
            clocks: None,
            postgres: Arc::new(Mutex::new(postgres)),
            nats: Arc::new(Mutex::new(nats)),
        }))
    }

    /// The same, with a database whose clock can be set, and workers whose clocks can.
    pub(crate) async fn with_clocks() -> Result<Option<Self>> {
        let library = perennial_tests::clock::library()?;
        let Some(mut place) = Self::new().await? else {
            return Ok(None);
        };
        {
            let mut postgres = place.postgres.lock().await;
            postgres.stop_immediate().await?;
            postgres.with_clock(library.clone())?;
            postgres.run().await?;
        }
        place.clocks = Some(library);
        Ok(Some(place))
    }

    /// An install on them, with a schema and subjects of its own.
    pub(crate) async fn house(&self, nodes: usize, workers: usize) -> Result<House> {
        self.house_with(nodes, workers, &[]).await
    }

    /// The same, its processes with more environment.
    pub(crate) async fn house_with(&self, nodes: usize, workers: usize, env: &[(String, String)]) -> Result<House> {
        static HOUSES: AtomicU64 = AtomicU64::new(0);
        let number = HOUSES.fetch_add(1, Ordering::Relaxed);
        let cluster = Cluster {
            database_url: self.postgres_url.clone(),
            schema: format!("house_{number}"),
            nats_url: Some(self.nats_url.clone()),
            nats_prefix: format!("house_{number}"),
            nodes,
            workers,
            clocks: self.clocks.clone(),
        };
        let data_dir = self.dir.path().join(format!("data-{number}"));
        House::cluster(&data_dir, &cluster, env).await
    }

    /// Where the servers are: the database and the bus.
    pub(crate) fn urls(&self) -> (&str, &str) {
        (&self.postgres_url, &self.nats_url)
    }

    /// Who can crash the servers.
    pub(crate) fn outages(&self) -> Box<dyn Outages> {
        Box::new(Crashes {
            clocks: self.clocks.is_some(),
            postgres: self.postgres.clone(),
            nats: self.nats.clone(),
        })
    }
}

struct Crashes {
    clocks: bool,
    postgres: Arc<Mutex<Postgres>>,
    nats: Arc<Mutex<Nats>>,
}

#[async_trait]
impl Outages for Crashes {
    async fn crash_database(&mut self) -> Result<()> {
        let mut postgres = self.postgres.lock().await;
        postgres.stop_immediate().await?;
        postgres.run().await
    }

    async fn crash_bus(&mut self) -> Result<()> {
        let mut nats = self.nats.lock().await;
        nats.kill().await?;
        nats.run().await
    }

    fn has_clock(&self) -> bool {
        self.clocks
    }

    async fn set_clock(&mut self, seconds: i64) -> Result<()> {
        let postgres = self.postgres.lock().await;
        let clock = postgres.clock().context("the database has no clock of its own")?;
        clock.set(seconds)
    }
}
