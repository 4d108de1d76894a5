//! Logs: one file per backend, one set of rules for all.

pub mod memory;
mod packed;
mod past;
pub mod postgres;
mod reading;
mod rules;
mod sabotage;
pub mod sqlite;
