//! The two databases, asked in the same words.

use async_trait::async_trait;
use perennial_engine::ports::StoreError;

use super::{Columns, Statement};
use crate::executors::{Postgres, Sqlite};

/// A database that is asked in our words.
#[async_trait]
pub(crate) trait Desk: Send + Sync {
    type Row: Columns;
    /// Microseconds of a column that has a time in this database's own way.
    const MICROS: [&'static str; 2];

    /// Asks, or changes; a change is durable.
    async fn asked(&self, asked: Statement) -> Result<Vec<Self::Row>, StoreError>;

    /// Changes what is said again soon, so that nothing is lost with it.
    async fn noted(&self, asked: Statement) -> Result<Vec<Self::Row>, StoreError>;
}

#[async_trait]
impl Desk for Sqlite {
    type Row = sqlx::sqlite::SqliteRow;
    const MICROS: [&'static str; 2] = ["", ""];

    async fn asked(&self, mut asked: Statement) -> Result<Vec<Self::Row>, StoreError> {
        // There is one writer: nobody else is taking anything.
        asked.sql = asked.sql.replace(":any", "IN (").replace(":end", ")");
        // What is committed is all there is, and the next change comes behind it.
        asked.sql = asked
            .sql
            .replace(":settled", "9223372036854775807")
            .replace(":commit", "(SELECT coalesce(max(change_no), 0) + 1 FROM messages)");
        if asked.sql.starts_with("SELECT") {
            return self.rows(asked).await;
        }
        self.change(vec![asked]).await
    }

    async fn noted(&self, asked: Statement) -> Result<Vec<Self::Row>, StoreError> {
        self.note(asked).await
    }
}

#[async_trait]
impl Desk for Postgres {
    type Row = sqlx::postgres::PgRow;
    const MICROS: [&'static str; 2] = ["(extract(epoch FROM ", ") * 1000000)::bigint"];

    async fn asked(&self, mut asked: Statement) -> Result<Vec<Self::Row>, StoreError> {
        // An array, so that the rows are chosen and locked once.
        let end = "FOR UPDATE SKIP LOCKED))";
        asked.sql = asked.sql.replace(":any", "= ANY (ARRAY(").replace(":end", end);
        asked.sql = asked
            .sql
            .replace(":settled", "pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            .replace(":commit", "pg_current_xact_id()::text::bigint");
        self.rows(asked).await
    }

    async fn noted(&self, asked: Statement) -> Result<Vec<Self::Row>, StoreError> {
        self.rows(asked).await
    }
}
