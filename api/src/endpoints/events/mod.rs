//! Session events: send, list, stream.

mod again;
mod list;
mod send;
mod stream;

pub(crate) use list::*;
pub(crate) use send::*;
pub(crate) use stream::*;
