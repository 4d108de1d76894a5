//! Agents: versioned definitions.

mod archive;
mod create;
mod list;
mod retrieve;
mod update;
mod versions;

pub(crate) use archive::*;
pub(crate) use create::*;
pub(crate) use list::*;
pub(crate) use retrieve::*;
pub(crate) use update::*;
pub(crate) use versions::*;
