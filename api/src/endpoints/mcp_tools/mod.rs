//! Tools of agents' MCP servers as they were let in, and those that wait for somebody because they changed. Ours, beside the
//! adopted API.

mod approve;
mod list;

pub(crate) use approve::*;
pub(crate) use list::*;
