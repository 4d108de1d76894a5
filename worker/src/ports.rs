//! What a worker needs from outside, in one place.

use std::sync::Arc;

use perennial_engine::ports::{Blobs, Bus, Clock, Ids, Leases, Log, Pool, Router, Seals};

use crate::harness::Harnesses;

/// What a worker needs from outside.
#[derive(Clone)]
pub struct Ports {
    /// Events.
    pub log: Arc<dyn Log>,
    /// Who holds what.
    pub leases: Arc<dyn Leases>,
    /// What whoever runs the servers wants of it.
    pub pool: Arc<dyn Pool>,
    /// Hints, previews, wake-ups.
    pub bus: Arc<dyn Bus>,
    /// Tool calls.
    pub router: Arc<dyn Router>,
    /// Large bytes.
    pub blobs: Arc<dyn Blobs>,
    /// Tokens of resources.
    pub seals: Arc<dyn Seals>,
    /// Stamps.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Brains.
    pub harnesses: Arc<dyn Harnesses>,
}
