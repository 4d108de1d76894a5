//! The server limits: a prepared INSERT a record on at most 16 connections, and two writers that send whatever waits as one
//! UNNEST. The same driver as the product's.

use anyhow::Result;
use async_trait::async_trait;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _, PgConnection};
use tokio::sync::Mutex;

use super::{Direct, Group, Row};

/// Connections of [`Connections`].
const CONNECTIONS: usize = 16;
/// Writers of [`writers`].
const WRITERS: usize = 2;

/// Makes the table.
pub(crate) async fn prepare(options: &PgConnectOptions) -> Result<()> {
    let mut connection = options.connect().await?;
    connection
        .execute(
            "CREATE TABLE IF NOT EXISTS limit_records (session bytea NOT NULL, seq bigint NOT NULL, payload text NOT NULL,
             PRIMARY KEY (session, seq))",
        )
        .await?;
    Ok(())
}

/// One row a commit.
pub(crate) struct Connections(Vec<Mutex<PgConnection>>);

impl Connections {
    /// Opens as many as `at_once` sessions can use.
    pub(crate) async fn open(options: &PgConnectOptions, at_once: usize) -> Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..at_once.min(CONNECTIONS) {
            connections.push(Mutex::new(options.connect().await?));
        }
        Ok(Self(connections))
    }
}

#[async_trait]
impl Direct for Connections {
    async fn write(&self, lane: usize, row: Row) -> Result<()> {
        let mut connection = self.0[lane % self.0.len()].lock().await;
        sqlx::query("INSERT INTO limit_records (session, seq, payload) VALUES ($1, $2, $3)")
            .bind(row.session.as_bytes().as_slice())
            .bind(row.seq)
            .bind(row.payload)
            .execute(&mut *connection)
            .await?;
        Ok(())
    }
}

struct Together(PgConnection);

/// Two of them.
pub(crate) async fn writers(options: &PgConnectOptions) -> Result<Vec<Box<dyn Group<Row>>>> {
    let mut writers: Vec<Box<dyn Group<Row>>> = Vec::new();
    for _ in 0..WRITERS {
        writers.push(Box::new(Together(options.connect().await?)));
    }
    Ok(writers)
}

#[async_trait]
impl Group<Row> for Together {
    async fn write(&mut self, rows: &[Row]) -> Result<()> {
        let sessions: Vec<&[u8]> = rows.iter().map(|row| row.session.as_bytes().as_slice()).collect();
        let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        let payloads: Vec<&str> = rows.iter().map(|row| row.payload.as_str()).collect();
        sqlx::query(
            "INSERT INTO limit_records (session, seq, payload) SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::text[])",
        )
        .bind(sessions)
        .bind(seqs)
        .bind(payloads)
        .execute(&mut self.0)
        .await?;
        Ok(())
    }
}
