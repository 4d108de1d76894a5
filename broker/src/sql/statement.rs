//! A statement and its values. Ids are uuids of Postgres and 16 bytes in SQLite; times and amounts are numbers.
//! Each database has its own way to run one.

use std::time::Duration;

use perennial_schema::Timestamp;
use uuid::Uuid;

use crate::limits::MOST;

/// A statement of ours: `?` stands for the next value.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

/// A value as both databases know it.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Id(Option<Uuid>),
    Number(Option<i64>),
    Text(Option<String>),
    Flag(bool),
    Bytes(Vec<u8>),
}

/// A span of time, as both databases count it.
pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// From one time to another one; none when that comes first.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> Option<Duration> {
    u64::try_from(to.micros() - from.micros())
        .ok()
        .map(Duration::from_micros)
}

/// A statement to be filled.
pub(crate) fn statement(sql: impl Into<String>) -> Statement {
    Statement {
        sql: sql.into(),
        values: Vec::new(),
    }
}

impl Statement {
    /// More text.
    pub(crate) fn sql(mut self, sql: &str) -> Self {
        self.sql.push_str(sql);
        self
    }

    /// More text that brings its own values.
    pub(crate) fn with_statement(mut self, more: Self) -> Self {
        self.sql.push_str(&more.sql);
        self.values.extend(more.values);
        self
    }

    /// With the time of the store's clock where it says `:now`.
    pub(crate) fn at(mut self, now: &str) -> Self {
        self.sql = self.sql.replace(":now", now);
        self
    }

    fn with(mut self, value: Value) -> Self {
        self.values.push(value);
        self
    }

    pub(crate) fn id(self, id: Uuid) -> Self {
        self.with(Value::Id(Some(id)))
    }

    pub(crate) fn maybe_id(self, id: Option<Uuid>) -> Self {
        self.with(Value::Id(id))
    }

    pub(crate) fn number(self, number: i64) -> Self {
        self.with(Value::Number(Some(number)))
    }

    /// An amount; what is too large for sums counts as the largest.
    pub(crate) fn amount(self, amount: u64) -> Self {
        self.maybe_amount(Some(amount))
    }

    pub(crate) fn maybe_amount(self, amount: Option<u64>) -> Self {
        let number = amount.map(|amount| i64::try_from(amount.min(MOST)).unwrap_or(i64::MAX));
        self.with(Value::Number(number))
    }

    pub(crate) fn time(self, at: Timestamp) -> Self {
        self.number(at.micros())
    }

    pub(crate) fn maybe_time(self, at: Option<Timestamp>) -> Self {
        self.with(Value::Number(at.map(Timestamp::micros)))
    }

    /// Text; Postgres' has no NUL.
    pub(crate) fn text(self, text: &str) -> Self {
        self.maybe_text(Some(text))
    }

    pub(crate) fn maybe_text(self, text: Option<&str>) -> Self {
        self.with(Value::Text(text.map(|text| text.replace('\0', "\u{fffd}"))))
    }

    pub(crate) fn flag(self, flag: bool) -> Self {
        self.with(Value::Flag(flag))
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        self.with(Value::Bytes(bytes.to_vec()))
    }
}
