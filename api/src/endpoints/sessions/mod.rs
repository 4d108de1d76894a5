//! Sessions: create, find, change, end; and ours: fork, export, import, log, retry, diff.

mod agent;
mod archive;
mod blob;
mod budget;
mod create;
mod delete;
pub(crate) mod diff;
mod executors;
mod export;
mod fork;
mod import;
mod list;
mod log;
mod retrieve;
mod retry;
mod update;

pub(crate) use archive::*;
pub(crate) use blob::*;
pub(crate) use create::*;
pub(crate) use delete::*;
pub(crate) use diff::*;
pub(crate) use executors::*;
pub(crate) use export::*;
pub(crate) use fork::*;
pub(crate) use import::*;
pub(crate) use list::*;
pub(crate) use log::*;
pub(crate) use retrieve::*;
pub(crate) use retry::*;
pub(crate) use update::*;

use axum::response::Response;
use perennial_engine::ports::SessionRow;

use crate::respond::json;
use crate::wire::session::Session;

/// A session as the answer to a change.
fn served(row: &SessionRow) -> Response {
    json(&Session::of(row, false))
}
