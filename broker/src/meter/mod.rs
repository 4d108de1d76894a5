//! The meter: budgets, virtual keys, traces and their sums, behind the engine's `Metering` port.
//!
//! * `counter` is what a budget does with a request, pure; the embedded and the memory store run it, Postgres says the same in
//!   one statement per call, so that nothing is ever locked between two of them.
//! * [`Meter`] is the port over any of the stores: it knows for a moment which scopes have budgets (`cover`), so that a request
//!   no budget covers costs no commit, and it writes traces behind everybody's back (`recorder`).
//! * [`Told`] has others hear of it: a session that is readied wakes a worker, a budget that is nearly used up says so in the
//!   session's log.
//! * [`tend`] sweeps and forgets.
//!
//! A budget made in this process counts at once. One made in another process counts within [`limits::COVER_MILLIS`]: until then
//! this process may not know that its scope has one. Changes of a budget that is known count at once everywhere.
//!
//! [`limits::COVER_MILLIS`]: crate::limits::COVER_MILLIS

mod books;
mod counter;
mod cover;
mod front;
mod memory;
mod postgres;
mod recorder;
mod sql;
mod sqlite;
mod tend;
mod told;

pub use front::Meter;
pub use tend::{Habits, tend};
pub use told::Told;
