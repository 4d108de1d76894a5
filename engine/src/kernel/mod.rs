//! The fold and what follows from it.

mod message;
mod project;

pub use message::*;
