//! The parts of a server and how they are joined. `up` has all of them in one process; `serve` is the front, `worker` the
//! brains, `executor` the hands. Brains and front never meet but in the store.

mod brains;
mod bus;
mod egress;
pub mod files;
mod front;
pub mod hands;
mod instance;
pub mod keda;
mod metrics;
mod models;
mod registry;
mod sandboxes;
mod seals;
mod signals;
mod store;
mod traces;
pub mod webhooks;
mod workers;

use perennial_engine::ports::Ids;

pub use brains::Brains;
pub use bus::BusKind;
pub use front::{Front, Key, Keys};
pub use hands::{Hands, exchange, tunnels};
pub use metrics::Metrics;
pub use models::{Access, Port, gateway};
pub use registry::{Connection, Registry, Terms};
pub use sandboxes::Sandboxes;
pub use signals::Signals;
pub use store::Store;
pub use traces::Traces;
pub use workers::Workers;

/// Ids of this process.
pub struct SystemIds;

impl Ids for SystemIds {
    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::now_v7()
    }
}
