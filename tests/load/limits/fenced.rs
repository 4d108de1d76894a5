//! Group writers of the very rows that the engine's log has, with and without a fence: whether the epoch of each row's session is
//! still its writer's is looked up in the statement that inserts, and kept so until it commits.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, Row as _};
use uuid::Uuid;

use super::Group;

/// Writers, as the engine has.
const WRITERS: usize = 2;

/// A row of the engine's log.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) session: i64,
    first_seq: i64,
    turn: i64,
    append_id: Option<Uuid>,
    ids: Vec<u8>,
    events: Vec<u8>,
    /// Of the lease under which it was written.
    epoch: i64,
}

/// What holders appended: the rows of each session in order, where there are any.
pub(crate) async fn commits(options: &PgConnectOptions) -> Result<Vec<Vec<Commit>>> {
    let mut connection = options.connect().await?;
    let rows = sqlx::query(
        "SELECT c.session, c.first_seq, c.turn, c.holder_append_id, c.ids, c.events, s.epoch
         FROM commits c JOIN sessions s ON s.number = c.session WHERE c.holder_append_id IS NOT NULL
         ORDER BY c.session, c.first_seq",
    )
    .fetch_all(&mut connection)
    .await?;
    let mut sessions: Vec<Vec<Commit>> = Vec::new();
    for row in &rows {
        let commit = commit(row)?;
        match sessions.last_mut() {
            Some(session) if session.first().is_some_and(|first| first.session == commit.session) => {
                session.push(commit);
            }
            _ => sessions.push(vec![commit]),
        }
    }
    Ok(sessions)
}

fn commit(row: &PgRow) -> Result<Commit> {
    Ok(Commit {
        session: row.try_get("session")?,
        first_seq: row.try_get("first_seq")?,
        turn: row.try_get("turn")?,
        append_id: row.try_get("holder_append_id")?,
        ids: row.try_get("ids")?,
        events: row.try_get("events")?,
        epoch: row.try_get("epoch")?,
    })
}

/// Makes the tables: one of the log's shape for each kind of writer, and the leases of these sessions.
pub(crate) async fn prepare(options: &PgConnectOptions) -> Result<()> {
    let mut connection = options.connect().await?;
    connection
        .execute(
            "DROP TABLE IF EXISTS fenced_commits, unfenced_commits, limit_leases;
             CREATE TABLE fenced_commits (LIKE commits INCLUDING ALL);
             CREATE TABLE unfenced_commits (LIKE commits INCLUDING ALL);
             CREATE TABLE limit_leases (session bigint PRIMARY KEY, epoch bigint NOT NULL) WITH (fillfactor = 50);
             INSERT INTO limit_leases SELECT number, epoch FROM sessions;
             ANALYZE limit_leases;",
        )
        .await?;
    Ok(())
}

const COLUMNS: &str = "session, first_seq, turn, at, holder_append_id, ids, events";
const ROWS: &str =
    "unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bytea[], $6::bytea[], $7::bigint[])
    AS r (session, first_seq, turn, append_id, ids, events, epoch)";

struct Writer {
    connection: PgConnection,
    statement: String,
}

/// Writers that check nothing.
pub(crate) async fn unfenced(options: &PgConnectOptions) -> Result<Vec<Box<dyn Group<Commit>>>> {
    let statement = format!(
        "INSERT INTO unfenced_commits ({COLUMNS})
         SELECT r.session, r.first_seq, r.turn, clock_timestamp(), r.append_id, r.ids, r.events FROM {ROWS}
         WHERE r.epoch IS NOT NULL"
    );
    writers(options, statement).await
}

/// Writers that write for whoever holds the lease.
pub(crate) async fn fenced(options: &PgConnectOptions) -> Result<Vec<Box<dyn Group<Commit>>>> {
    let statement = format!(
        "WITH rows AS MATERIALIZED (SELECT * FROM {ROWS}),
            held AS MATERIALIZED (SELECT l.session FROM limit_leases l JOIN rows r ON r.session = l.session
                WHERE l.epoch = r.epoch FOR SHARE OF l)
         INSERT INTO fenced_commits ({COLUMNS})
         SELECT r.session, r.first_seq, r.turn, clock_timestamp(), r.append_id, r.ids, r.events
         FROM rows r WHERE r.session IN (SELECT session FROM held)"
    );
    writers(options, statement).await
}

async fn writers(options: &PgConnectOptions, statement: String) -> Result<Vec<Box<dyn Group<Commit>>>> {
    let mut writers: Vec<Box<dyn Group<Commit>>> = Vec::new();
    for _ in 0..WRITERS {
        writers.push(Box::new(Writer {
            connection: options.connect().await?,
            statement: statement.clone(),
        }));
    }
    Ok(writers)
}

#[async_trait]
impl Group<Commit> for Writer {
    async fn write(&mut self, rows: &[Commit]) -> Result<()> {
        fn each<V>(rows: &[Commit], value: impl Fn(&Commit) -> V) -> Vec<V> {
            rows.iter().map(value).collect()
        }
        let written = sqlx::query(AssertSqlSafe(self.statement.clone()))
            .bind(each(rows, |row| row.session))
            .bind(each(rows, |row| row.first_seq))
            .bind(each(rows, |row| row.turn))
            .bind(each(rows, |row| row.append_id))
            .bind(each(rows, |row| row.ids.clone()))
            .bind(each(rows, |row| row.events.clone()))
            .bind(each(rows, |row| row.epoch))
            .execute(&mut self.connection)
            .await?
            .rows_affected();
        ensure!(
            written == rows.len() as u64,
            "{written} of {} rows were written",
            rows.len()
        );
        Ok(())
    }
}
