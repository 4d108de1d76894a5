//! What Postgres' errors mean for a caller: refused, unavailable with a remedy, or lost with the connection.

use perennial_engine::ports::StoreError;
use sqlx::error::ErrorKind;

const STORE: &str = "session";

/// What became of a statement that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The connection broke or went silent: the statement may have committed.
    Lost,
    /// Something is there already; the statement did nothing.
    Taken,
    /// Others were in the way; the statement did nothing and may be asked again.
    Again,
    /// The server refused it; the statement did nothing.
    Refused,
}

/// Classes of SQLSTATE we tell apart (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
pub(super) fn kind(error: &sqlx::Error) -> Kind {
    let Some(database) = error.as_database_error() else {
        return match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Encode(_) => Kind::Refused,
            // The pool has nothing to give, or the statement's fate is not known.
            _ => Kind::Lost,
        };
    };
    if database.kind() == ErrorKind::UniqueViolation {
        return Kind::Taken;
    }
    match database.code().as_deref() {
        // Shutdown, crash of a neighbour, start-up, and the connection classes.
        Some("57P01" | "57P02" | "57P03" | "57P05" | "25P03") => Kind::Lost,
        Some(code) if code.starts_with("08") => Kind::Lost,
        // Deadlock, serialization, lock timeout, plans that outlived a migration, too many connections.
        Some("40P01" | "40001" | "55P03" | "0A000" | "53300") => Kind::Again,
        _ => Kind::Refused,
    }
}

/// The store cannot answer now.
pub(super) fn unavailable(message: impl Into<String>) -> StoreError {
    StoreError::Unavailable {
        store: STORE,
        message: message.into(),
    }
}

/// An error of a read, or of a statement that certainly wrote nothing.
pub(super) fn nothing_written(error: &sqlx::Error) -> StoreError {
    unavailable(with_remedy(error))
}

/// A statement that did not come back in time.
pub(super) fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "the database does not answer",
    ))
}

fn with_remedy(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let remedy = match code.as_deref() {
        Some("53100") => "the database's disk is full: free some space; writing resumes by itself",
        Some("25006") => "the database is read-only (a standby?): point --database-url at the primary",
        Some("42501") => "the role lacks a right: run `perennial migrate --database-url …` as the schema's owner",
        Some("42P01" | "42703") => "the schema is not ours or old: run `perennial migrate --database-url …`",
        Some("28P01" | "28000" | "3D000") => "check --database-url",
        Some("53300") => "the database has no connection left: raise max_connections, or run fewer processes",
        Some("57014") => "the database is overloaded or another program holds a lock",
        _ if matches!(error, sqlx::Error::PoolTimedOut) => "all connections are busy: try again",
        _ if matches!(error, sqlx::Error::Io(_)) => "is Postgres running, and reachable from here?",
        _ => return error.to_string(),
    };
    format!("{error}: {remedy}")
}
