//! Virtual keys of the model gateway. Ours, beside the adopted API.

mod create;
mod list;
mod retrieve;
mod revoke;

pub(crate) use create::*;
pub(crate) use list::*;
pub(crate) use retrieve::*;
pub(crate) use revoke::*;
