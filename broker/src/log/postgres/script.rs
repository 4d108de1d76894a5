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

    /// Begins a table of so many rows, for a `FROM`.
    pub(crate) fn table(&mut self, rows: usize) -> Table<'_> {
        let one = rows == 1;
        self.sql(if one { "(SELECT " } else { "unnest(" });
        let names = String::new();
        Table {
            script: self,
            one,
            names,
        }
    }

    /// Runs it.
    pub(super) async fn rows(self, db: &mut PgConnection) -> Result<Vec<PgRow>, sqlx::Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        query_with(AssertSqlSafe(self.sql), self.values).fetch_all(db).await
    }
}

/// Values as a table. One row is a list of values, which costs the server a third less than a function that unnests arrays of one.
pub(crate) struct Table<'s> {
    script: &'s mut Script,
    one: bool,
    names: String,
}

impl<'s> Table<'s> {
    /// Adds a column of a type, with a value for each row.
    pub(crate) fn column<'q, V>(mut self, name: &str, kind: &str, values: impl IntoIterator<Item = V>) -> Self
    where
        V: Encode<'q, Postgres> + Type<Postgres>,
        Vec<V>: Encode<'q, Postgres> + Type<Postgres>,
    {
        if !self.names.is_empty() {
            self.script.sql(", ");
            self.names.push_str(", ");
        }
        self.names.push_str(name);
        let mut values = values.into_iter();
        match values.next() {
            Some(value) if self.one => self.script.bind(value).sql("::").sql(kind).sql(" AS ").sql(name),
            first => {
                let values: Vec<V> = first.into_iter().chain(values).collect();
                self.script.bind(values).sql("::").sql(kind).sql("[]")
            }
        };
        self
    }

    /// Ends it, under a name.
    pub(crate) fn named(self, name: &str) -> &'s mut Script {
        self.script.sql(") AS ").sql(name);
        if !self.one {
            self.script.sql(" (").sql(&self.names).sql(")");
        }
        self.script
    }
}
