//! Logs: one file per backend, one set of rules for all (`rules`), one form of rows on disk (`packed`) and one way to read them
//! (`reading`).

pub mod memory;
mod packed;
mod past;
pub mod postgres;
mod reading;
mod rules;
mod sabotage;
pub mod sqlite;
