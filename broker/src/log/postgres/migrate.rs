//! The schema: brought up to date by one process at a time, and checked by every other before it serves.

use std::collections::BTreeMap;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, PgConnection, query, query_as};

use super::{OpenError, connect};

static MIGRATIONS: Migrator = sqlx::migrate!("../schema/migrations/postgres");

/// Brings a database's schema up to date, forward only, under an advisory lock: who comes second waits and finds it done.
///
/// # Errors
/// When the database cannot be reached, or a migration fails.
pub async fn migrate(url: &str, schema: Option<&str>) -> Result<(), OpenError> {
    let options = connect::options(url, schema)?;
    let mut db = connect::one(&options).await?;
    connect::check(&mut db).await?;
    if let Some(schema) = schema {
        make(&mut db, schema).await?;
    }
    // Not `run`: its future cannot be sent between threads.
    MIGRATIONS
        .run_direct(None, &mut db, false)
        .await
        .map_err(|source| OpenError::Migrate { source })?;
    connect::end(db).await;
    Ok(())
}

/// Removes a private schema and everything in it.
///
/// # Errors
/// When the database cannot be reached, or the name is no plain one.
pub async fn drop_schema(url: &str, schema: &str) -> Result<(), OpenError> {
    let options: PgConnectOptions = connect::options(url, Some(schema))?;
    let mut db = connect::one(&options).await?;
    query(AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {schema} CASCADE")))
        .execute(&mut db)
        .await?;
    connect::end(db).await;
    Ok(())
}

/// The name was checked to be a plain one.
async fn make(db: &mut PgConnection, schema: &str) -> Result<(), OpenError> {
    let made = query(AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {schema}")))
        .execute(db)
        .await;
    match made {
        // Two at the same moment: the other one made it.
        Err(error) if super::failure::kind(&error) == super::failure::Kind::Taken => Ok(()),
        done => Ok(done.map(|_| ())?),
    }
}

/// Whether the schema is the one this program was built for.
pub(super) async fn check(db: &mut PgConnection) -> Result<(), OpenError> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *db)
        .await?;
    if !there {
        return Err(OpenError::OldSchema);
    }
    let applied: Vec<(i64, bool, Vec<u8>)> =
        query_as("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
            .fetch_all(db)
            .await?;
    let mut applied: BTreeMap<i64, (bool, Vec<u8>)> = applied
        .into_iter()
        .map(|(version, success, checksum)| (version, (success, checksum)))
        .collect();
    for migration in MIGRATIONS.iter() {
        match applied.remove(&migration.version) {
            Some((true, checksum)) if checksum == migration.checksum.as_ref() => {}
            Some((true, _)) => return Err(OpenError::OtherSchema),
            Some((false, _)) | None => return Err(OpenError::OldSchema),
        }
    }
    if applied.is_empty() {
        Ok(())
    } else {
        Err(OpenError::NewSchema)
    }
}
