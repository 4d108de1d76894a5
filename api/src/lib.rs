//! HTTP: every route on one screen (`router.rs`), one file per endpoint, SSE feeds, accounts.
//!
//! This crate sees sessions only through the engine's ports. It owns the accounts tables (workspaces, keys, agents,
//! environments) and nothing else that is durable.
//!
//! ```text
//! serve (own accept loop) → request id → detached task → Host check → key check → endpoint → ports
//! ```
//!
//! Errors are Anthropic's shape with `title, status, detail` beside it (`error.rs`). Bad input is a 4xx naming the field,
//! never a panic and never a 500. A store that cannot answer is a 503 with `retry-after`; a row that does not parse is a 503
//! *without* one and with `x-should-retry: false`, naming table and key, because no retry will mend it.

pub mod accounts;
mod api;
mod auth;
mod body;
mod bucket;
mod console;
mod doors;
mod endpoints;
mod error;
mod feed;
mod host;
mod idempotency;
mod json;
pub mod keda;
pub mod limits;
mod llm;
mod mcp;
pub mod openapi;
mod page;
mod path;
mod preview;
mod query;
mod respond;
mod router;
mod scope;
mod server;
mod sse;
mod telemetry;
mod traced;
mod wire;

pub use api::{Api, Config, Ports};
/// What [`serve`] serves.
pub use axum::Router;
pub use console::is_built as console_is_built;
pub use doors::Doors;
pub use host::Hosts;
pub use limits::Limits;
pub use llm::Llm;
pub use preview::{NotAPreviewUrl, Previews};
pub use server::{Listener, serve};
pub use telemetry::{PrometheusHandle, operations, prometheus};
