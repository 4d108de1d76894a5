//! The wire of an executor that dialled home: many flow-controlled streams on one WebSocket, executor frames on the first of
//! them. Both ends use it, over whatever WebSocket library each has.
//!
//! **Architecture invariant:** it knows bytes and frames, not who is at the ends: no tokens, no registry, no exchange. Every
//! length is checked before anything is allocated for it.
//!
//! The end that dialled opens the first stream, which carries frames. Either end may open more of them through an [`Opener`]: what
//! for is said on the stream itself (`schema::stream`), and this crate carries its bytes only. An end that takes none resets those
//! that are opened. Whoever hears nothing at all, not even the pong to a ping, for two beats takes the line for dead: a network that went
//! away says no goodbye.

pub mod frames;
mod lane;
#[cfg(test)]
mod lane_tests;
pub mod limits;
mod line;
mod piece;
pub mod server;
mod streams;
pub mod terminal;
#[cfg(test)]
mod tests;

pub use lane::{Ask, Lane, NoLane, Opener, Openings, opener, opener_of};
pub use line::{End, Ends, Lost, carry};
