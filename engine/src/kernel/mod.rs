//! The fold and what follows from it.
//!
//! ```text
//! records ── decode ──▶ State::apply ──▶ State::next ──▶ Step (a value; the worker acts on it)
//!                            │
//!                            ├─▶ State::decide(Command) ──▶ drafts to append, or a rejection
//!                            └─▶ State::render ──▶ messages for a model
//! ```

mod admit;
mod apply;
mod author;
mod brain;
mod compact;
mod decide;
mod message;
mod next;
mod project;
mod render;
mod state;

pub use admit::admit;
pub use author::quarantine;
pub use brain::Brain;
pub use decide::{Command, Rejection};
pub use message::*;
pub use next::{Close, CloseReason, Step};
pub use state::{Call, CallLane, CallResult, Confirmation, FOLD_VERSION, State, UnknownEvent};
