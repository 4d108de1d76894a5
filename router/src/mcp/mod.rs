//! The Model Context Protocol, both ways.
//!
//! * [`McpEndpoint`]: a catalogue for a driven harness, whose calls come back through it.
//! * [`McpServer`]: whatever a door offers, for programs from outside.
//! * [`Mounts`]: the servers of agents, on the web or started where a session's tools run, whose tools are offered to models as
//!   `server__tool` and called from here.

mod call;
mod content;
mod endpoint;
mod line;
mod mounts;
mod offer;
mod server;
mod stdio;
mod way;

pub use endpoint::*;
pub(crate) use mounts::Mounts;
pub use server::*;
