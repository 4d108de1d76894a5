//! Several statements sent to the connection's thread at once, as one savepoint: a round trip per append instead of one per
//! statement. Where nothing but appends waits, the transaction's own begin and end travel with them.

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Encode, Executor as _, Sqlite, SqliteConnection, Type, query_with};

use super::failure;

/// Statements and their values, in order; every value stands for the next `?`.
pub(super) struct Script {
    sql: String,
    values: SqliteArguments,
    refused: Option<sqlx::Error>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self {
            sql: String::from("SAVEPOINT member;"),
            values: SqliteArguments::default(),
            refused: None,
        }
    }

    /// One statement that asks.
    pub(super) fn question(sql: &str) -> Self {
        Self {
            sql: sql.to_owned(),
            ..Self::new()
        }
    }

    /// The answer to a question.
    pub(super) async fn rows(self, db: &mut SqliteConnection) -> Result<Vec<SqliteRow>, sqlx::Error> {
        match self.refused {
            Some(error) => Err(error),
            None => db.fetch_all(query_with(AssertSqlSafe(self.sql), self.values)).await,
        }
    }

    /// Adds SQL text of ours; whatever comes from outside goes through [`Script::bind`].
    pub(super) fn sql(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Adds a value.
    pub(super) fn bind<'v, V: Encode<'v, Sqlite> + Type<Sqlite>>(&mut self, value: V) -> &mut Self {
        if let Err(error) = self.values.add(value) {
            self.refused.get_or_insert(sqlx::Error::Encode(error));
        }
        self
    }

    /// Statements outside of any savepoint, for [`Script::run_and_commit`].
    pub(super) fn bare() -> Self {
        Self::question("")
    }

    /// Runs a [`Script::bare`] and ends the transaction, in one trip. After an error the transaction stands as far as it got.
    pub(super) async fn run_and_commit(mut self, db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        self.sql.push_str("COMMIT;");
        let done = db.execute(query_with(AssertSqlSafe(self.sql), self.values)).await;
        done.map(|_| ())
    }

    /// Runs all of it or nothing. After a statement-only error ([`failure::is_statement_only`]) the transaction stands as
    /// before the script.
    pub(super) async fn run(mut self, db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        self.sql.push_str("RELEASE member;");
        let done = db.execute(query_with(AssertSqlSafe(self.sql), self.values)).await;
        match done {
            Ok(_) => Ok(()),
            Err(error) if failure::is_statement_only(&error) => {
                db.execute("ROLLBACK TO member; RELEASE member;").await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }
}
