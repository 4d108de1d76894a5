//! Environments: where a session's hands are.

mod archive;
mod create;
mod delete;
mod list;
mod retrieve;
mod update;

pub(crate) use archive::*;
pub(crate) use create::*;
pub(crate) use delete::*;
pub(crate) use list::*;
pub(crate) use retrieve::*;
pub(crate) use update::*;
