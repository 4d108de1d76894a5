//! The workers, behind the engine's `Pool` port, on the same stores as the sessions.

mod memory;
mod sql;
mod words;

pub use memory::Memory;
pub use sql::{embedded, shared};

/// A worker that was not heard of for so long is forgotten, in milliseconds.
const FORGOTTEN_MILLIS: u64 = 3_600_000;
