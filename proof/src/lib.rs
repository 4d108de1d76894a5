//! The proof: what must be true whatever was killed, cut or stopped, and the rig that tries.
//!
//! * [`oracle`]: decides. Pure: evidence in, violations and counters out. All rings of tests ask the same one.
//! * [`proxy`]: makes the network misbehave.
//! * [`rig`]: starts and kills real processes, and is their clients.
//! * [`prove`]: the three together, on a private copy of an install (`perennial prove`).
//!
//! **Architecture invariant:** it knows the product from outside only: its processes, its HTTP interface, its files. What it
//! finds cannot be an echo of the code it judges.

pub mod oracle;
pub mod prove;
pub mod proxy;
pub mod rig;
