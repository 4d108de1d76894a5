//! Webhooks out: whoever asked for it is told what happens to sessions, mail and budgets (Standard Webhooks).
//!
//! ```text
//! logs → Watcher → deliveries → Courier → the guarded way out → receivers
//! ```
//!
//! * [`event`] says which events of a log are told, and in which words.
//! * [`Watcher`] walks the changes of workspaces and adds a delivery per receiver and event.
//! * [`Courier`] makes what is due, signed, and notes what came of it.
//!
//! Any number of processes do both on one store: a workspace is looked through by one of them at a time, and an attempt is one's.
//! Whatever dies, an event is told at least once, under the same id.
//!
//! **Architecture invariant:** nothing here appends to a log, and nothing that is sent is more than names and ids: a receiver asks the API
//! for the rest.

mod courier;
pub mod event;
mod limits;
mod sign;
mod watcher;

pub use courier::{Courier, WayOut};
pub use sign::{about, fresh_secret};
pub use watcher::Watcher;
