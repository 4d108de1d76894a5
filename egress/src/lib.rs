//! The way out: requests whose address somebody else chose, an agent, a sandbox, a client. None of them reaches what only this host
//! can (INVARIANTS S8, S20).
//!
//! * [`address`] says which addresses are public.
//! * [`Target`] is a host and a port in one spelling.
//! * [`Guard`] resolves a target once, refuses it unless every address is public, and tells the one to connect to.
//! * [`Client`] asks over HTTP, each redirect vetted like the first address, bounded in time and size.
//! * [`Client::post_json`] says something once, and follows no redirect.
//! * [`proxy`] is an HTTP proxy for a sandbox.
//!
//! **Invariant:** what is connected to is the address that was vetted. Nothing here reads a proxy from the environment.

pub mod address;
mod client;
mod guard;
mod limits;
mod post;
pub mod proxy;
mod target;

pub use client::{Client, FetchError, Page};
pub use guard::{Allowed, Guard, Lookup, Refused, SystemLookup};
pub use post::Reply;
pub use target::Target;
