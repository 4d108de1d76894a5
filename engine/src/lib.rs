//! The kernel: what a session is and what it does next, as pure functions of its log; and the ports the outside must supply.
//!
//! * [`kernel::State::apply`] folds an event. Total and infallible.
//! * [`kernel::State::decide`] turns a command into events, or refuses it.
//! * [`kernel::State::next`] says what to do now.
//! * [`kernel::State::render`] gives the messages a model sees.
//!
//! **Architecture invariant:** synchronous and deterministic. No clock, randomness, configuration, I/O, async runtime or hash
//! order: all of them are arguments, or ports. The ports are async traits without an executor. `tests/tidy` checks that no
//! runtime crate is in this crate's dependency tree.

pub mod kernel;
pub mod ports;
pub mod retry;
