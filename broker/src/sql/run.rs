//! Statements in the words of each database.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection, query};

use super::{Statement, Value};
use crate::log::postgres::Script;

/// Runs a statement in the embedded database.
pub(crate) async fn run(db: &mut SqliteConnection, asked: Statement) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let query = query(AssertSqlSafe(asked.sql));
    let filled = asked.values.into_iter().fold(query, |query, value| match value {
        Value::Id(id) => query.bind(id),
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Flag(flag) => query.bind(flag),
        Value::Bytes(bytes) => query.bind(bytes),
    });
    filled.fetch_all(db).await
}

/// A statement in Postgres' words.
pub(crate) fn script(asked: &Statement) -> Script {
    let mut script = Script::new("");
    add(&mut script, asked);
    script
}

/// The same, after what is there.
pub(crate) fn add(script: &mut Script, asked: &Statement) {
    let mut pieces = asked.sql.split('?');
    script.sql(pieces.next().unwrap_or_default());
    for (piece, value) in pieces.zip(&asked.values) {
        match value {
            Value::Id(id) => script.bind(*id),
            Value::Number(number) => script.bind(*number),
            Value::Text(text) => script.bind(text.clone()),
            Value::Flag(flag) => script.bind(*flag),
            Value::Bytes(bytes) => script.bind(bytes.clone()),
        };
        script.sql(piece);
    }
}
