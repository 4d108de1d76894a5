//! Tool calls to places: which tools a session has, what policy says of each, where a call runs and what became of it.
//!
//! * [`Exchange`]: the engine's `Router` port over attached executors, like a telephone exchange over its lines. It knows
//!   links, not transports: an in-memory channel, a socket and a tunnel look the same to it.
//! * [`socket`]: the line to an executor that is a process of its own, which it starts when there is none.
//! * [`Tunnels`]: machines that dialled in.
//! * `trunk`: machines that dialled another process of the cluster.
//! * `streams`: files and whatever else is no call, to and from a machine that dialled in.
//! * [`sandbox`]: machines that are made for a session and dial in, wherever they are made.
//! * [`Remote`] and [`relay`]: a process without hands, and how one with hands answers it over the bus.
//! * `web`: the one tool that runs here.
//! * [`mcp`]: the servers of agents, and an endpoint that offers a catalogue to a driven harness and hands its calls back.
//!
//! Not here: running tools (executor), deciding when to call (worker), storing anything. The exchange keeps only what is in
//! flight; every memory that must survive is the executor's journal or the session's log.

mod catalogue;
mod copy;
mod dispatch;
mod exchange;
mod hands;
mod house;
pub mod limits;
mod link;
mod look;
pub mod mcp;
mod offer;
mod output;
mod pack;
mod pending;
mod policy;
mod relay;
mod remote;
pub mod sandbox;
pub mod socket;
mod streams;
mod trunk;
mod tunnel;
mod web;

pub use exchange::{AttachError, Exchange, Settings};
pub use perennial_tunnel::terminal;
pub use relay::relay;
pub use remote::Remote;
pub use streams::{NoStream, NotStored, Stream};
pub use tunnel::Tunnels;
