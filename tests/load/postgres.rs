//! The database of a run: a private Postgres whose every commit is synced, one database for the limits and the engine.

use std::time::Duration;

use anyhow::{Context, Result};
use perennial_broker::log::postgres;
use perennial_tests::postgres::Postgres;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

/// A running server, gone with this value.
pub(crate) struct Database {
    url: String,
    options: PgConnectOptions,
    server: Postgres,
}

impl Database {
    /// Starts one; none where Postgres is not installed.
    pub(crate) async fn start() -> Result<Option<Self>> {
        let Some(server) = Postgres::start().await? else {
            return Ok(None);
        };
        let url = server.database("bench", None).await?;
        postgres::migrate(&url, None).await?;
        Ok(Some(Self {
            options: url.parse()?,
            url,
            server,
        }))
    }

    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits until so many workers have registered.
    pub(crate) async fn until_owners(&self, count: i64, patience: Duration) -> Result<()> {
        let mut connection = self.options.connect().await?;
        let registered = async {
            loop {
                let owners: i64 = sqlx::query_scalar("SELECT count(*) FROM owners")
                    .fetch_one(&mut connection)
                    .await?;
                if owners >= count {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(patience, registered)
            .await
            .context("the workers do not register")?
    }

    /// The engine's store on it.
    pub(crate) async fn store(&self) -> Result<postgres::Postgres> {
        Ok(postgres::Postgres::open(&self.url, postgres::Settings::default()).await?)
    }

    /// A store on a database of its own, beside this one.
    pub(crate) async fn another(&self, name: &str) -> Result<postgres::Postgres> {
        let url = self.server.database(name, None).await?;
        postgres::migrate(&url, None).await?;
        Ok(postgres::Postgres::open(&url, postgres::Settings::default()).await?)
    }

    /// Runs a statement.
    pub(crate) async fn run(&self, sql: &'static str) -> Result<()> {
        let mut connection = self.options.connect().await?;
        connection.execute(sql).await?;
        Ok(())
    }

    /// Its first process; the others are its children.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.server.pid().context("Postgres is gone")
    }

    /// Where its write-ahead log ends.
    pub(crate) async fn wal_position(&self) -> Result<u64> {
        let mut connection = self.options.connect().await?;
        let position: i64 = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
            .fetch_one(&mut connection)
            .await?;
        Ok(u64::try_from(position)?)
    }
}
