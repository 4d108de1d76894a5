//! Machines that dial in: codes to register with, the registry, the tunnel, lines of other processes to it, single calls, files,
//! ports and terminals. Ours, beside the adopted API.

mod attached;
mod call;
mod code;
mod diff;
mod files;
mod forward;
mod line;
mod list;
mod preview;
mod register;
mod remove;
mod rename;
mod retrieve;
mod search;
mod terminal;
mod ticket;
mod tunnel;
mod upload;

pub(crate) use attached::*;
pub(crate) use call::*;
pub(crate) use code::*;
pub(crate) use diff::*;
pub(crate) use files::*;
pub(crate) use forward::*;
pub(crate) use line::*;
pub(crate) use list::*;
pub(crate) use preview::*;
pub(crate) use register::*;
pub(crate) use remove::*;
pub(crate) use rename::*;
pub(crate) use retrieve::*;
pub(crate) use search::*;
pub(crate) use terminal::*;
pub(crate) use ticket::*;
pub(crate) use tunnel::*;
pub(crate) use upload::*;

use std::sync::Arc;

use perennial_router::{NoStream, Tunnels};
use perennial_schema::stream::Unopened;

use crate::api::App;
use crate::error::ApiError;

/// What holds tunnels here, or why nothing does.
pub(crate) fn tunnels(app: &App) -> Result<&Arc<Tunnels>, ApiError> {
    app.config
        .tunnels
        .as_ref()
        .ok_or_else(|| ApiError::bad_request("machines do not dial in to this server").code("no_tunnels"))
}

/// Why a machine does not go on with a stream, for a client.
pub(crate) fn unopened(why: NoStream) -> ApiError {
    let (reason, message) = match why {
        NoStream::Unreached(message) => return ApiError::conflict(message).code("executor_offline"),
        lost @ NoStream::Lost => return ApiError::conflict(lost.to_string()).code("executor_offline"),
        NoStream::Refused { reason, message } => (reason, message),
    };
    match reason {
        Unopened::NotOffered => ApiError::forbidden(message).code("not_offered"),
        Unopened::NotFound => ApiError::no_route(message).code("not_there"),
        Unopened::IsFolder | Unopened::Unusable => ApiError::bad_request(message),
        Unopened::Busy => ApiError::too_many(message),
        Unopened::Unknown => ApiError::conflict(message).code("executor_too_old"),
        Unopened::Failed => ApiError::conflict(message),
    }
}
