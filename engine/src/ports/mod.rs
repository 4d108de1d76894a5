//! What the outside must supply. Each port has one conformance suite in `tests/conformance`, run on every backend, and a
//! memory implementation that is product code.

mod blobs;
mod bus;
mod choice;
mod clock;
mod executors;
mod house;
mod leases;
mod log;
mod mail;
mod mcp;
mod metering;
mod model;
mod pool;
mod router;
mod sandbox_hosts;
mod sandboxes;
mod seals;
mod sessions;
mod webhooks;
mod work;

pub use blobs::*;
pub use bus::*;
pub use choice::*;
pub use clock::*;
pub use executors::*;
pub use house::*;
pub use leases::*;
pub use log::*;
pub use mail::*;
pub use mcp::*;
pub use metering::*;
pub use model::*;
pub use pool::*;
pub use router::*;
pub use sandbox_hosts::*;
pub use sandboxes::*;
pub use seals::*;
pub use sessions::*;
pub use webhooks::*;
pub use work::*;

use perennial_schema::{SessionId, WorkspaceId};

/// A session's whole key: no query goes without the tenant (INVARIANTS S1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Session.
    pub session: SessionId,
}

/// A store that cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It may answer later: disk full, read-only, busy, gone. Nothing was written. 503 with `retry-after` at the API.
    #[error("the {store} store is unavailable: {message}")]
    Unavailable {
        /// Which store.
        store: &'static str,
        /// What it said, and the remedy where we know one.
        message: String,
    },
    /// The commit may or may not have happened: ask again with the same append id (I2).
    #[error("the outcome of a commit is unknown: {message}")]
    Unknown {
        /// What was seen.
        message: String,
    },
    /// A row that does not parse; never skipped, never a panic.
    #[error("table {table} has a row that does not parse ({key}): {message}")]
    Inconsistent {
        /// Table.
        table: &'static str,
        /// Row.
        key: String,
        /// What was wrong.
        message: String,
    },
}
