//! Budgets: how much of models may be used. Ours, beside the adopted API.

mod create;
mod delete;
mod list;
mod retrieve;
mod update;

pub(crate) use create::*;
pub(crate) use delete::*;
pub(crate) use list::*;
pub(crate) use retrieve::*;
pub(crate) use update::*;
