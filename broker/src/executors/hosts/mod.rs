//! Processes that make sandboxes, beside what is known of those: behind the engine's `SandboxHosts` port, on the same stores.

mod memory;
mod postgres;
mod sqlite;
pub(super) mod words;
