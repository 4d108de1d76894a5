//! Connections: what each begins with, the pools, and whether the server may be trusted with a log at all.

use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Row as _, query, raw_sql};

use super::OpenError;
use super::ask::Desk;
use super::site::Site;
use crate::limits;

/// The role the servers act under; see the first migration.
const ROLE: &str = "perennial_app";

/// How to reach the database, from its URL and the schema to use in it.
pub(super) fn options(url: &str, schema: Option<&str>) -> Result<PgConnectOptions, OpenError> {
    let options: PgConnectOptions = url.parse().map_err(|source| OpenError::Url { source })?;
    let options = options
        .application_name("perennial")
        .statement_cache_capacity(limits::STATEMENTS);
    let Some(schema) = schema else { return Ok(options) };
    let plain = !schema.is_empty()
        && schema
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !plain {
        return Err(OpenError::SchemaName { name: schema.into() });
    }
    Ok(options.options([("search_path", schema)]))
}

/// Another address of the same database, for connections that begin as these do.
pub(super) fn like(options: &PgConnectOptions, url: &str) -> Result<PgConnectOptions, OpenError> {
    let direct = self::options(url, None)?;
    let Some(settings) = options.get_options() else {
        return Ok(direct);
    };
    // As `PgConnectOptions::options` wrote them: `-c name=value`, with no blank in either.
    let pairs = settings.split(' ').filter_map(|word| word.split_once('='));
    Ok(direct.options(pairs))
}

/// A connection for a look at the server, with a bound on the wait.
pub(super) async fn one(options: &PgConnectOptions) -> Result<PgConnection, OpenError> {
    let made = tokio::time::timeout(limits::CONNECT_WAIT, options.connect()).await;
    made.unwrap_or_else(|_| Err(super::failure::silent()))
        .map_err(|source| OpenError::Database { source })
}

/// Refuses a server that may lose what it acknowledged (I2), or that we cannot work with.
pub(super) async fn check(db: &mut PgConnection) -> Result<(), OpenError> {
    let row = query(
        "SELECT current_setting('server_version_num')::integer AS version, current_setting('server_version') AS name,
            current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
            current_setting('synchronous_commit') AS synchronous_commit, current_setting('server_encoding') AS encoding,
            pg_is_in_recovery() AS standby",
    )
    .fetch_one(db)
    .await?;
    let version: i32 = row.try_get("version")?;
    if version < 150_000 {
        let is = row.try_get("name")?;
        return Err(OpenError::Version { is });
    }
    if row.try_get("standby")? {
        return Err(OpenError::Standby);
    }
    for (name, bad, must) in [
        ("fsync", "off", "on"),
        ("full_page_writes", "off", "on"),
        ("synchronous_commit", "off", "on"),
    ] {
        if row.try_get::<&str, _>(name)? == bad {
            return Err(OpenError::Setting {
                name,
                is: bad.into(),
                must,
            });
        }
    }
    let encoding: String = row.try_get("encoding")?;
    if encoding != "UTF8" {
        return Err(OpenError::Setting {
            name: "server_encoding",
            is: encoding,
            must: "UTF8",
        });
    }
    Ok(())
}

/// What every connection of a running server begins with: as the role that cannot rewrite the log, when we may take it, and
/// with an end to every wait on the server's side.
pub(super) async fn serving(options: PgConnectOptions, db: &mut PgConnection) -> Result<PgConnectOptions, OpenError> {
    let may: Option<bool> = sqlx::query_scalar(
        "SELECT pg_has_role(current_user, oid, 'MEMBER') AND has_schema_privilege(oid, current_schema(), 'USAGE')
         FROM pg_roles WHERE rolname = $1",
    )
    .bind(ROLE)
    .fetch_optional(&mut *db)
    .await?;
    let options = options.options([
        ("statement_timeout", "4s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
        ("jit", "off"),
    ]);
    if may == Some(true) {
        return Ok(options.options([("role", ROLE)]));
    }
    tracing::warn!("the role {ROLE} cannot be used: only triggers keep the log from being rewritten");
    Ok(options)
}

/// For writers, claims and replays, whose statements look at few rows by key: one plan for all values, made without statistics, so that one made
/// while the tables were empty is none to regret.
pub(super) fn by_key(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("enable_bitmapscan", "off"),
    ])
}

/// A pool of its own for each kind of work, so that none can starve another.
pub(super) fn desk(site: &Arc<Site>, options: &PgConnectOptions, connections: u32) -> Desk {
    Desk {
        site: Arc::clone(site),
        // A broken connection shows in its first statement, which is then asked again: no ping before each.
        pool: pool(connections)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone()),
    }
}

/// For the accounts' tables. Its users begin transactions and may be dropped in the middle of one: a connection that is still
/// in a transaction is not given to the next.
pub(super) fn accounts(options: &PgConnectOptions) -> PgPool {
    pool(limits::ACCOUNT_CONNECTIONS)
        .test_before_acquire(false)
        .before_acquire(|connection, _| {
            Box::pin(async move {
                // Only the first statement of a transaction begins when the transaction does.
                let row = raw_sql("SELECT now() = statement_timestamp() AS clean")
                    .fetch_one(connection)
                    .await?;
                row.try_get("clean")
            })
        })
        .connect_lazy_with(options.clone())
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(limits::QUEUE_WAIT)
        .max_lifetime(limits::CONNECTION_LIFE)
}

/// Ends a connection politely; that it may fail to hear it is no matter.
pub(super) async fn end(db: PgConnection) {
    let _ = db.close().await;
}
