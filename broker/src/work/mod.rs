//! The work of self-hosted environments, behind the engine's `WorkQueues` port.

mod memory;
mod sql;
mod words;

pub use memory::Memory;
pub use sql::{embedded, shared};
