//! Durable hand-off between agents (DESIGN §9, INVARIANTS I9).
//!
//! * [`Office`] takes mail in, and gives a queue's mail out; what is durable is behind the engine's `Mailboxes` port.
//! * [`Postman`] hands mail for sessions and agents over: one append of `mail.received` into the receiver's log, under the
//!   message's id, so that a crash between the append and its note is healed by the repetition, which finds the event.
//! * A task is a message whose receiver's turn is awaited; the postman looks after its end (`tasks`).
//! * [`MailTools`] lets models write and read mail.
//! * [`Agents`] is who can be written to; whoever keeps agents answers it.
//!
//! **Architecture invariant:** knows no SQL and no HTTP. The order of a pair of sender and receiver is the store's: it gives out
//! the next message only when the one before has ended.

mod agents;
mod allowance;
mod cards;
mod event;
mod limits;
mod notice;
mod office;
mod postman;
mod room;
mod tasks;
mod tools;

pub use agents::{Agents, Peer, Reception};
pub use cards::{Card, CardStatus};
pub use office::{Office, Outgoing, PostError};
pub use postman::Postman;
pub use tasks::answer_id;
pub use tools::MailTools;
