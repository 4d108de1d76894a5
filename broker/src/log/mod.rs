//! Logs: one file per backend, one set of rules for all.

pub mod memory;
mod rules;
pub mod sqlite;
