//! Accounts on Postgres, shared by every server of a cluster.

use std::future::Future;
use std::io;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres};

use super::sql::{Dialect, SqlAccounts, Statement};
use crate::limits::STATEMENT_WAIT;

/// Accounts on Postgres. Give it a pool of the API's, not one a worker's leases depend on (INVARIANTS I18).
pub type PostgresAccounts = SqlAccounts<Postgres>;

impl Dialect for Postgres {
    const BEGIN: &'static str = "BEGIN";
    // Held until the transaction ends, however it ends.
    const ALONE: Option<&'static str> = Some("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))");

    fn remedy(error: &sqlx::Error) -> &'static str {
        let code = error.as_database_error().and_then(DatabaseError::code);
        match code.as_deref().unwrap_or_default() {
            "42P01" | "42703" => "; the schema is too old, run `perennial migrate`",
            "42501" | "28P01" | "28000" | "3D000" => "; check the user, its rights and the database of --database-url",
            "25006" => "; this is a read-only replica, --database-url must name the primary",
            "53100" => "; the database's disk is full, make room",
            "53300" => "; the database has no connection left, raise max_connections or lower the pools",
            "40001" | "40P01" | "55P03" | "57014" | "57P01" | "57P02" | "57P03" => "; try again",
            _ => "",
        }
    }

    /// A database that answers has refused, unless it says that it goes away.
    fn is_lost(error: &sqlx::Error) -> bool {
        match error.as_database_error() {
            None => true,
            Some(database) => database
                .code()
                .is_some_and(|code| code.starts_with("57P") || code.starts_with("08") || code == "25P03"),
        }
    }

    async fn execute(connection: &mut PgConnection, statement: Statement) -> Result<u64, sqlx::Error> {
        let done = in_time(statement.query::<Self>().execute(connection)).await?;
        Ok(done.rows_affected())
    }

    async fn rows(connection: &mut PgConnection, statement: Statement) -> Result<Vec<PgRow>, sqlx::Error> {
        in_time(statement.query::<Self>().fetch_all(connection)).await
    }
}

/// A server that fell silent answers nobody: its connection is given up.
async fn in_time<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "the database does not answer");
    tokio::time::timeout(STATEMENT_WAIT, asked).await.map_err(silent)?
}
