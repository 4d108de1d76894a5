//! Where sessions and accounts are kept: the embedded database of the data directory, or a cluster's.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use perennial_api::accounts::Accounts;
use perennial_api::accounts::sqlite::SqliteAccounts;
use perennial_broker::Hinted;
use perennial_broker::blobs::files::Files;
use perennial_broker::clock::System;
use perennial_broker::log::sqlite::{self, Sqlite};
use perennial_engine::ports::{Blobs, Bus, Clock, Leases, Log, Sessions};

use super::BusKind;
use crate::config::Settings;

/// The store, told to a bus.
pub struct Store {
    /// Events.
    pub log: Arc<dyn Log>,
    /// Session rows.
    pub sessions: Arc<dyn Sessions>,
    /// Who holds what.
    pub leases: Arc<dyn Leases>,
    /// Large bytes.
    pub blobs: Arc<dyn Blobs>,
    /// Keys, agents, environments.
    pub accounts: Arc<dyn Accounts>,
    /// Hints, previews, wake-ups.
    pub bus: Arc<dyn Bus>,
    /// The clock of this host.
    pub clock: Arc<dyn Clock>,
    base: Base,
}

/// What is beneath.
enum Base {
    Embedded(Sqlite),
}

impl Store {
    /// The store the settings name, and its bus.
    pub async fn open(settings: &Settings, bus: BusKind) -> Result<Self> {
        Self::embedded(&settings.data_dir.value, bus).await
    }

    /// The embedded database. Its lock keeps a second server out of the data directory.
    async fn embedded(data_dir: &Path, bus: BusKind) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(System);
        let sqlite = Sqlite::open(data_dir, sqlite::Settings { clock: clock.clone() }).await?;
        let blobs = Files::open(&data_dir.join("blobs")).context("cannot open the blobs folder")?;
        let accounts = SqliteAccounts::new(sqlite.pool_for_accounts());
        Ok(Self::join(
            sqlite.clone(),
            bus.here(),
            Arc::new(blobs),
            Arc::new(accounts),
            clock,
            Base::Embedded(sqlite),
        ))
    }

    fn join<L: Log + Sessions + Leases + 'static>(
        store: L,
        bus: Arc<dyn Bus>,
        blobs: Arc<dyn Blobs>,
        accounts: Arc<dyn Accounts>,
        clock: Arc<dyn Clock>,
        base: Base,
    ) -> Self {
        let log = Arc::new(Hinted::new(store, bus.clone()));
        Self {
            log: log.clone(),
            sessions: log.clone(),
            leases: log,
            blobs,
            accounts,
            bus,
            clock,
            base,
        }
    }

    /// Finishes what was asked for and closes.
    pub async fn close(self) {
        match self.base {
            Base::Embedded(sqlite) => sqlite.shutdown().await,
        }
    }
}
