//! A statement and its values. Ids are uuids of Postgres and 16 bytes in SQLite; times and amounts are numbers.

use perennial_schema::Timestamp;
use uuid::Uuid;

use crate::meter::counter::MOST;

/// A statement of ours: `?` stands for the next value.
#[derive(Clone, Debug)]
pub(in crate::meter) struct Statement {
    pub(in crate::meter) sql: String,
    pub(in crate::meter) values: Vec<Value>,
}

/// A value as both databases know it.
#[derive(Clone, Debug)]
pub(in crate::meter) enum Value {
    Id(Option<Uuid>),
    Number(Option<i64>),
    Text(Option<String>),
    Flag(bool),
    Bytes(Vec<u8>),
}

/// A statement to be filled.
pub(in crate::meter) fn statement(sql: impl Into<String>) -> Statement {
    Statement {
        sql: sql.into(),
        values: Vec::new(),
    }
}

impl Statement {
    /// More text.
    pub(in crate::meter) fn sql(mut self, sql: &str) -> Self {
        self.sql.push_str(sql);
        self
    }

    fn with(mut self, value: Value) -> Self {
        self.values.push(value);
        self
    }

    pub(in crate::meter) fn id(self, id: Uuid) -> Self {
        self.with(Value::Id(Some(id)))
    }

    pub(in crate::meter) fn maybe_id(self, id: Option<Uuid>) -> Self {
        self.with(Value::Id(id))
    }

    pub(in crate::meter) fn number(self, number: i64) -> Self {
        self.with(Value::Number(Some(number)))
    }

    /// An amount; what is too large for sums counts as the largest.
    pub(in crate::meter) fn amount(self, amount: u64) -> Self {
        self.maybe_amount(Some(amount))
    }

    pub(in crate::meter) fn maybe_amount(self, amount: Option<u64>) -> Self {
        let number = amount.map(|amount| i64::try_from(amount.min(MOST)).unwrap_or(i64::MAX));
        self.with(Value::Number(number))
    }

    pub(in crate::meter) fn time(self, at: Timestamp) -> Self {
        self.number(at.micros())
    }

    pub(in crate::meter) fn maybe_time(self, at: Option<Timestamp>) -> Self {
        self.with(Value::Number(at.map(Timestamp::micros)))
    }

    /// Text; Postgres' has no NUL.
    pub(in crate::meter) fn text(self, text: &str) -> Self {
        self.maybe_text(Some(text))
    }

    pub(in crate::meter) fn maybe_text(self, text: Option<&str>) -> Self {
        self.with(Value::Text(text.map(|text| text.replace('\0', "\u{fffd}"))))
    }

    pub(in crate::meter) fn flag(self, flag: bool) -> Self {
        self.with(Value::Flag(flag))
    }

    pub(in crate::meter) fn bytes(self, bytes: &[u8]) -> Self {
        self.with(Value::Bytes(bytes.to_vec()))
    }
}
