//! What the embedded and the shared database are asked in the same words: statements with `?` for values, and rows as values.

mod columns;
mod desk;
mod run;
mod statement;

pub(crate) use columns::{Columns, inconsistent, vanished};
pub(crate) use desk::Desk;
pub(crate) use run::{add, run, script};
pub(crate) use statement::{Statement, Value, micros, span, statement};
