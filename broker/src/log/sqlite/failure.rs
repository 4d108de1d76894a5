//! What SQLite's errors mean for a caller: refused, unavailable with a remedy, or unknown.

use perennial_engine::ports::StoreError;

/// SQLite's primary result codes we tell apart (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const TOOBIG: i32 = 18;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const NOTADB: i32 = 26;
}

const STORE: &str = "session";

/// Why a verb did not happen.
pub(crate) enum Halt<R> {
    /// This verb is refused; its neighbours in the transaction go on.
    Refused(R),
    /// The transaction cannot go on.
    Lost(sqlx::Error),
}

impl<R> From<sqlx::Error> for Halt<R> {
    fn from(error: sqlx::Error) -> Self {
        Self::Lost(error)
    }
}

/// Runs on a decoding error: this row only.
pub(crate) fn refuse<R: From<StoreError>>(error: StoreError) -> Halt<R> {
    Halt::Refused(R::from(error))
}

fn primary(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// The statement failed but the transaction stands: a constraint, or a value that is too big.
pub(super) fn is_statement_only(error: &sqlx::Error) -> bool {
    matches!(primary(error), Some(code::CONSTRAINT | code::TOOBIG))
}

/// Somebody else is writing; the connection is healthy.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary(error), Some(code::BUSY | code::LOCKED))
}

/// An error before COMMIT was asked for, or of a read: nothing was written.
pub(crate) fn before_commit(error: &sqlx::Error) -> StoreError {
    let inconsistent = matches!(primary(error), Some(code::CORRUPT | code::NOTADB));
    if inconsistent {
        return StoreError::Inconsistent {
            table: "(the database file)",
            key: "unknown".into(),
            message: format!("{error}: restore perennial.db from a backup, or salvage it with `sqlite3 … .recover`"),
        };
    }
    unavailable(with_remedy(error))
}

/// An error of COMMIT itself. Where SQLite says that it could not write, the transaction is rolled back; after a failed
/// sync nobody knows what the disk kept.
pub(super) fn at_commit(error: &sqlx::Error) -> StoreError {
    match primary(error) {
        Some(code::FULL | code::READONLY | code::CANTOPEN | code::BUSY | code::LOCKED | code::CONSTRAINT) => {
            unavailable(with_remedy(error))
        }
        _ => StoreError::Unknown {
            message: with_remedy(error),
        },
    }
}

/// The store cannot answer now.
pub(super) fn unavailable(message: impl Into<String>) -> StoreError {
    StoreError::Unavailable {
        store: STORE,
        message: message.into(),
    }
}

fn with_remedy(error: &sqlx::Error) -> String {
    let remedy = match primary(error) {
        Some(code::FULL) => "the disk is full: free some space; writing resumes by itself",
        Some(code::READONLY) => "the data directory is read-only: make it writable; writing resumes by itself",
        Some(code::CANTOPEN) => "the database file cannot be opened: check the data directory and its permissions",
        Some(code::IOERR) => "the disk reports an error or is full: check free space and the system log",
        Some(code::BUSY | code::LOCKED) => "another program is writing to the database file: close it",
        _ if matches!(error, sqlx::Error::PoolTimedOut) => "all readers are busy: try again",
        _ => return error.to_string(),
    };
    format!("{error}: {remedy}")
}

/// The same error for several callers.
pub(super) fn copy(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable { store, message } => StoreError::Unavailable {
            store,
            message: message.clone(),
        },
        StoreError::Unknown { message } => StoreError::Unknown {
            message: message.clone(),
        },
        StoreError::Inconsistent { table, key, message } => StoreError::Inconsistent {
            table,
            key: key.clone(),
            message: message.clone(),
        },
    }
}
