//! The vocabulary: ids, events, resources, tool calls, executor frames and errors that every other crate speaks.
//!
//! **Architecture invariant:** no I/O, no async, no tokio, no clock and no randomness. This crate knows no other crate of
//! the workspace; everyone may depend on it. The wire names are those of the Claude Managed Agents API plus our extension
//! domain (DESIGN §4).

pub mod agent;
pub mod archive;
mod attachment;
pub mod content;
pub mod environment;
pub mod error;
pub mod event;
pub mod executor_token;
pub mod file;
pub mod folder;
pub mod frame;
pub mod id;
pub mod limits;
pub mod mail;
pub mod mcp;
pub mod model;
pub mod packet;
pub mod resource;
pub mod search;
pub mod secret;
pub mod session;
pub mod step;
pub mod stream;
pub mod text;
pub mod time;
pub mod tool;
mod traceparent;
pub mod transcript;
pub mod virtual_key;

pub use attachment::Attachment;
pub use executor_token::{ExecutorCode, ExecutorPass, ExecutorSecretHash, ExecutorTicket, ExecutorToken};
pub use id::*;
pub use secret::Secret;
pub use time::Timestamp;
pub use traceparent::{ParseTraceParentError, TraceParent, span_of};
pub use virtual_key::{VirtualKey, VirtualKeyHash};
