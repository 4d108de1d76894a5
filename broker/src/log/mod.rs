//! Logs: one file per backend, one set of rules for all.

pub mod memory;
pub mod postgres;
mod rules;
mod sabotage;
pub mod sqlite;
