//! What is true of the Postgres store alone: which servers it refuses, who may rewrite the log (nobody), and what it does
//! when connections break, servers restart and neighbours die.

mod claims;
mod faults;
mod guard;
mod refusals;
mod restarts;
mod upgrades;
mod watch;

use std::sync::Arc;

use perennial_broker::log::postgres::{Postgres, Settings};

use crate::fixture::{Hand, Rig};

/// A store by the database's own clock.
async fn open(url: &str) -> Arc<Postgres> {
    Arc::new(Postgres::open(url, Settings::default()).await.unwrap())
}

/// A rig over it; its clock only stamps the drafts.
fn rig(store: &Arc<Postgres>) -> Rig {
    Rig::over(Arc::<Postgres>::clone(store), Hand::new())
}

/// The same tenant, seen through another store.
fn also(rig: &Rig, store: &Arc<Postgres>) -> Rig {
    Rig {
        store: Arc::<Postgres>::clone(store),
        ..rig.clone()
    }
}
