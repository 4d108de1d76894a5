//! Opening the store: a server and a schema that can be trusted, then writers and pools.

use std::sync::Arc;

use perennial_engine::ports::Clock;

use super::clock::Time;
use super::lane::Lane;
use super::site::Site;
use super::{Inner, Postgres, connect, migrate};
use crate::limits;

/// What a store needs from outside.
#[derive(Clone)]
pub struct Settings {
    /// A clock that stamps commits and judges leases; none means the database's own. For tests.
    pub clock: Option<Arc<dyn Clock>>,
    /// The schema to use instead of the role's default: a private copy on a shared server.
    pub schema: Option<String>,
    /// Connections that append. Few: a batch costs little more than a single append, a connection much.
    pub writers: usize,
    /// At most so many sessions of a workspace are held at once, as far as this process claims them; none means as many as there
    /// are slots.
    pub workspace_slots: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clock: None,
            schema: None,
            writers: limits::WRITERS,
            workspace_slots: None,
        }
    }
}

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a database URL.
    #[error("the database URL cannot be read (postgres://user@host:port/database): {source}")]
    Url {
        /// What is wrong with it.
        source: sqlx::Error,
    },
    /// A schema name we would have to quote.
    #[error("{name:?} is no name for a schema: use lower-case letters, digits and underscores")]
    SchemaName {
        /// The name.
        name: String,
    },
    /// The database cannot be reached or asked.
    #[error("the database cannot be reached: {source}")]
    Database {
        /// What it said.
        #[from]
        source: sqlx::Error,
    },
    /// Too old.
    #[error("Postgres {is} is too old: 15 or newer is needed")]
    Version {
        /// The server's version.
        is: String,
    },
    /// A replica.
    #[error("this server is a standby: use the address of the primary")]
    Standby,
    /// A setting under which acknowledged work could be lost.
    #[error("the database has {name} = {is}: set it to {must} (acknowledged events could be lost otherwise)")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What it is.
        is: String,
        /// What it must be.
        must: &'static str,
    },
    /// The schema is missing or behind.
    #[error("the database's schema is not up to date: run `perennial migrate --database-url …`")]
    OldSchema,
    /// The schema is ahead.
    #[error(
        "the database's schema is newer than this program: install the version that `perennial migrate` was run with"
    )]
    NewSchema,
    /// A migration was changed after it ran.
    #[error("the database's schema was made by another build of this program: use the one that made it")]
    OtherSchema,
    /// The schema cannot be brought up to date.
    #[error("the database's schema cannot be brought up to date: {source}")]
    Migrate {
        /// What went wrong.
        source: sqlx::migrate::MigrateError,
    },
}

impl Postgres {
    /// Checks the server's durability settings and the schema, and makes the pools.
    ///
    /// # Errors
    /// When the server cannot be reached or trusted, or the schema is not this program's.
    pub async fn open(url: &str, settings: Settings) -> Result<Self, OpenError> {
        let options = connect::options(url, settings.schema.as_deref())?;
        let mut db = connect::one(&options).await?;
        connect::check(&mut db).await?;
        migrate::check(&mut db).await?;
        let plain = options.clone();
        let options = connect::serving(options, &mut db).await?;
        connect::end(db).await;
        let mut site = Site::new(connect::by_key(options.clone()), Time(settings.clock));
        site.workspace_slots = settings.workspace_slots;
        let site = Arc::new(site);
        let runtime = tokio::runtime::Handle::current();
        let lane = |_| Lane::new(Arc::clone(&site), runtime.clone());
        let inner = Inner {
            plain,
            lanes: (0..settings.writers.max(1)).map(lane).collect(),
            logs: connect::desk(&site, &connect::by_key(options.clone()), limits::READERS),
            clients: connect::desk(&site, &options, limits::READERS),
            // A claim is planned once, and reads no more however much is parked or waits.
            claims: connect::desk(&site, &connect::by_key(options.clone()), limits::CLAIMERS),
            heartbeat: connect::desk(&site, &options, limits::HEARTBEATS),
            accounts: connect::accounts(&options),
            meter: connect::desk(&site, &options, limits::METER_CONNECTIONS),
            site,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}
