//! What carries hints and previews.

use std::sync::Arc;

use clap::ValueEnum;
use perennial_broker::bus::local::Local;
use perennial_broker::bus::silent::Silent;
use perennial_engine::ports::Bus;

/// What carries hints and previews within one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BusKind {
    /// In this process.
    #[default]
    Local,
    /// Nothing arrives.
    Silent,
}

impl BusKind {
    /// A bus of this process.
    pub(super) fn here(self) -> Arc<dyn Bus> {
        match self {
            Self::Local => Arc::new(Local::new()),
            Self::Silent => Arc::new(Silent),
        }
    }
}
