//! Machines that dial in: codes to register with, the registry, the tunnel, lines of other processes to it, and single calls. Ours, beside the adopted API.

mod attached;
mod call;
mod code;
mod line;
mod list;
mod register;
mod remove;
mod rename;
mod retrieve;
mod tunnel;

pub(crate) use attached::*;
pub(crate) use call::*;
pub(crate) use code::*;
pub(crate) use line::*;
pub(crate) use list::*;
pub(crate) use register::*;
pub(crate) use remove::*;
pub(crate) use rename::*;
pub(crate) use retrieve::*;
pub(crate) use tunnel::*;

use std::sync::Arc;

use perennial_router::Tunnels;

use crate::api::App;
use crate::error::ApiError;

/// What holds tunnels here, or why nothing does.
fn tunnels(app: &App) -> Result<&Arc<Tunnels>, ApiError> {
    app.config
        .tunnels
        .as_ref()
        .ok_or_else(|| ApiError::bad_request("machines do not dial in to this server").code("no_tunnels"))
}
