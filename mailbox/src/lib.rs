//! Durable hand-off between agents: addresses, messages, and the port that carries them (DESIGN §9, I9).
//!
//! Only the port and its words are here yet; no backend serves it. It is fixed now because the log already has the event a
//! delivery becomes (`mail.received`, appended under the message's id) and the kernel already folds it as an input.

mod address;
mod port;

pub use address::{Address, ParseAddressError};
pub use port::{Letter, Mailbox, Posted, Received, SendError};
