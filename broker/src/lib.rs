//! The log and who holds it: append, read, leases, blobs, wake-ups and fan-out, behind the ports of `perennial-engine`.
//!
//! * [`log::sqlite`] is the embedded default, [`log::memory`] the same rules without a disk (simulation and tests).
//! * [`bus::local`] carries hints and previews within one process, [`bus::silent`] loses everything.
//! * [`blobs::files`] and [`blobs::memory`] keep bytes too large for an event.
//! * [`meter`] counts what model requests cost against budgets, beside the sessions that rest for one.
//! * [`executors`] is the registry of machines that dial in.
//! * [`mail`] remembers messages on their way.
//! * [`mcp`] knows the tools of MCP servers that were let in.
//! * [`pool`] knows the workers, and how much there is to do for them.
//! * [`webhooks`] remembers who is told of what, and what they are still to be told.
//! * [`work`] queues what workers of self-hosted environments are to serve.
//! * [`seals`] keeps secrets at rest.
//! * [`Hinted`] joins a store and a bus: commit first, hint afterwards.
//!
//! **Architecture invariant:** the only crate that writes sessions and events. It never changes a byte of a payload and looks
//! into none but for the envelope and for what a tool use awaits, makes no decision about turns, and knows no HTTP.

pub mod blobs;
pub mod bus;
pub mod clock;
pub mod executors;
mod hinted;
pub mod limits;
pub mod log;
pub mod mail;
pub mod mcp;
pub mod meter;
pub mod pool;
pub mod seals;
mod sql;
pub mod webhooks;
pub mod work;

pub use hinted::Hinted;
