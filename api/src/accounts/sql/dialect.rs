//! What SQLite and Postgres do differently here, and the little of sqlx the statements need. Every statement is the same text
//! for both: `$n` placeholders, `ON CONFLICT`, numbers for times.

use std::future::Future;

use perennial_engine::ports::StoreError;
use perennial_schema::Timestamp;
use sqlx::query::Query;
use sqlx::{ColumnIndex, Database, Decode, Encode, Row, Type};

/// Names the store in errors.
pub(super) const STORE: &str = "accounts";

/// A database the accounts can live in.
pub trait Dialect: Database<Row: Columns> {
    /// Opens a transaction that writes.
    const BEGIN: &'static str;

    /// Makes changes under the same name ($1) wait for each other until the transaction ends, where `BEGIN` does not.
    const ALONE: Option<&'static str>;

    /// What the operator can do about an error, to be appended to its text.
    fn remedy(error: &sqlx::Error) -> &'static str;

    /// Whether the connection is gone with this error, or says nothing any more: what it was asked may have happened.
    fn is_lost(error: &sqlx::Error) -> bool;

    /// Runs a statement; the number of rows it changed.
    fn execute(
        connection: &mut Self::Connection,
        statement: Statement,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Asks for rows.
    fn rows(
        connection: &mut Self::Connection,
        statement: Statement,
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send;

    /// What a database error means to a client.
    fn unavailable(error: sqlx::Error) -> StoreError {
        let remedy = match &error {
            sqlx::Error::PoolTimedOut => "; all connections are busy, try again",
            error => Self::remedy(error),
        };
        StoreError::Unavailable {
            store: STORE,
            message: format!("{error}{remedy}"),
        }
    }

    /// What a failed commit means to a client.
    fn uncommitted(error: sqlx::Error) -> StoreError {
        if Self::is_lost(&error) {
            StoreError::Unknown {
                message: error.to_string(),
            }
        } else {
            Self::unavailable(error)
        }
    }
}

/// A statement and its values, in order.
pub struct Statement {
    sql: &'static str,
    values: Vec<Value>,
}

enum Value {
    Text(String),
    Number(Option<i64>),
    Flag(bool),
    Bytes(Vec<u8>),
}

/// A statement to be filled.
pub(super) const fn statement(sql: &'static str) -> Statement {
    Statement {
        sql,
        values: Vec::new(),
    }
}

impl Statement {
    fn with(mut self, value: Value) -> Self {
        self.values.push(value);
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "ids and text alike, owned or borrowed")]
    pub(super) fn text(self, value: impl ToString) -> Self {
        self.with(Value::Text(value.to_string()))
    }

    pub(super) fn number(self, value: impl Into<i64>) -> Self {
        self.with(Value::Number(Some(value.into())))
    }

    /// Both databases count in signed numbers.
    pub(super) fn count(self, value: u64) -> Self {
        self.maybe_count(Some(value))
    }

    pub(super) fn maybe_count(self, value: Option<u64>) -> Self {
        self.with(Value::Number(
            value.map(|value| i64::try_from(value).unwrap_or(i64::MAX)),
        ))
    }

    pub(super) fn time(self, value: Timestamp) -> Self {
        self.maybe_time(Some(value))
    }

    pub(super) fn maybe_time(self, value: Option<Timestamp>) -> Self {
        self.with(Value::Number(value.map(Timestamp::micros)))
    }

    pub(super) fn flag(self, value: bool) -> Self {
        self.with(Value::Flag(value))
    }

    pub(super) fn bytes(self, value: &[u8]) -> Self {
        self.with(Value::Bytes(value.to_vec()))
    }

    /// As a query of sqlx.
    pub(in crate::accounts) fn query<DB>(self) -> Query<'static, DB, DB::Arguments>
    where
        DB: Database,
        String: Encode<'static, DB> + Type<DB>,
        Option<i64>: Encode<'static, DB> + Type<DB>,
        bool: Encode<'static, DB> + Type<DB>,
        Vec<u8>: Encode<'static, DB> + Type<DB>,
    {
        let query = sqlx::query(self.sql);
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
            Value::Flag(flag) => query.bind(flag),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }
}

/// A row of ours: text, numbers, times and bytes. What is not there, or is something else, does not parse.
pub trait Columns: Send + Sync {
    /// Text.
    fn text(&self, column: &'static str) -> Result<&str, StoreError>;
    /// A number, or NULL.
    fn maybe_number(&self, column: &'static str) -> Result<Option<i64>, StoreError>;
    /// Bytes.
    fn bytes(&self, column: &'static str) -> Result<&[u8], StoreError>;

    /// A number.
    fn number(&self, column: &'static str) -> Result<i64, StoreError> {
        self.maybe_number(column)?
            .ok_or_else(|| inconsistent(STORE, column, "is NULL"))
    }

    /// A number that counts.
    fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.number(column)?).map_err(|error| inconsistent(STORE, column, error))
    }

    /// A time.
    fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.number(column).map(Timestamp::from_micros)
    }

    /// A time, or NULL.
    fn maybe_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_number(column)?.map(Timestamp::from_micros))
    }
}

impl<R> Columns for R
where
    R: Row + Send + Sync,
    &'static str: ColumnIndex<R>,
    for<'r> &'r str: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
{
    fn text(&self, column: &'static str) -> Result<&str, StoreError> {
        self.try_get(column).map_err(|error| inconsistent(STORE, column, error))
    }

    fn maybe_number(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        self.try_get(column).map_err(|error| inconsistent(STORE, column, error))
    }

    fn bytes(&self, column: &'static str) -> Result<&[u8], StoreError> {
        self.try_get(column).map_err(|error| inconsistent(STORE, column, error))
    }
}

/// A row that does not parse.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over ids and errors they no longer need"
)]
pub(super) fn inconsistent(table: &'static str, key: impl ToString, problem: impl ToString) -> StoreError {
    StoreError::Inconsistent {
        table,
        key: key.to_string(),
        message: problem.to_string(),
    }
}

/// Reads a JSON column.
pub(super) fn decode<T: serde::de::DeserializeOwned>(
    table: &'static str,
    key: &str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| inconsistent(table, key, error))
}

/// Writes a JSON column.
pub(super) fn encode<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| inconsistent("(unsaved)", "", error))
}
