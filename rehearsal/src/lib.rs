//! The rehearsal: a model that needs no key and only follows the script in its prompt, and the vendors' APIs around it.
//!
//! ```text
//! prompt ──▶ script (what each step does) ◀── cue (where the conversation is) ◀── wire (Messages, Responses, Chat)
//!                          │
//!                          ▼
//!                 reply ──▶ wire (events or one body) ──▶ server (axum), or whoever asked in this process
//! ```
//!
//! * [`script`]: the language; the same for `rehearsal-1` inside a worker and for anything that dials a [`server`].
//! * [`validate`]: what the vendors refuse. A request that passes here could have been sent to them.
//! * [`Rehearsal::answer`]: one request in, one response out, without a network.
//! * [`server::Server`]: the same behind a port, so that an SDK or a harness can be tried without a vendor.
//!
//! Knows no session, log or worker: those render their conversations for it like for any vendor.

pub mod cue;
mod failures;
pub mod limits;
mod play;
pub mod reply;
pub mod script;
pub mod server;
mod sign;
pub mod validate;
pub mod wire;

pub use failures::Failures;
pub use play::{Manner, Rehearsal};
pub use reply::{Answer, Reply};
pub use wire::{Frame, Response, Wire};

/// The model's id.
pub const ID: &str = "rehearsal-1";
