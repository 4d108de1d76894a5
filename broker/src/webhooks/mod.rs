//! Receivers of webhooks and what they are still to be told, behind the engine's `Webhooks` port.

mod memory;
mod sql;
mod words;

pub use memory::Memory;
pub use sql::{embedded, shared};
