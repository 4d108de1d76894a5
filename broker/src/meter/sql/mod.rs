//! What both databases are asked about the meter, in the same words.

mod rows;
pub(super) mod words;

pub(super) use rows::{budget, counter, key, scope, trace, usage};
