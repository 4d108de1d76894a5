//! What is known of sandboxes, beside the registry of the executors in them: behind the engine's `Sandboxes` port, on the same
//! stores.

mod memory;
mod postgres;
mod sqlite;
mod words;
