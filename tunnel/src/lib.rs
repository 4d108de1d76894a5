//! The wire of an executor that dialled home: many flow-controlled streams on one WebSocket, executor frames on the first of
//! them. Both ends use it, over whatever WebSocket library each has.
//!
//! **Architecture invariant:** it knows bytes and frames, not who is at the ends: no tokens, no registry, no exchange. Every
//! length is checked before anything is allocated for it.
//!
//! The end that dialled opens streams; the first one carries frames. No others are in use yet: one that is opened anyway is
//! reset. Whoever hears nothing at all, not even the pong to a ping, for two beats takes the line for dead: a network that went
//! away says no goodbye.

pub mod frames;
pub mod limits;
mod line;
mod streams;
#[cfg(test)]
mod tests;

pub use line::{End, Ends, Lost, carry};
