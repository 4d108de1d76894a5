//! This server as an MCP server: `/mcp` for whatever a key may use, `/v1/sessions/{id}/mcp` for the tools of one session.
//!
//! ```text
//! request ──▶ door (whose key, which scope) ──▶ the protocol (router) ──▶ desk ──▶ tools/* ──▶ the API's own routes, as the caller
//! ```
//!
//! **Invariant:** a tool does nothing that its caller could not do over HTTP with the same key, and does it the same way.

mod caller;
mod desk;
mod door;
mod tools;

pub(crate) use door::routes;
