//! One statement being put together: its text, and the values in the order of their numbers.

use std::fmt::Write as _;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments as _, AssertSqlSafe, Encode, PgConnection, Postgres, Type, query_with};

/// Text that holds no value, and values that are in no text.
#[derive(Default)]
pub(crate) struct Script {
    sql: String,
    values: PgArguments,
    broken: Option<sqlx::Error>,
}

impl Script {
    pub(crate) fn new(sql: &str) -> Self {
        Self {
            sql: sql.to_owned(),
            ..Self::default()
        }
    }

    /// Adds text.
    pub(crate) fn sql(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Adds a value, as `$n`.
    pub(crate) fn bind<'q, V>(&mut self, value: V) -> &mut Self
    where
        V: Encode<'q, Postgres> + Type<Postgres>,
    {
        if let Err(error) = self.values.add(value) {
            self.broken.get_or_insert(sqlx::Error::Encode(error));
        }
        let _ = write!(self.sql, "${}", self.values.len());
        self
    }

    /// Adds several values, separated by commas.
    pub(crate) fn comma<'q, V>(&mut self, value: V) -> &mut Self
    where
        V: Encode<'q, Postgres> + Type<Postgres>,
    {
        self.sql(", ").bind(value)
    }

    /// Runs it.
    pub(super) async fn rows(self, db: &mut PgConnection) -> Result<Vec<PgRow>, sqlx::Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        query_with(AssertSqlSafe(self.sql), self.values).fetch_all(db).await
    }
}
