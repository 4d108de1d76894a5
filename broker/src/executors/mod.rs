//! The registry of executors, behind the engine's `Executors` port: in memory, in the embedded database, in the shared one.

mod hosts;
mod memory;
mod postgres;
mod sandboxes;
mod sqlite;
mod words;

pub use memory::Memory;
pub use postgres::Postgres;
pub use sqlite::Sqlite;

use perennial_engine::ports::StoreError;
use perennial_schema::{ExecutorCode, ExecutorPass, ExecutorTicket};
use rand::TryRngCore as _;

fn fresh_code() -> Result<ExecutorCode, StoreError> {
    random().map(ExecutorCode::new)
}

fn fresh_pass() -> Result<ExecutorPass, StoreError> {
    random().map(ExecutorPass::new)
}

fn fresh_ticket() -> Result<ExecutorTicket, StoreError> {
    random().map(ExecutorTicket::new)
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    let filled = rand::rngs::OsRng.try_fill_bytes(&mut bytes);
    filled.map_err(|error| StoreError::Unavailable {
        store: "randomness",
        message: error.to_string(),
    })?;
    Ok(bytes)
}
