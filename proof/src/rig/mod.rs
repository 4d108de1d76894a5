//! The rig: real processes, real connections, and clients that remember what they were told.

pub mod child;
pub mod client;
pub mod clock;
pub mod port;
pub mod process;
pub mod script;
pub mod server;
pub mod sse;
pub mod visitor;
