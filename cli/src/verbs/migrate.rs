//! `perennial migrate`

use clap::Args;
use perennial_broker::log::{postgres, sqlite};
use secrecy::ExposeSecret;
use serde_json::json;

use super::Context;
use crate::args::ClusterArgs;
use crate::config::Database;
use crate::error::{Error, chain};
use crate::exit::Exit;
use crate::output;

/// Bring a database up to this build's schema: the cluster's, or the one of the data directory.
///
/// `up` does it by itself on the data directory; the processes of a cluster refuse an old schema instead.
#[derive(Debug, Default, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Applies the migrations this build carries, forward only.
pub async fn run(context: &Context) -> Result<Exit, Error> {
    match &context.settings.database {
        Some(database) => cluster(context, database).await,
        None => embedded(context).await,
    }
}

async fn cluster(context: &Context, database: &Database) -> Result<Exit, Error> {
    let schema = database.schema.value.as_deref();
    postgres::migrate(database.url.value.expose_secret(), schema)
        .await
        .map_err(|error| Error::Failed(format!("cannot migrate the database: {}", chain(&error))))?;
    if context.json {
        output::line(&json!({"database": true, "schema": schema, "migrated": true}).to_string())?;
    } else {
        output::line("the database is up to date")?;
    }
    Ok(Exit::Done)
}

async fn embedded(context: &Context) -> Result<Exit, Error> {
    let data_dir = &context.settings.data_dir.value;
    // Only `up` makes a data directory: a misspelt path must not become one.
    if !data_dir.is_dir() {
        return Err(Error::Usage(format!("{}: no such data directory", data_dir.display())));
    }
    sqlite::migrate(data_dir)
        .await
        .map_err(|error| Error::Failed(format!("cannot migrate {}: {}", data_dir.display(), chain(&error))))?;
    if context.json {
        output::line(&json!({"data_dir": data_dir, "migrated": true}).to_string())?;
    } else {
        output::line(&format!("{} is up to date", data_dir.display()))?;
    }
    Ok(Exit::Done)
}
