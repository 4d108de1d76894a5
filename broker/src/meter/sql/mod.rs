//! What both databases are asked in the same words: statements with `?` for values, and rows as values.

mod rows;
mod statement;
pub(super) mod words;

pub(super) use rows::{Columns, budget, counter, key, scope, trace, usage, vanished};
pub(super) use statement::{Statement, Value, statement};
