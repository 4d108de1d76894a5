//! The brains: claim a session, replay its log, drive a turn, give it back.
//!
//! ```text
//! pool ── claims ──▶ session::Session ── State::next ──▶ think (harness → model) ─▶ append
//!   │                     ▲   │                        ├─▶ calls (router → executor) ─▶ append
//!   └── lease (renewal)   └───┘ tail: hints, renewals   └─▶ rest (idle + release in one commit)
//! ```
//!
//! A worker holds nothing a session needs: kill it anywhere, and the next claim replays, settles and goes on. It sees stores
//! only through the engine's ports, and never knows `api`: the two meet in the log.

mod attend;
pub mod harness;
mod lease;
pub mod limits;
mod metrics;
pub mod model;
mod pool;
mod ports;
mod session;
mod sink;
mod yielded;

pub use pool::{Settings, Worker};
pub use ports::Ports;
